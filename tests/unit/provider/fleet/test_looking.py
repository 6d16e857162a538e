"""What a look at the fleet finds, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS
from provider.books import KeyState
from provider.fleet.findings import Key, Kind, shown
from provider.fleet.looking import AHEAD_MS, CONTRADICTED_MS, MISSED_MS, Limits, gone, look, version
from provider.fleet.sights import Contradicted, HeldKey, Sight, Statement

#: 2026-11-22T07:00Z
NOW = 1_795_330_800_000
GOOD = HeldKey("k" * 43, KeyState.ACTIVE)
STATED = Statement(
    tenant="acme",
    name="ACME B.V.",
    interim=True,
    as_of=NOW - 10 * MINUTE_MS,
    period_end=NOW + 9 * DAY_MS,
    next_by=NOW + 50 * MINUTE_MS,
    taken_at=NOW - 10 * MINUTE_MS,
    version="0.2.0",
    peak=5,
    capacity=16,
    expected_ms=21 * DAY_MS,
    unseen_ms=0,
    synchronised=True,
    unclassified=0,
)
WELL = Sight(
    "ams-01", enrolled_at=NOW - 90 * DAY_MS, heard_at=NOW - 10 * MINUTE_MS, keys=(GOOD,), statements=(STATED,)
)


def stated(**changes) -> Sight:
    return replace(WELL, statements=(replace(STATED, **changes),))


def kinds(*sights: Sight, now: int = NOW, **limits) -> list[Kind]:
    return [finding.key.kind for finding in look(sights, Limits(**limits), now)]


def test_an_agent_that_is_well_is_not_named():
    """Nothing is found where nothing is wrong."""
    assert look([WELL], Limits(), NOW) == ()


@pytest.mark.parametrize(
    ("sight", "kind"),
    [
        (replace(WELL, contradictions=(Contradicted("fork", NOW - 5, NOW - 1, 2),)), Kind.CONTRADICTED),
        (replace(WELL, missing=(("c-1", 1, 4), ("c-1", 9, 9))), Kind.HOLE),
        (replace(WELL, keys=(replace(GOOD, ends_at=NOW + DAY_MS),)), Kind.KEY_ENDS),
        (replace(WELL, keys=(replace(GOOD, state=KeyState.WITHDRAWN),)), Kind.KEYLESS),
        (replace(WELL, keys=(replace(GOOD, ends_at=NOW),)), Kind.KEYLESS),
        (stated(synchronised=False), Kind.CLOCK),
        (stated(as_of=NOW + AHEAD_MS + 1, taken_at=NOW), Kind.CLOCK),
        (stated(unseen_ms=21 * DAY_MS // 100 + 1), Kind.COVERAGE),
        (stated(unclassified=3), Kind.UNCLASSIFIED),
        (stated(peak=13), Kind.NEAR),
    ],
)
def test_each_kind_is_found(sight, kind):
    """What needs a hand is found under its own name, and nothing else with it."""
    assert kinds(sight) == [kind]


@pytest.mark.parametrize(
    "sight",
    [
        replace(WELL, contradictions=(Contradicted("fork", 0, NOW - CONTRADICTED_MS - 1, 9),)),
        replace(WELL, keys=(GOOD, replace(GOOD, ends_at=NOW + DAY_MS))),
        replace(WELL, keys=(GOOD, replace(GOOD, state=KeyState.WITHDRAWN))),
        replace(WELL, keys=(replace(GOOD, ends_at=NOW + 15 * DAY_MS),)),
        stated(synchronised=None),
        stated(as_of=NOW + AHEAD_MS, taken_at=NOW),
        stated(unseen_ms=21 * DAY_MS // 100),
        stated(unclassified=None),
        stated(peak=12),
        stated(peak=None),
        stated(capacity=None, peak=400),
        stated(version="unknown"),
    ],
)
def test_what_is_not_known_or_not_enough_is_no_finding(sight):
    """At the limit, and where nothing is known, nothing is said."""
    assert kinds(sight) == []


def test_the_first_day_of_a_period_counts_as_a_whole_one():
    """A gap of ten minutes an hour after midnight is not named; a quarter of an hour is."""
    assert kinds(stated(expected_ms=HOUR_MS, unseen_ms=10 * MINUTE_MS)) == []
    assert kinds(stated(expected_ms=HOUR_MS, unseen_ms=15 * MINUTE_MS)) == [Kind.COVERAGE]


def test_over_capacity_is_said_with_its_figures_and_close_to_it_goes_without_saying():
    """A peak above the capacity is found twice; the weaker word is not shown."""
    found = look([stated(peak=20)], Limits(), NOW)
    over, near = found

    assert (over.key, over.name) == (Key(Kind.OVER, "ams-01", "acme"), "ACME B.V.")
    assert over.figures == {"peak": 20, "capacity": 16, "share": 125, "basis": "channels"}
    assert near.key.kind is Kind.NEAR
    assert shown(found) == [over]


@pytest.mark.parametrize("interval", [5 * MINUTE_MS, HOUR_MS, DAY_MS])
def test_silence_is_three_of_its_own_intervals(interval):
    """An agent that promised an interim every so often is silent after three of them, not a moment before."""
    sight = stated(as_of=NOW - interval, next_by=NOW, taken_at=NOW)
    at = replace(sight, heard_at=NOW)

    assert kinds(at, now=NOW + 3 * interval) == []
    assert kinds(at, now=NOW + 3 * interval + 1) == [Kind.SILENT, Kind.UNREPORTED]


def test_an_agent_that_enrolled_and_never_spoke():
    """Its silence counts from its enrolment, by the default interval."""
    sight = Sight("ams-02", enrolled_at=NOW - 3 * HOUR_MS - 1, keys=(GOOD,))
    (finding,) = look([sight], Limits(), NOW)

    assert (finding.key.kind, finding.since) == (Kind.SILENT, sight.enrolled_at)
    assert "heard_at" not in finding.figures
    assert look([sight], Limits(), NOW - 1) == ()


def test_a_tenant_that_is_no_longer_reported():
    """An agent that speaks of one tenant and not of another is named with the other; a final ends that."""
    then = NOW - 2 * DAY_MS
    other = replace(STATED, tenant="globex", name="Globex", taken_at=then, as_of=then, next_by=then + HOUR_MS)
    sight = replace(WELL, statements=(STATED, other))

    assert [finding.key for finding in look([sight], Limits(), NOW)] == [
        Key(Kind.UNREPORTED, "ams-01", "globex")
    ]
    closed = replace(other, interim=False, next_by=None)
    assert kinds(replace(WELL, statements=(STATED, closed))) == []


def test_a_final_says_how_things_are_for_a_day():
    """The figures of a period that is over stand until the next one's first interim, a day at most."""
    final = stated(interim=False, next_by=None, period_end=NOW - DAY_MS, as_of=NOW - DAY_MS, peak=20)

    assert kinds(final) == [Kind.OVER, Kind.NEAR]
    assert kinds(final, now=NOW + 1) == []


