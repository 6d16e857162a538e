"""What people hear about a tenant, over random levels, gaps, periods and restarts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from meter.capacity import CALM_MS, Decision, Limits, Watch, due_in, judge
from meter.notices import NoticeKind

MINUTE = 60_000
PERIOD = 24 * 60 * MINUTE

#: (time that passes, level from then on, whether that time was observed, whether the agent restarts here)
STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.integers(0, 3 * MINUTE), st.sampled_from([CALM_MS - 1, CALM_MS, 4 * 60 * MINUTE, PERIOD])
        ),
        st.integers(0, 7),
        st.booleans(),
        st.booleans(),
    ),
    max_size=60,
)


def run(
    steps: list[tuple[int, int, bool, bool]], limits: Limits, *, restarts: bool
) -> list[tuple[str, Decision]]:
    watch: Watch | None = None
    at, told = 0, []
    for passes, level, observed, restart in steps:
        at += passes
        if restart and restarts and watch is not None:
            watch = Watch(**json.loads(json.dumps(asdict(watch))))
        period = str(at // PERIOD)
        watch, decision = judge(watch, limits, period=period, at=at, level=level, observed=observed)
        if decision is not None:
            told.append((period, decision))
    return told


@settings(max_examples=200, deadline=None)
@given(
    STEPS, st.integers(1, 6), st.sampled_from([1, 50, 90, 100]), st.sampled_from([MINUTE, 4 * 60 * MINUTE])
)
def test_nobody_is_told_too_often_nor_too_late(
    steps: list[tuple[int, int, bool, bool]], lines: int, warn_at: int, repeat_ms: int
) -> None:
    """Within an episode overs are `repeat` apart; the first overrun after calm is always told; a restart changes nothing."""
    limits = Limits(lines, warn_at, repeat_ms)
    told = run(steps, limits, restarts=False)

    assert run(steps, limits, restarts=True) == told
    running: tuple[str, int] | None = None  # the period and the last over notice of the running episode
    for period, decision in told:
        if decision.kind is NoticeKind.OVER:
            assert decision.level > lines
            if running is not None and running[0] == period:
                assert decision.at - running[1] >= repeat_ms
            running = (period, decision.at)
        elif decision.kind is NoticeKind.ENDED:
            assert decision.level <= lines
            assert running is not None
            assert running[0] == period
            assert _calm_before(steps, decision.at, running[1], lines) >= CALM_MS
            running = None
        else:
            assert running is None or running[0] != period
            assert warn_at * lines <= 100 * decision.level <= 100 * lines
    at, overs = 0, {(p, d.at) for p, d in told if d.kind is NoticeKind.OVER}
    for passes, level, _, _ in steps:
        at += passes
        if level > lines:  # whoever is over was told of it within the last `repeat`, in this period
            assert any(p == str(at // PERIOD) and at - repeat_ms < t <= at for p, t in overs)


def _calm_before(steps: list[tuple[int, int, bool, bool]], end: int, since: int, lines: int) -> int:
    """Return the observed time at or below the capacity since the last overrun before `end`."""
    at, calm, level = 0, 0, 0
    for passes, after, observed, _ in steps:
        at += passes
        if at > end:
            break
        if at > since and level <= lines and observed:
            calm += passes
        if after > lines and at < end:
            calm = 0
        level = after
    return calm


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(1, 6))
def test_due_in_misses_nothing(steps: list[tuple[int, int, bool, bool]], lines: int) -> None:
    """If nothing changes, no notice comes before `due_in`, and one does at it."""
    limits = Limits(lines)
    watch: Watch | None = None
    at = 0
    for passes, level, observed, _ in steps:
        at += passes
        watch, _ = judge(watch, limits, period="p", at=at, level=level, observed=observed)
        watch, _ = judge(watch, limits, period="p", at=at, level=level, observed=True)
        due = due_in(watch, limits)
        for wait in {PERIOD} if due is None else {due - 1, due}:
            if wait >= 0:
                _, decision = judge(watch, limits, period="p", at=at + wait, level=level, observed=True)
                assert (decision is not None) == (wait == due)
        watch = replace(watch, observed=observed)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30))
def test_judging_more_often_changes_no_over(waits: list[int]) -> None:
    """Judging a steady level again and again tells no more than judging it when it is due."""
    limits = Limits(1, repeat_ms=500)
    watch, decision = judge(None, limits, period="p", at=0, level=2, observed=True)
    times = [0] if decision else []
    at = 0
    for wait in waits:
        at += wait
        watch, decision = judge(watch, limits, period="p", at=at, level=2, observed=True)
        times += [at] if decision else []

    assert times[0] == 0
    assert all(b - a >= 500 for a, b in pairwise(times))
