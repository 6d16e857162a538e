"""Tenants as one heap: the bounds of the common peak against every minute written out."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from delivery.reporting.usage import Bounds, Peak, State, TenantUsage, Traffic, Unseen
from provider.month.figuring import Series, Sum, heap

MINUTE = 60_000
LENGTH = 60  # minutes of a tenant's period here
MARGIN = 20  # other zones begin so much later


def tenant(
    name: str, level: int | None, *, at: int | None = None, start: int = 0, **more: object
) -> TenantUsage:
    peak = None if level is None else Peak(level, None if at is None else at * MINUTE, None, None, False)
    start *= MINUTE
    return TenantUsage("a", name, name, State.FINAL, start, start + LENGTH * MINUTE, "UTC", peak=peak, **more)


@st.composite
def tenants(draw):
    """A tenant with its series: some minutes not observed, some days not there, some stated twice."""
    start = draw(st.integers(0, MARGIN))
    level = draw(st.none() | st.integers(0, 5))
    at = draw(st.integers(start, start + LENGTH - 1)) if level else None
    usage = tenant("t", level, at=at, start=start)
    series = []
    minute = draw(st.integers(0, start))  # a local day may begin before the period
    for _ in range(draw(st.integers(0, 4))):
        minute += draw(st.sampled_from([0, 0, 0, 7]))
        runs = draw(
            st.lists(st.tuples(st.integers(1, 12), st.none() | st.integers(0, 6)), min_size=1, max_size=4)
        )
        series.append(Series(minute * MINUTE, runs))
        minute += sum(count for count, _ in runs) - draw(st.sampled_from([0, 0, 3]))
        minute = max(minute, 0)
    return usage, series


def naively(usage: TenantUsage, series: list[Series]) -> dict[int, int]:
    """Every minute of a tenant's period, written out."""
    if usage.peak is None:
        return {}
    known: dict[int, int | None] = {}
    upto = -1
    for day in sorted(series, key=lambda one: one.start):
        minute = day.start // MINUTE
        for count, high in day.runs:
            for _ in range(count):
                if minute >= upto:
                    known[minute] = high
                minute += 1
        upto = max(upto, minute)
    peak = usage.peak
    if peak.at is not None:
        stated = known.get(peak.at // MINUTE)
        if stated is not None and stated < peak.level:
            known = {}
    return {
        minute: peak.level if (high := known.get(minute)) is None else high
        for minute in range(usage.start // MINUTE, usage.end // MINUTE)
    }


@given(st.lists(tenants(), max_size=5), st.integers(0, 5))
def test_the_highest_sum_of_minutes(those, cut):
    """The highest minute of the sum is that of all minutes added one by one, however the sums are put together."""
    minutes: dict[int, int] = {}
    for usage, series in those:
        for minute, high in naively(usage, series).items():
            minutes[minute] = minutes.get(minute, 0) + high

    span = (0, (LENGTH + MARGIN) * MINUTE)
    whole, part = Sum(*span), Sum(*span)
    for number, (usage, series) in enumerate(those):
        (part if number < cut else whole).add(usage, series)
    whole.absorb(part)

    assert whole.highest == max(minutes.values(), default=0)


@given(st.lists(tenants(), min_size=1, max_size=5))
def test_bounds_lie_as_promised(those):
    """The common peak is at least the highest tenant's, never below it at most, and exact for one alone."""
    total = Sum(0, (LENGTH + MARGIN) * MINUTE)
    for usage, series in those:
        total.add(usage, series)
    levels = [usage.peak.level for usage, _ in those if usage.peak is not None]

    found = heap([usage for usage, _ in those], total.highest).peak

    if not levels:
        assert found is None
        return
    assert found.at_least == max(levels) <= found.at_most


def test_one_tenant_is_exact():
    """One tenant's peak is its own, and a series that says otherwise of unseen minutes does not lower it."""
    one = tenant("t", 4, at=30)
    total = Sum(0, LENGTH * MINUTE)
    total.add(one, [Series(0, [(30, 1), (1, None), (29, 0)])])

    assert heap([one], total.highest).peak == Bounds(4, 4)


def test_a_series_that_does_not_know_the_peak_is_not_believed():
    """A correction raised the peak: minutes that were stated before it do not bound it."""
    corrected, other = tenant("t", 9, at=30), tenant("u", 5, at=10)
    total = Sum(0, LENGTH * MINUTE)
    total.add(corrected, [Series(0, [(LENGTH, 2)])])
    total.add(other, [Series(0, [(10, 0), (1, 5), (49, 0)])])

    assert heap([corrected, other], total.highest).peak == Bounds(9, 14)


def test_what_was_not_seen_is_counted():
    """A tenant with a gap, with sampled time or without a final is counted as not seen all the time, its traffic as not whole only without a final."""
    whole = tenant("t", 3, at=1, inbound=Traffic(1, 2, 3), outbound=Traffic(0, 0, 0), capacity=8)
    sampled = replace(whole, peak=replace(whole.peak, lower_bound=True))
    gap = replace(whole, gaps=(Unseen("p", 0, MINUTE, "link_lost"),))
    unfinished = replace(whole, state=State.OPEN)
    agreed = TenantUsage("a", "u", "u", State.MISSING, 0, LENGTH * MINUTE, "UTC", capacity=8)

    for one, unsure, traffic in [
        (whole, 0, 0),
        (sampled, 1, 0),
        (gap, 1, 0),
        (unfinished, 1, 1),
        (agreed, 0, 1),
    ]:
        found = heap([one], 3)
        assert (found.peak_unsure, found.traffic_unsure, found.capacity_unknown) == (unsure, traffic, 0)
    assert heap([whole, sampled, gap], 9).peak_unsure == 2
    assert heap([replace(agreed, capacity=None), replace(whole, capacity=None)], 3).capacity_unknown == 1


def test_unknown_is_counted_and_not_added():
    """What is not known of a tenant is counted as not known, and is no zero in a sum of nothing."""
    known = tenant("t", 3, at=1, users=5, users_max=6, capacity=8, inbound=Traffic(1, 2, 3))
    nothing = replace(tenant("u", None), state=State.MISSING)

    both, none = heap([known, nothing], 3), heap([nothing], 0)

    assert (both.tenants, both.missing, both.users, both.users_max, both.users_unknown) == (2, 1, 5, 6, 1)
    assert (both.capacity, both.peak, both.peak_unknown) == (8, Bounds(3, 3), 1)
    assert (both.inbound, both.outbound) == (Traffic(1, 2, 3), Traffic(None, None, None))
    assert (none.users, none.peak, none.inbound) == (0, None, Traffic(None, None, None))
