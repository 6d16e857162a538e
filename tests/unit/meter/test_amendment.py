"""Gaps filled from call records: what the records put outside of a gap invents nothing there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

from meter.amendment import Amendment, amended, filling
from meter.model import Cause, Direction, Gap, Known, Leg, Level, Terms
from meter.periods import Period
from meter.summary import Facts, content, state

START = 1_795_291_380_000
PERIOD = Period("2026-11-21", START, START + 600_000)
TERMS = Terms("acme", 0, 4, Level.CHANNELS, ("pbx1",))
GAP = Gap(1, "pbx1", START + 100_700, START + 200_000, Cause.AGENT_DOWN)
SPAN = (START, START + 600_000)


def leg(row: int, start: int, end: int) -> Leg:
    return Leg(row, "pbx1", f"id.{row}", "PJSIP/kpn", "PJSIP/kpn", Direction.IN, f"id.{row}", "acme",
               START + start, Known.SEEN, START + start, Known.SEEN, START + end, Known.SEEN)  # fmt: skip


def told(row: int, start: int, end: int) -> Leg:
    return replace(leg(-row, start, end), leg=f"told.{row}", start_known=Known.CALL_LOG)


def peak(ledger: list[Leg], found) -> int:
    facts = Facts("acme", "ACME", ledger, [], {"pbx1": [GAP]}, [TERMS], [])
    filled = amended(facts, Amendment(found.legs, (), found.filled))
    return state(filled, PERIOD, PERIOD.end, UTC).figures.levels[Level.CHANNELS].peak.level


def test_a_second_that_is_cut_off_meets_nobody_before_the_gap():
    """A call of a gap whose records start it in the second before begins with the gap: it never was up with one that had ended by then."""
    ledger = [leg(1, 50_000, 100_600)]
    found = filling(ledger, [told(2, 100_000, 150_000)], [GAP], SPAN)

    assert [(one.start, one.answer, one.end) for one in found.legs] == [
        (GAP.start, GAP.start, START + 150_000)
    ]
    assert peak(ledger, found) == 1


def test_what_was_not_seen_outside_of_the_gap_is_doubtful():
    """A call of the records that is not in the ledger, and would have been up when it was watched, is counted as doubtful and used for nothing."""
    ledger = [leg(1, 50_000, 90_000), leg(2, 210_000, 300_000)]
    before, after = told(3, 80_000, 150_000), told(4, 150_000, 250_000)
    inside = told(5, 120_000, 180_000)
    found = filling(ledger, [before, after, inside], [GAP], SPAN)

    assert found.doubtful == 2
    assert [one.leg for one in found.legs] == ["told.5"]
    assert peak(ledger, found) == 1


def test_only_what_the_records_cover_is_filled():
    """Records that begin or end within a gap fill that part of it, and the rest stays a gap."""
    found = filling([], [], [GAP], (START + 120_000, START + 150_000))

    assert found.filled == (("pbx1", START + 120_000, START + 150_000),)
    facts = Facts("acme", "ACME", [], [], {"pbx1": [GAP]}, [TERMS], [])
    left = amended(facts, Amendment((), (), found.filled)).gaps["pbx1"]
    assert [(gap.start, gap.end) for gap in left] == [
        (GAP.start, START + 120_000),
        (START + 150_000, GAP.end),
    ]


def test_what_was_seen_is_not_written_over():
    """A leg that was seen to begin keeps that instant, whatever the records cut off; only its end in the gap comes from them."""
    seen = replace(leg(1, 50_600, 100_700), end_known=Known.GAP)
    record = replace(seen, row=-1, start=START + 50_000, answer=START + 51_000, end=START + 150_000)
    found = filling([seen], [record], [GAP], SPAN)

    assert found.legs == (replace(seen, end=START + 150_000, end_known=Known.CALL_LOG),)


def test_a_leg_is_found_once():
    """Of two dialled legs of one call on one trunk, whose ids no record tells, the first is the one that the ledger has and the second is another."""
    seen = replace(leg(1, 50_000, 100_700), direction=Direction.OUT, end_known=Known.GAP)
    first, second = (
        replace(told(row, start, end), direction=Direction.OUT, call=seen.call)
        for row, start, end in ((2, 50_000, 150_000), (3, 102_000, 120_000))
    )
    found = filling([seen], [first, second], [GAP], SPAN)

    assert {one.leg: (one.start, one.end) for one in found.legs} == {
        "id.1": (seen.start, START + 150_000),
        "told.3": (START + 102_000, START + 120_000),
    }


def test_what_records_fill_is_a_lower_bound():
    """A period whose only gap is filled was observed whole, and its levels stay lower bounds: records count whole seconds."""
    found = filling([], [told(2, 110_000, 150_000)], [GAP], SPAN)
    facts = Facts("acme", "ACME", [], [], {"pbx1": [GAP]}, [TERMS], [])
    filled = amended(facts, Amendment(found.legs, (), found.filled))
    said = content(state(filled, PERIOD, PERIOD.end, UTC), evidence=True)

    assert said["coverage"]["gaps"]["count"] == 0
    assert said["coverage"]["observed_ms"] == PERIOD.end - PERIOD.start
    assert {level["peak"] for level in said["levels"].values()} == {1}
    assert all(level["lower_bound"] for level in said["levels"].values())
    assert {level["peak_source"] for level in said["levels"].values()} == {"call_log"}


def test_a_leg_whose_own_id_is_told_is_no_other():
    """Of two dialled legs of one call on one trunk, the one that came and went in the gap does not take the place of the one that the records name by its id."""
    seen = replace(leg(1, 50_000, 100_700), direction=Direction.OUT, end_known=Known.GAP)
    known = replace(seen, row=-1, end=START + 150_000)
    other = replace(told(2, 102_000, 120_000), direction=Direction.OUT, call=seen.call)
    for witnessed in ([known, other], [other, known]):
        found = filling([seen], witnessed, [GAP], SPAN)

        assert found.doubtful == 0
        assert {one.leg: (one.start, one.end) for one in found.legs} == {
            "id.1": (seen.start, START + 150_000),
            "told.2": (START + 102_000, START + 120_000),
        }
