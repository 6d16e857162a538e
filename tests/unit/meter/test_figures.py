"""Small parts of the fold, each by its sentence of the definition (tests/property/test_fold.py: against an oracle)."""

from __future__ import annotations

from datetime import UTC

import pytest

from meter.calls import Calls
from meter.minutes import Hours, Minutes, percentile
from meter.model import Cause, Direction, Gap, Leg
from meter.overruns import Overruns
from meter.periods import HOUR_MS, MINUTE_MS, days
from meter.presence import FOREVER, merged, presence, proved_through

LEG = Leg(1, "one", "a", "PJSIP/kpn", "PJSIP/kpn", Direction.IN, "a", "acme", 100, end=900)


def gap(start: int, end: int | None, pbx: str = "one") -> Gap:
    return Gap(1, pbx, start, end, Cause.LINK_LOST)


# --- presence --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gaps", "pieces"),
    [
        ([], [(100, 900)]),
        ([gap(200, 300)], [(100, 900)]),  # up before, up after: proved
        ([gap(100, 900)], [(100, 900)]),  # up at its first instant and still at its end
        ([gap(99, 300)], [(300, 900)]),  # it began within: not there before the gap ended
        ([gap(200, 901)], [(100, 200)]),  # gone after it: it ended at its start
        ([gap(200, None)], [(100, 200)]),  # nobody knows yet
        ([gap(50, 950)], []),
        ([gap(50, 150), gap(800, 950)], [(150, 800)]),
        ([gap(50, 150), gap(120, 300)], [(150, 900)]),  # of the second it is proved: up before, up after
        ([gap(0, 100), gap(900, 999)], [(100, 900)]),
    ],
)
def test_what_a_leg_proves(gaps: list[Gap], pieces: list[tuple[int, int]]) -> None:
    """A leg is known to exist outside of gaps, and in a gap only if it was up before it and is still up after it."""
    assert presence(LEG, gaps) == pieces
    assert presence(LEG, gaps[::-1]) == pieces


def test_a_leg_that_lasts() -> None:
    """A leg without an end is proved through every gap that ended, and through none that lasts."""
    lasting = Leg(1, "one", "a", "e", "e", Direction.IN, "a", "acme", 100)

    assert proved_through(lasting, gap(200, 10**15))
    assert not proved_through(lasting, gap(200, None))
    assert presence(lasting, [gap(200, 300)]) == [(100, FOREVER)]


def test_gaps_that_overlap_are_told_once() -> None:
    """Merged gaps are disjoint, in order, and cut to the period."""
    gaps = [gap(50, 150), gap(140, 200, "two"), gap(200, 210), gap(400, None), gap(450, 500), gap(300, 300)]

    assert merged(gaps, 100, 1_000) == [(100, 210), (400, 1_000)]
    assert merged(gaps, 210, 300) == []


# --- calls -----------------------------------------------------------------------------------


def test_calls_merge_and_end() -> None:
    """Merging two answered calls makes one answered call; it is up until its last leg has gone."""
    calls = Calls()
    for key in "ab":
        calls.up(("one", key), answered=True)
    calls.up(("one", "c"), answered=False)
    calls.merge(("one", "a"), ("one", "b"))
    calls.merge(("one", "nobody"), ("one", "b"))
    assert (calls.channels, calls.calls, calls.answered) == (3, 2, 1)
    twin = calls.copy()
    calls.down(("one", "b"), answered=True)
    assert (calls.calls, calls.answered) == (2, 1)
    calls.down(("one", "b"), answered=True)
    assert (calls.channels, calls.calls, calls.answered) == (1, 1, 0)
    assert (twin.channels, twin.calls, twin.answered) == (3, 2, 1)


def test_a_merge_into_a_name_that_is_not_up() -> None:
    """A call that takes another name stays the same call."""
    calls = Calls()
    calls.up(("one", "a"), answered=True)
    calls.merge(("one", "a"), ("one", "z"))
    calls.down(("one", "z"), answered=True)

    assert (calls.channels, calls.calls, calls.answered) == (0, 0, 0)