def test_a_tenant_that_was_taken_out_in_mid_month_is_not_named_for_ever():
    """An interim that no final followed says how things are until a day after its period, and nothing after that."""
    left = replace(
        STATED, tenant="left", period_end=NOW, taken_at=NOW - 9 * DAY_MS, peak=20, unclassified=3,
        unseen_ms=5 * DAY_MS,
    )  # fmt: skip

    def found(now: int) -> list[Kind]:
        heard = replace(WELL, heard_at=now, statements=(left, replace(STATED, taken_at=now, as_of=now)))
        return kinds(heard, now=now)

    assert found(NOW + DAY_MS) == [
        Kind.UNREPORTED, Kind.OVER, Kind.COVERAGE, Kind.NEAR, Kind.UNCLASSIFIED
    ]  # fmt: skip
    assert found(NOW + DAY_MS + 1) == []


def test_an_agent_out_of_service_is_not_missed_for_ever():
    """Without a good key it is named for five weeks after its last word, and then no more."""
    withdrawn = replace(WELL, keys=(replace(GOOD, state=KeyState.WITHDRAWN),))
    last = withdrawn.heard_at + MISSED_MS

    assert Kind.KEYLESS in kinds(withdrawn, now=last)
    assert gone([withdrawn, WELL], last) == frozenset()
    assert kinds(withdrawn, now=last + 1) == []
    assert gone([withdrawn, WELL], last + 1) == {"ams-01"}
    assert Kind.SILENT in kinds(WELL, now=last + 1), "one with a good key stays missed"


