"""The demo's days, and the truth that its peaks are compared with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from agent.demo import script
from agent.demo.screen import curve
from connectors.asterisk.simulator import EXTENSIONS, TRUNKS
from connectors.office import Kind, PlannedCall
from connectors.threecx.simulated import day as day_on_3cx
from connectors.threecx.simulated.directory import Directory
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.timeline import Leg
from meter.model import Level

ACME = TRUNKS[0]
PHONES = day_on_3cx.office(Directory())
GLOBEX = PHONES.trunks[0]
ON_ASTERISK = script.overrun(ACME, EXTENSIONS[:30])
ON_3CX = script.flash(GLOBEX, PHONES.extensions)
#: In its shortest and in its usual length, the demo's day takes about so long.
LENGTHS_S = (11, 62)


@dataclass
class Line:
    start: int
    end: int | None
    call: str = "a"
    answer: int | None = None


def levels(calls: list[PlannedCall]) -> list[tuple[float, float, int]]:
    """Return the stretches of a planned day in which the lines in use do not change."""
    changes: Counter[float] = Counter()
    for call in calls:
        lines = {Kind.INTERNAL: 0, Kind.FORWARDED: 2}.get(call.kind, 1)
        changes[call.at_s] += lines
        changes[call.at_s + call.ring_s + (call.talk_s or 0)] -= lines
    moments = sorted(at for at, by in changes.items() if by)
    found, level = [], 0
    for at, following in pairwise(moments):
        level += changes[at]
        found.append((at, following, level))
    return found


def on_3cx(length_s: float) -> list[Leg]:
    """Return what truly is on the simulated 3CX in a day that takes so long and begins at instant 0."""
    at = 0
    exchange = Exchange(lambda: at, Directory())
    speed = script.DAY_S / length_s
    day_on_3cx.schedule(exchange, ON_3CX, at=0, speed=speed, from_s=script.OPENS_S)
    at = round(length_s * 1000)
    return [leg for leg in exchange.legs if not leg.bridge]


def test_the_overrun_is_made():
    """The peak on the Asterisk is made by the rush, is held for longer than any machine stands still, and stands out."""
    stretches = levels(ON_ASTERISK)
    top = [(begin, end) for begin, end, level in stretches if level == 19]
    rush_s = (min(begin for begin, _ in top), max(end for _, end in top))
    rest = [level for begin, end, level in stretches if end < rush_s[0] - 3600 or begin > rush_s[1] + 3600]

    assert max(level for _, _, level in stretches) == 19
    assert max(end - begin for begin, end in top) > 1800
    assert max(rest) <= 14


@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_the_peaks_on_the_3cx_are_made(length_s: float):
    """Before the flash the highest is the rush, which lasts longer than a poll's interval; the flash is over sooner."""
    legs = on_3cx(length_s)
    flash = round((script.FLASH_S - script.OPENS_S) / script.DAY_S * length_s * 1000)
    crowd = [leg for leg in legs if leg.start >= flash - 1][:9]
    rush = [leg for leg in legs if leg.end is not None and leg.end < flash]

    assert script.true_peaks(legs, 0, 10**9) == dict.fromkeys(Level, 9)
    assert script.true_peaks(rush, 0, 10**9) == {Level.CHANNELS: 7, Level.CALLS: 6, Level.ANSWERED: 6}
    assert max(leg.end or 10**9 for leg in crowd) - flash < 50
    assert seven_for_ms(rush) > 500


def seven_for_ms(legs: list[Leg]) -> int:
    """Return for how long at once all lines of the rush are in use."""
    changes = Counter({leg.start: 0 for leg in legs})
    for leg in legs:
        assert leg.end is not None
        changes[leg.start] += 1
        changes[leg.end] -= 1
    level, longest = 0, 0
    for at, following in pairwise(sorted(changes)):
        level += changes[at]
        longest = max(longest, following - at if level == 7 else 0)
    return longest


@pytest.mark.parametrize("calls", [ON_ASTERISK, ON_3CX])
def test_the_days_lie_within_their_hours(calls: list[PlannedCall]):
    """No call begins before the office opens or ends after it closes, and every kind of call occurs."""
    assert all(call.at_s >= script.OPENS_S for call in calls)
    assert all(call.at_s + call.ring_s + (call.talk_s or 0) < script.CLOSES_S for call in calls)
    assert {call.kind for call in calls} == set(Kind)


def test_the_days_are_the_same_every_time():
    """The demo plays the same days whenever it is played."""
    assert script.overrun(ACME, EXTENSIONS[:30]) == ON_ASTERISK
    assert script.flash(GLOBEX, PHONES.extensions) == ON_3CX


def test_the_truth_counts_what_was_up():
    """Lines that overlap count together; two lines of one call are one call; a call nobody answered is not answered."""
    lines = [
        Line(0, 100, "a", answer=10),
        Line(0, 100, "a"),
        Line(50, 60, "b", answer=55),
        Line(70, None, "c"),
    ]

    assert script.true_peaks(lines, 0, 1000) == {Level.CHANNELS: 3, Level.CALLS: 2, Level.ANSWERED: 2}


def test_the_truth_takes_one_instant_as_one_change():
    """A line that is taken in the very millisecond in which another is given back was never beside it."""
    lines = [Line(0, 50, "a"), Line(50, 90, "b")]

    assert script.true_peaks(lines, 0, 100)[Level.CHANNELS] == 1


@pytest.mark.parametrize(
    ("start", "end", "peak"), [(0, 10, 0), (10, 20, 1), (20, 30, 2), (30, 40, 1), (41, 50, 0)]
)
def test_the_truth_keeps_to_its_period(start: int, end: int, peak: int):
    """Lines that are up at the start of a period count, those that begin at its end don't."""
    lines = [Line(10, 40, "a"), Line(20, 30, "b")]

    assert script.true_peaks(lines, start, end)[Level.CHANNELS] == peak


def test_the_truth_is_not_the_meters():
    """Another day has other peaks: the comparison could fail."""
    fuller = [replace(Line(0, 100), call=str(n)) for n in range(20)]

    assert script.true_peaks(fuller, 0, 100)[Level.CHANNELS] == 20


def test_the_curve_is_as_large_as_it_is_asked_to_be():
    """Whatever the day brings, the landscape keeps to its lines and columns and names the capacity."""
    lines = curve([None, 0, 3, 19, 40, None] * 23, 16, 72, 6)

    assert len(lines) == 6 + 1
    assert all(len(line) <= 72 + 8 for line in lines)
    assert sum(line.plain.startswith("  16 ┤") for line in lines) == 1
    assert lines[0].plain.strip("│╌ ") != ""
    assert curve([None] * 10, 16, 40, 5)[4].plain.strip("│╌ ") == ""
