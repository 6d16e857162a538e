"""The second witness and the fold reach the same figures by different ways, and a filled gap never invents a peak."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

from hypothesis import given, settings
from hypothesis import strategies as st

from meter.amendment import Amendment, amended, filling
from meter.model import Cause, Direction, Gap, Known, Leg, Level, Terms
from meter.periods import Period
from meter.summary import Facts, state
from meter.witness import told

START = 1_795_291_380_000
PERIOD = Period("2026-11-21", START, START + 600_000)
TERMS = Terms("acme", 0, 4, Level.CHANNELS, ("pbx1",))


@st.composite
def histories(draw) -> list[Leg]:
    """Ended legs of some calls around the period."""
    found = []
    for row in range(1, draw(st.integers(0, 25)) + 1):
        start = START + draw(st.integers(-100_000, 650_000))
        length = draw(st.integers(0, 120_000))
        answer = draw(st.none() | st.integers(0, length))
        found.append(
            Leg(
                row, "pbx1", f"id.{row}", "PJSIP/kpn", "PJSIP/kpn", draw(st.sampled_from(Direction)),
                f"id.{draw(st.integers(1, row))}", "acme", start, Known.SEEN,
                None if answer is None else start + answer, None if answer is None else Known.SEEN,
                start + length, Known.SEEN,
            )
        )  # fmt: skip
    return found


def facts(legs: list[Leg], gaps: list[Gap]) -> Facts:
    return Facts(
        "acme", "ACME", sorted(legs, key=lambda x: (x.start, x.row)), [], {"pbx1": gaps}, [TERMS], []
    )


def figures(of: Facts):
    return state(of, PERIOD, PERIOD.end, UTC).figures


@settings(max_examples=60, deadline=None)
@given(histories())
def test_two_ways_one_result(legs):
    """Sweep line and fold agree on every level's peak and its moment, and on legs, answers and talk of each direction."""
    ours, theirs = figures(facts(legs, [])), told(legs, PERIOD.start, PERIOD.end)

    for level in Level:
        peak = ours.levels[level].peak
        assert (peak.level, peak.at) == theirs.peaks[level]
    for direction in Direction:
        flow, other = ours.traffic[direction], theirs.traffic[direction]
        assert (flow.legs, flow.answered, flow.answered_ms) == (other.legs, other.answered, other.answered_ms)


def as_seen(legs: list[Leg], gap: Gap) -> list[Leg]:
    """Return what an agent's ledger holds of a history in which it did not see a gap."""
    assert gap.end is not None
    seen = []
    for leg in legs:
        assert leg.end is not None
        if leg.start >= gap.start and leg.end < gap.end:
            continue  # it came and went unseen
        if gap.start < leg.start < gap.end:
            leg = replace(leg, start=gap.end, start_known=Known.SNAPSHOT)  # noqa: PLW2901
        if leg.start <= gap.start < leg.end < gap.end:
            leg = replace(leg, end=gap.start, end_known=Known.GAP)  # noqa: PLW2901
        if leg.answer is not None and gap.start < leg.answer < gap.end:
            late = Known.SNAPSHOT if leg.end is not None and leg.end > gap.end else None
            leg = replace(leg, answer=gap.end if late else None, answer_known=late)  # noqa: PLW2901
        seen.append(leg)
    return seen


def as_logged(leg: Leg) -> Leg:
    """Return a leg as call records tell it: seconds, cut off."""
    assert leg.end is not None
    cut = {name: getattr(leg, name) // 1000 * 1000 for name in ("start", "end")}
    answer = None if leg.answer is None else leg.answer // 1000 * 1000
    return replace(leg, row=-leg.row, answer=answer, **cut)


@settings(max_examples=80, deadline=None)
@given(histories(), st.integers(10_000, 400_000), st.integers(2_000, 150_000))
def test_a_filled_gap_tells_no_less_and_invents_nothing(legs, after, length):
    """Filled from call records, every leg of a gap is there, within a second of its life; the gap is gone; no leg is twice."""
    gap = Gap(1, "pbx1", START + after, START + after + length, Cause.AGENT_DOWN)
    legs = [leg for leg in legs if leg.start != leg.end]
    ledger = as_seen(legs, gap)
    witnessed = [as_logged(leg) for leg in legs]
    span = (START - 200_000, START + 900_000)

    found = filling(ledger, witnessed, [gap], span)
    before = facts(ledger, [gap])
    after_ = amended(before, Amendment(found.legs, (), found.filled))

    assert found.filled == (("pbx1", gap.start, gap.end),)
    assert after_.gaps == {"pbx1": []}
    assert figures(after_).observed_ms == PERIOD.end - PERIOD.start
    assert len({leg.leg for leg in after_.legs}) == len(after_.legs)
    true = {leg.leg: leg for leg in legs}
    for leg in after_.legs:
        was = true[leg.leg]
        for name in ("start", "end"):
            assert abs(getattr(leg, name) - getattr(was, name)) <= 1_000, name
    # A leg that the records put outside the gap by cutting its second off may be missing, no other.
    missing = [true[name] for name in true.keys() - {leg.leg for leg in after_.legs}]
    assert all(leg.start - gap.start < 1_000 for leg in missing)
    assert found.doubtful == 0
    widened = [replace(leg, start=leg.start - 1_000) for leg in legs]
    ours = figures(after_).levels[Level.CHANNELS].peak.level
    known = figures(before).levels[Level.CHANNELS].peak
    assert (
        (known.level if known else 0)
        <= ours
        <= told(widened, PERIOD.start, PERIOD.end).peaks[Level.CHANNELS][0]
    )
