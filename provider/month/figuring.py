"""Many tenants as one heap: sums, and bounds of how many were up at once over all of them. Pure.

How many were up together in one minute lies between the highest single tenant and the
sum of what each of them had at most in that minute. Minutes are absolute: tenants in
other zones begin and end their month at other instants, and count only within it.

What a tenant had at most in a minute is what its minute-series says of the billed basis.
Where that says nothing (a gap, a series that is missing) it is the tenant's peak of the
period; likewise all through the period, if the series states less in the peak's own
minute than the peak: then it was made before what the summary knows by now (a correction).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add

from delivery.reporting.usage import Bounds, Heap, State, TenantUsage, Traffic
from meter.model import Instant
from meter.periods import MINUTE_MS


@dataclass(frozen=True, slots=True)
class Series:
    """The minute maxima of one tenant's billed basis over one local day.

    Attributes:
        start: The first minute.
        runs: (how many minutes in a row, their highest value; None: not observed), from there on.
    """

    start: Instant
    runs: Sequence[tuple[int, int | None]]


class Sum:
    """The sum over several tenants of what each had at most in each minute of a stretch of time.

    Kept as the steps from minute to minute: a tenant costs its runs, not its minutes.

    Args:
        start, end: The stretch: all periods of all tenants that are added lie within.
    """

    __slots__ = ("_first", "_steps")

    def __init__(self, start: Instant, end: Instant) -> None:
        self._first = start // MINUTE_MS
        self._steps = [0] * (-(-end // MINUTE_MS) - self._first + 1)

    def add(self, usage: TenantUsage, series: Iterable[Series]) -> None:
        """Add a tenant. One whose peak is not known adds nothing: the heap states how many those are.

        Args:
            usage: The tenant.
            series: Its minute-series that touch the period, one a day; more than one for a minute:
                the first says what it was.
        """
        if usage.peak is None:
            return
        peak, steps, first = usage.peak.level, self._steps, self._first
        begin, end = usage.start // MINUTE_MS, -(-usage.end // MINUTE_MS)
        steps[begin - first] += peak
        steps[end - first] -= peak
        at = -1 if usage.peak.at is None else usage.peak.at // MINUTE_MS
        below = []  # (first, after the last, how far below the peak)
        upto = begin
        for day in sorted(series, key=lambda one: one.start):
            minute = day.start // MINUTE_MS
            for count, high in day.runs:
                start, upto_run = max(minute, upto), min(minute + count, end)
                minute += count
                if high is None or start >= upto_run or high == peak:
                    continue
                if start <= at < upto_run and high < peak:
                    return
                below.append((start - first, upto_run - first, peak - high))
            upto = max(upto, minute)
        for start, upto_run, less in below:
            steps[start] -= less
            steps[upto_run] += less

    def absorb(self, other: Sum) -> None:
        """Add all that another sum over the same stretch holds."""
        self._steps = list(map(add, self._steps, other._steps))

    @property
    def highest(self) -> int:
        """The highest minute."""
        return max(accumulate(self._steps), default=0)


def heap(usages: Collection[TenantUsage], highest: int) -> Heap:
    """Return several tenants as one.

    Args:
        usages: The tenants.
        highest: The highest sum of their minute maxima (`Sum.highest`).
    """
    peaks = [one.peak.level for one in usages if one.peak is not None]
    users = [one.users for one in usages if one.users is not None]
    return Heap(
        tenants=len(usages),
        missing=sum(not one.final for one in usages),
        users=sum(users),
        users_max=sum(one.users_max for one in usages if one.users_max is not None),
        users_unknown=len(usages) - len(users),
        capacity=sum(one.capacity for one in usages if one.capacity is not None),
        peak=Bounds(max(peaks), max(highest, *peaks)) if peaks else None,
        peak_unknown=len(usages) - len(peaks),
        inbound=_traffic(one.inbound for one in usages),
        outbound=_traffic(one.outbound for one in usages),
        unknown=_traffic(one.unknown for one in usages),
        capacity_unknown=sum(one.state is State.MISSING and one.capacity is None for one in usages),
        peak_unsure=sum(one.peak is not None and (one.unsure or not one.final) for one in usages),
        traffic_unsure=sum(not (one.final and _told(one.inbound) and _told(one.outbound)) for one in usages),
    )


def _told(flow: Traffic | None) -> bool:
    return flow is not None and flow.billable_s is not None


def _traffic(flows: Iterable[Traffic | None]) -> Traffic:
    known = [flow for flow in flows if flow is not None]

    def total(of: Callable[[Traffic], int | None]) -> int | None:
        values = [value for value in map(of, known) if value is not None]
        return sum(values) if values else None

    return Traffic(
        legs=total(lambda flow: flow.legs),
        answered_ms=total(lambda flow: flow.answered_ms),
        billable_s=total(lambda flow: flow.billable_s),
    )
