"""The demo's day, and the truth that its peaks are compared with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from agent.demo import script
from agent.demo.screen import curve
from connectors.asterisk.simulator import EXTENSIONS, TRUNKS
from connectors.office import Kind, PlannedCall
from meter.model import Level

ACME, GLOBEX = TRUNKS
DAY = script.planned(TRUNKS, EXTENSIONS)


@dataclass
class Line:
    start: int
    end: int | None
    call: str = "a"
    answer: int | None = None
    endpoint: str = ACME


def levels(calls: list[PlannedCall], trunk: str) -> list[tuple[float, float, int]]:
    """Return the stretches of a planned day in which the lines in use on a trunk do not change."""
    changes: Counter[float] = Counter()
    for call in calls:
        sides = {Kind.INTERNAL: ()}.get(
            call.kind, (call.trunk, call.out if call.kind is Kind.FORWARDED else "")
        )
        changes[call.at_s] += sides.count(trunk)
        changes[call.at_s + call.ring_s + (call.talk_s or 0)] -= sides.count(trunk)
    moments = sorted(at for at, by in changes.items() if by)
    found, level = [], 0
    for at, following in pairwise(moments):
        level += changes[at]
        found.append((at, following, level))
    return found


@pytest.mark.parametrize(("trunk", "peak", "ordinary"), [(ACME, 19, 14), (GLOBEX, 7, 6)])
def test_the_peaks_of_the_day_are_made(trunk: str, peak: int, ordinary: int):
    """Each tenant's peak is made by its rush, is held for longer than any machine stands still, and stands out."""
    stretches = levels(DAY, trunk)
    top = [(begin, end) for begin, end, level in stretches if level == peak]
    rush_s = (min(begin for begin, _ in top), max(end for _, end in top))
    rest = [level for begin, end, level in stretches if end < rush_s[0] - 3600 or begin > rush_s[1] + 3600]

    assert max(level for _, _, level in stretches) == peak
    assert max(end - begin for begin, end in top) > 1800
    assert max(rest) <= ordinary


def test_the_day_lies_within_its_hours():
    """No call begins before the office opens or after it closes, and the same seed is the same day."""
    assert all(script.OPENS_S <= call.at_s < script.CLOSES_S for call in DAY)
    assert script.planned(TRUNKS, EXTENSIONS) == DAY
    assert {call.kind for call in DAY} == set(Kind)


def test_the_truth_counts_what_was_up():
    """Lines that overlap count together; two lines of one call are one call; a call nobody answered is not answered."""
    lines = [
        Line(0, 100, "a", answer=10),
        Line(0, 100, "a"),
        Line(50, 60, "b", answer=55),
        Line(70, None, "c"),
        Line(0, 100, "d", answer=1, endpoint=GLOBEX),
    ]

    assert script.true_peaks(lines, ACME, 0, 1000) == {Level.CHANNELS: 3, Level.CALLS: 2, Level.ANSWERED: 2}
    assert script.true_peaks(lines, GLOBEX, 0, 1000) == dict.fromkeys(Level, 1)


def test_the_truth_takes_one_instant_as_one_change():
    """A line that is taken in the very millisecond in which another is given back was never beside it."""
    lines = [Line(0, 50, "a"), Line(50, 90, "b")]

    assert script.true_peaks(lines, ACME, 0, 100)[Level.CHANNELS] == 1


@pytest.mark.parametrize(
    ("start", "end", "peak"), [(0, 10, 0), (10, 20, 1), (20, 30, 2), (30, 40, 1), (41, 50, 0)]
)
def test_the_truth_keeps_to_its_period(start: int, end: int, peak: int):
    """Lines that are up at the start of a period count, those that begin at its end don't."""
    lines = [Line(10, 40, "a"), Line(20, 30, "b")]

    assert script.true_peaks(lines, ACME, start, end)[Level.CHANNELS] == peak


def test_the_truth_is_not_the_meters():
    """Another day has other peaks: the comparison could fail."""
    fuller = [replace(Line(0, 100), call=str(n)) for n in range(20)]

    assert script.true_peaks(fuller, ACME, 0, 100)[Level.CHANNELS] == 20


def test_the_curve_is_as_large_as_it_is_asked_to_be():
    """Whatever the day brings, the landscape keeps to its lines and columns and names the capacity."""
    lines = curve([None, 0, 3, 19, 40, None] * 23, 16, 72, 6)

    assert len(lines) == 6 + 1
    assert all(len(line) <= 72 + 8 for line in lines)
    assert sum(line.plain.startswith("  16 ┤") for line in lines) == 1
    assert lines[0].plain.strip("│╌ ") != ""
    assert curve([None] * 10, 16, 40, 5)[4].plain.strip("│╌ ") == ""