# --- minutes ---------------------------------------------------------------------------------


def test_nearest_rank() -> None:
    """A percentile is the value at position ceil(p * n / 100) of the minute maxima in ascending order, zeros in."""
    for n in range(1, 130):
        maxima = sorted((7 * i * i) % 23 for i in range(n))
        histogram: dict[int, int] = {}
        for value in maxima:
            histogram[value] = histogram.get(value, 0) + 1
        for p in (1, 50, 95, 98, 100):
            assert percentile(histogram, p) == maxima[-(-p * n // 100) - 1]
    assert percentile({0: 19, 9: 1}, 95) == 0
    assert percentile({0: 18, 9: 1}, 95) == 9
    assert percentile({}, 95) is None


def test_minutes_without_observed_time_are_absent() -> None:
    """A minute with a millisecond of observed time is there, one without is not; proved levels raise those that are."""
    minutes = Minutes(tuple(days(0, 10 * MINUTE_MS, UTC)), series=True)
    minutes.stretch(0, MINUTE_MS - 1, 5, observed=False)
    minutes.stretch(MINUTE_MS - 1, MINUTE_MS, 2, observed=True)
    minutes.stretch(MINUTE_MS, 3 * MINUTE_MS, 9, observed=False)
    minutes.stretch(3 * MINUTE_MS, 5 * MINUTE_MS + 1, 0, observed=True)
    minutes.flush()

    assert minutes.series == [(1, 5), (2, None), (3, 0)]
    assert minutes.histogram == {5: 1, 0: 3}
    assert minutes.daily == {"1970-01-01": 5}


def busiest(*hours: tuple[int, int]) -> tuple[int, int] | None:
    """Return the busy hour of (sum of level * ms, observed ms) in each hour."""
    found = Hours(tuple(n * HOUR_MS for n in range(len(hours))))
    for n, (level, observed) in enumerate(hours):
        found.stretch(n * HOUR_MS, n * HOUR_MS + observed, level, observed=True)
        found.stretch(n * HOUR_MS + observed, (n + 1) * HOUR_MS, 99, observed=False)
    found.flush()
    return found.busiest


def test_the_busy_hour() -> None:
    """It is the first of the hours with the highest floored mean that were observed for at least 54 minutes."""
    least = 54 * MINUTE_MS

    assert busiest((1, HOUR_MS), (3, least), (3, HOUR_MS), (9, least - 1)) == (HOUR_MS, 3_000)
    assert busiest((9, least - 1)) is None
    assert busiest((0, HOUR_MS)) == (0, 0)
    part = Hours((0,))
    part.stretch(0, 1, 1, observed=True)
    part.stretch(1, HOUR_MS, 0, observed=True)
    part.flush()
    assert part.busiest == (0, 0), "1000 / 3600000 is floored"


# --- overruns --------------------------------------------------------------------------------


def test_overruns_are_counted_and_the_worst_named() -> None:
    """All are counted and added up, the 100 with the highest level are named, of equals the earlier first."""
    overruns = Overruns()
    for n in range(250):
        overruns.stretch(n * 100, n * 100 + 10, 5 + n % 3)
    found = overruns.figures()

    assert (found.count, found.total_ms, len(found.worst)) == (250, 2_500, 100)
    assert [(o.peak, o.start) for o in found.worst] == sorted(
        ((5 + n % 3, n * 100) for n in range(250)), key=lambda o: (-o[0], o[1])
    )[:100]


def test_an_overrun_is_one_while_it_lasts() -> None:
    """Stretches that follow on are one overrun with the highest level, unless something splits them."""
    overruns = Overruns()
    overruns.stretch(0, 10, 5)
    overruns.stretch(10, 20, 8)
    twin = overruns.copy()
    overruns.split()
    overruns.stretch(20, 30, 6)

    assert [(o.start, o.end, o.peak) for o in overruns.figures().worst] == [(0, 20, 8), (20, 30, 6)]
    assert twin.figures().count == 1