def test_old_versions():
    """Older than the newest release in the fleet, or than what is demanded; a trial build sets no standard."""
    old, new, trial = (
        replace(stated(version=text), agent=f"a-{text}") for text in ("0.9.0", "0.10.0", "0.11.0.dev1")
    )

    def named(*sights: Sight, **limits) -> list[str]:
        return [finding.key.agent for finding in look(sights, Limits(**limits), NOW)]

    assert named(old, new, trial) == ["a-0.9.0"]
    assert named(old) == []
    assert named(old, new, trial, version_at_least="0.10.1") == ["a-0.10.0", "a-0.9.0"]
    assert named(old, new, version_at_least="0.9.0") == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.1.0", (0, 1, 0)),
        ("2026.11", (2026, 11)),
        ("1.0rc1", None),
        ("", None),
        ("1..2", None),
        ("\uff11.0", None),
    ],
)
def test_versions(text, numbers):
    """Only the numbers of a release compare."""
    assert version(text) == numbers


def test_the_worst_comes_first():
    """By kind, and within a kind by how bad it is, whatever order the agents come in."""
    sights = [
        replace(stated(peak=14), agent="a-near"),
        replace(stated(peak=20), agent="b-over"),
        replace(stated(peak=40), agent="c-over"),
        replace(WELL, agent="d-silent", heard_at=NOW - 2 * DAY_MS),
    ]
    found = [finding.key for finding in look(sights, Limits(), NOW)]

    assert [(key.kind, key.agent) for key in found] == [
        (Kind.SILENT, "d-silent"),
        (Kind.OVER, "c-over"),
        (Kind.OVER, "b-over"),
        (Kind.NEAR, "c-over"),
        (Kind.NEAR, "b-over"),
        (Kind.NEAR, "a-near"),
    ]
    assert [finding.key for finding in look(sights[::-1], Limits(), NOW)] == found


@given(
    st.builds(
        Statement,
        tenant=st.sampled_from(["acme", "globex"]),
        name=st.just("X"),
        interim=st.booleans(),
        as_of=st.integers(NOW - 99 * DAY_MS, NOW + DAY_MS),
        period_end=st.integers(NOW - 99 * DAY_MS, NOW + 40 * DAY_MS),
        next_by=st.none() | st.integers(NOW - 99 * DAY_MS, NOW + DAY_MS),
        taken_at=st.integers(NOW - 99 * DAY_MS, NOW),
        version=st.sampled_from(["0.1.0", "0.2.0", "x"]),
        peak=st.none() | st.integers(0, 500),
        capacity=st.none() | st.integers(0, 100),
        expected_ms=st.integers(0, 40 * DAY_MS),
        unseen_ms=st.integers(0, 40 * DAY_MS),
        synchronised=st.none() | st.booleans(),
        unclassified=st.none() | st.integers(0, 9),
    ),
    st.none() | st.integers(NOW - 99 * DAY_MS, NOW),
)
def test_any_books_give_one_finding_of_a_kind_each(statement, heard_at):
    """Whatever the books hold, a look ends well, and no two findings are the same one."""
    sight = replace(WELL, heard_at=heard_at, statements=(statement,))
    found = look([sight], Limits(), NOW)

    assert len({finding.key for finding in found}) == len(found)
