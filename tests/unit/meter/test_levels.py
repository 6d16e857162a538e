"""The state machine of the levels, case by case (tests/property/test_levels.py: over random lives of PBXs)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from meter.events import Event, LegChanged, LegEnded, LegRenamed, LegStarted, Sighting, Snapshot
from meter.levels import Levels
from meter.model import Cause, Direction, Gap, Known, Leg, Level, Merge
from meter.tenancy import PbxRules, Tenancy, TenantRules

T = 1_800_000_000_000
MINUTE = 60_000


@dataclass
class Pbx:
    """One PBX and all that was ever stated of it."""

    levels: Levels
    legs: dict[int, Leg] = field(default_factory=dict)
    gaps: dict[int, Gap] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.levels.apply("pbx", event)
        self.drain()

    def drain(self) -> None:
        changes = self.levels.drain()
        self.legs |= changes.legs
        self.gaps |= changes.gaps
        self.merges += changes.merges

    def lose(self, at: int, cause: Cause = Cause.LINK_LOST) -> None:
        self.levels.lose("pbx", at, cause)
        self.drain()

    @property
    def now(self) -> tuple[int, int, int]:
        return tuple(self.levels.now("acme").values())

    def leg(self, leg: str) -> Leg:
        (found,) = [row for row in self.legs.values() if row.leg == leg]
        return found

    @property
    def lost(self) -> list[tuple[int, int | None]]:
        return [(g.start, g.end) for g in self.gaps.values() if g.cause is Cause.EVENTS_LOST]


def tenancy() -> Tenancy:
    return Tenancy(
        [PbxRules("pbx", ("PJSIP/kpn", "PJSIP/shared"), re.compile("1[0-9]{2}"))],
        [
            TenantRules("acme", trunks=("PJSIP/kpn",), contexts=("from-acme",)),
            TenantRules("globex", dids=("31*",), accounts=("g",)),
        ],
        b"key",
    )


@pytest.fixture
def pbx() -> Pbx:
    """A PBX that is observed from T on, without a leg."""
    made = Pbx(Levels(tenancy()))
    made.levels.watch("pbx")
    made.tell(Snapshot(T, T - 10, (), "run 1"))
    return made


def started(
    at: int, leg: str, call: str = "", endpoint: str | None = "PJSIP/kpn", **more: object
) -> LegStarted:
    return LegStarted(at, Sighting(leg, call or leg, endpoint, **more))


def shown(leg: str, call: str = "", endpoint: str | None = "PJSIP/kpn", **more: object) -> Sighting:
    return Sighting(leg, call or leg, endpoint, **more)


def test_before_anything_was_seen() -> None:
    """A PBX that nobody ever saw is a gap `not_installed`; it ends with the first snapshot, whose legs begin as it says."""
    pbx = Pbx(Levels(tenancy()))
    pbx.levels.watch("pbx")
    pbx.tell(Snapshot(T, T - 100, (shown("a", created=T - MINUTE), shown("b")), "run 1"))

    assert [(g.start, g.end, g.cause) for g in pbx.gaps.values()] == [(0, T, Cause.NOT_INSTALLED)]
    assert (pbx.leg("a").start, pbx.leg("a").start_known) == (T - MINUTE, Known.SNAPSHOT)
    assert pbx.leg("b").start == T
    assert pbx.leg("a").direction is Direction.UNKNOWN
    assert pbx.now == (2, 2, 0)


def test_a_call_forwarded_out_again(pbx: Pbx) -> None:
    """In on a trunk and out on a trunk: two channels, one call, answered once either is."""
    pbx.tell(started(T + 1, "a", direction=Direction.IN), started(T + 2, "b", "a", direction=Direction.OUT))
    assert pbx.now == (2, 1, 0)
    pbx.tell(LegChanged(T + 3, "b", "a", answered=True))
    assert pbx.now == (2, 1, 1)
    pbx.tell(LegChanged(T + 4, "a", "a", answered=True))
    assert pbx.now == (2, 1, 1)
    pbx.tell(LegEnded(T + 5, "b"))
    assert pbx.now == (1, 1, 1)
    pbx.tell(LegEnded(T + 6, "a"))
    assert pbx.now == (0, 0, 0)


def test_a_conference_of_n_legs_is_n_calls(pbx: Pbx) -> None:
    """Outside callers in one conference keep their calls; their extension legs and announcers count nothing."""
    for n in range(5):
        pbx.tell(started(T + n, f"c{n}"), LegChanged(T + n, f"c{n}", f"c{n}", answered=True))
        pbx.tell(started(T + n, f"x{n}", f"c{n}", "PJSIP/101"), started(T + n, f"l{n}", f"c{n}", None))

    assert pbx.now == (5, 5, 5)
    assert len(pbx.legs) == 5


def test_two_calls_become_one_for_good(pbx: Pbx) -> None:
    """Shown with one call id two calls are one from then on, not before; whatever stale ids come later they stay one."""
    pbx.tell(started(T + 1, "a"), started(T + 2, "b"), started(T + 3, "c"))
    pbx.tell(LegChanged(T + 10, "b", "a", answered=True))
    assert pbx.now == (3, 2, 1)
    assert pbx.merges == [Merge("pbx", T + 10, "b", "a")]
    pbx.tell(LegChanged(T + 11, "b", "b"), LegChanged(T + 12, "a", "b"), started(T + 13, "d", "b"))
    assert pbx.now == (4, 2, 1)
    assert pbx.leg("d").call == "a"
    pbx.tell(Snapshot(T + 5000, T + 4990, tuple(shown(x, "c") for x in "abcd"), "run 1"))
    assert pbx.now == (4, 1, 1)
    assert pbx.lost == []


def test_a_name_is_free_again_when_its_call_is_over(pbx: Pbx) -> None:
    """Once a merged call has ended, a new call may go by any of its names without being one with another."""
    pbx.tell(started(T + 1, "a"), started(T + 2, "b"), LegChanged(T + 3, "b", "a"))
    pbx.tell(LegEnded(T + 4, "a"), LegEnded(T + 5, "b"), started(T + 6, "e", "b"), started(T + 7, "f", "a"))

    assert pbx.now == (2, 2, 0)


def test_repetitions_count_once(pbx: Pbx) -> None:
    """The same birth, answer and end twice, in any order, count once; a birth that comes after the end counts nothing."""
    birth, end = started(T + 1, "a"), LegEnded(T + 9, "a")
    pbx.tell(
        birth,
        birth,
        LegChanged(T + 2, "a", "a", answered=True),
        LegChanged(T + 3, "a", "a", answered=True),
        birth,
    )
    assert pbx.now == (1, 1, 1)
    assert pbx.leg("a").answer == T + 2
    pbx.tell(end, end, birth, end)
    assert pbx.now == (0, 0, 0)
    pbx.tell(LegEnded(T + 20, "z"), started(T + 21, "z"))
    assert pbx.now == (0, 0, 0)
    assert len(pbx.legs) == 1


def test_a_missed_hangup(pbx: Pbx) -> None:
    """A leg that two snapshots show no longer ends at the last instant that proves it; the stretch since the last
    agreeing snapshot is a gap `events_lost`. After the first its hangup might still be on its way.
    """
    pbx.tell(started(T + 1, "a"), LegChanged(T + 20_000, "a", "a", answered=True))
    pbx.tell(Snapshot(T + 60_000, T + 59_900, (shown("a", answered=True),), "run 1"))
    pbx.tell(Snapshot(T + 120_000, T + 119_900, (), "run 1"))
    assert pbx.lost == []
    pbx.tell(Snapshot(T + 180_000, T + 179_900, (), "run 1"))

    assert (pbx.leg("a").end, pbx.leg("a").end_known) == (T + 60_000, Known.SNAPSHOT)
    assert pbx.lost == [(T + 60_000, T + 180_000)]
    assert pbx.now == (0, 0, 0)
    assert pbx.levels.pbxs["pbx"].missed_hangups == 1


def test_a_missed_birth(pbx: Pbx) -> None:
    """A leg that only a snapshot shows starts when the PBX says, or else at the snapshot; the stretch before is a gap."""
    pbx.tell(
        Snapshot(T + 60_000, T + 59_900, (shown("a", created=T + 20_000, answered=True), shown("b")), "run 1")
    )
    pbx.tell(
        Snapshot(
            T + 120_000, T + 119_900, (shown("a", created=T + 20_000, answered=True), shown("b")), "run 1"
        )
    )

    assert (pbx.leg("a").start, pbx.leg("a").start_known) == (T + 20_000, Known.SNAPSHOT)
    assert (pbx.leg("a").answer, pbx.leg("a").answer_known) == (T + 60_000, Known.SNAPSHOT)
    assert pbx.leg("b").start in (T + 60_000, T + 120_000)
    assert pbx.lost[0][0] == T
    assert pbx.levels.pbxs["pbx"].missed_starts == 2
    assert pbx.now == (2, 2, 1)


def test_a_listed_leg_whose_hangup_was_told(pbx: Pbx) -> None:
    """A list that still shows a leg which hung up while it was made brings nothing back to life."""
    pbx.tell(started(T + 1, "a"), LegEnded(T + 30_050, "a"))
    pbx.tell(Snapshot(T + 30_200, T + 30_000, (shown("a", created=T),), "run 1"))

    assert pbx.now == (0, 0, 0)
    assert pbx.lost == []


def test_a_listed_leg_whose_birth_is_on_its_way(pbx: Pbx) -> None:
    """A leg that is listed before its birth is told is opened by that event, as seen, without a gap."""
    pbx.tell(Snapshot(T + 30_200, T + 30_000, (shown("a", created=T + 30_000),), "run 1"))
    assert pbx.now == (0, 0, 0)
    pbx.tell(started(T + 30_700, "a", direction=Direction.IN))
    pbx.tell(Snapshot(T + 60_000, T + 59_900, (shown("a", created=T + 30_000),), "run 1"))

    assert (pbx.leg("a").start_known, pbx.leg("a").direction) == (Known.SEEN, Direction.IN)
    assert pbx.lost == []
    assert pbx.now == (1, 1, 0)


def test_a_doubt_that_nothing_settles(pbx: Pbx) -> None:
    """A young difference that no event explains is settled by the next snapshot; the gap begins where they last agreed."""
    pbx.tell(Snapshot(T + 30_200, T + 30_000, (shown("a", created=T + 29_000),), "run 1"))
    pbx.tell(Snapshot(T + 60_200, T + 60_000, (shown("a", created=T + 29_000),), "run 1"))

    assert pbx.lost == [(T, T + 60_200)]
    assert pbx.leg("a").start == T + 29_000
    assert pbx.now == (1, 1, 0)


def test_a_hangup_that_is_behind_the_list(pbx: Pbx) -> None:
    """An event may be a second behind a list: a leg that hung up just before it was not missed, and ends when it says."""
    pbx.tell(started(T + 1, "a"), LegChanged(T + 2, "a", "a", answered=True))
    pbx.tell(Snapshot(T + 30_000, T + 29_900, (shown("a", created=T, answered=True),), "run 1"))
    pbx.tell(Snapshot(T + 60_000, T + 59_900, (), "run 1"), LegEnded(T + 60_200, "a"))

    assert pbx.lost == []
    assert pbx.leg("a").end >= T + 59_900


def test_a_hangup_told_within_a_gap(pbx: Pbx) -> None:
    """A leg from before a gap whose hangup comes while the gap runs is gone after it: it ends at the gap's start."""
    pbx.tell(started(T + 1, "a"), started(T + 2, "b"))
    pbx.lose(T + 10_000)
    pbx.tell(LegEnded(T + 14_000, "a"), Snapshot(T + 14_000, T + 13_900, (shown("b"),), "run 1"))

    assert (pbx.leg("a").end, pbx.leg("a").end_known) == (T + 10_000, Known.GAP)
    assert pbx.leg("b").end is None


def test_through_a_gap(pbx: Pbx) -> None:
    """Legs still up after a gap go on under their rows; those gone end at its start; new ones start as the PBX says."""
    pbx.tell(started(T + 1, "a"), started(T + 2, "b"))
    pbx.lose(T + 10_000)
    assert pbx.now == (0, 0, 0), "unknown"
    pbx.tell(
        Snapshot(
            T + 90_000,
            T + 89_000,
            (shown("a"), shown("c", created=T + 40_000), shown("d", created=T)),
            "run 1",
        )
    )

    (gap,) = [g for g in pbx.gaps.values() if g.cause is Cause.LINK_LOST]
    assert (gap.start, gap.end) == (T + 10_000, T + 90_000)
    assert (pbx.leg("b").end, pbx.leg("b").end_known) == (T + 10_000, Known.GAP)
    assert pbx.leg("a").end is None
    assert pbx.leg("c").start == T + 40_000
    assert pbx.leg("d").start == T + 10_000, "it was not there while the PBX was seen"
    assert pbx.lost == []
    assert pbx.now == (3, 3, 0)


def test_a_restart_in_a_gap_ends_every_leg(pbx: Pbx) -> None:
    """A PBX that restarted ended all its legs at the start of the gap, also if the new run uses the same ids."""
    pbx.tell(started(T + 1, "a"), started(T + 2, "b"))
    pbx.lose(T + 10_000)
    pbx.tell(Snapshot(T + 90_000, T + 89_000, (shown("a", created=T + 50_000),), "run 2"))

    old, new = [leg for leg in pbx.legs.values() if leg.leg == "a"]
    assert (old.end, pbx.leg("b").end) == (T + 10_000, T + 10_000)
    assert (new.start, new.end) == (T + 50_000, None)
    assert pbx.now == (1, 1, 0)


def test_a_gap_keeps_its_first_start_and_cause(pbx: Pbx) -> None:
    """What goes wrong within a gap changes neither its start nor its cause; it never starts before the last agreement."""
    pbx.tell(Snapshot(T + 30_000, T + 29_000, (), "run 1"))
    pbx.lose(T + 20_000)
    pbx.lose(T + 40_000, Cause.LOGIN_REFUSED)

    (gap,) = [g for g in pbx.gaps.values() if g.end is None]
    assert (gap.start, gap.cause) == (T + 30_000, Cause.LINK_LOST)


def test_an_unknown_direction_is_proved_once(pbx: Pbx) -> None:
    """A leg made without a direction gets it from the event that proves it, and keeps it."""
    pbx.tell(started(T + 1, "a"), LegChanged(T + 2, "a", "a", direction=Direction.OUT))
    pbx.tell(LegChanged(T + 3, "a", "a", direction=Direction.IN))

    assert pbx.leg("a").direction is Direction.OUT


def test_did_only_of_an_inbound_leg_seen_from_its_birth(pbx: Pbx) -> None:
    """The number dialled decides for an inbound trunk leg that was seen being made, and for no other."""
    pbx.tell(started(T + 1, "in", endpoint="PJSIP/shared", direction=Direction.IN, dialled="3120"))
    pbx.tell(started(T + 2, "out", endpoint="PJSIP/shared", direction=Direction.OUT, dialled="3120"))
    pbx.lose(T + 10)
    pbx.tell(
        Snapshot(T + 50, T + 40, tuple(
            shown(leg, endpoint="PJSIP/shared", direction=Direction.IN, dialled="3120") for leg in ("in", "out", "late")
        ), "run 1")
    )  # fmt: skip

    assert [pbx.leg(leg).tenant for leg in ("in", "out", "late")] == ["globex", None, None]
    assert pbx.levels.unassigned == {"pbx": 2}


def test_a_context_only_counts_at_birth(pbx: Pbx) -> None:
    """A snapshot shows the current context: a leg first met in one is not assigned by it; account codes still hold."""
    seen = (shown("a", endpoint="PJSIP/shared", context="from-acme", created=T - MINUTE),
            shown("b", endpoint="PJSIP/shared", account="g", created=T - MINUTE))  # fmt: skip
    pbx.lose(T + 1)
    pbx.tell(started(T + 5, "c", endpoint="PJSIP/shared", context="from-acme"))
    pbx.tell(Snapshot(T + 50, T + 40, (*seen, shown("c", endpoint="PJSIP/shared")), "run 1"))

    assert [pbx.leg(leg).tenant for leg in "abc"] == [None, "globex", "acme"]


def test_the_callers_leg_tells(pbx: Pbx) -> None:
    """A leg dialled out over a shared trunk is the caller's tenant's, by the caller's context; it stays his when he leaves."""
    pbx.tell(started(T + 1, "x", endpoint="PJSIP/101", context="from-acme"))
    pbx.tell(started(T + 2, "out", "x", "PJSIP/shared", direction=Direction.OUT), LegEnded(T + 3, "x"))
    pbx.tell(Snapshot(T + 30_000, T + 29_900, (shown("out", "x", "PJSIP/shared"),), "run 1"))

    assert pbx.leg("out").tenant == "acme"
    assert pbx.now == (1, 1, 0)


def test_a_masquerade_ends_and_begins(pbx: Pbx) -> None:
    """A leg that goes on under another endpoint ends as the one and begins as the other, with its answer; a name that
    makes no difference changes nothing.
    """
    pbx.tell(started(T + 1, "a", endpoint="PJSIP/101"), LegRenamed(T + 5, "a", "PJSIP/kpn"))
    assert pbx.now == (1, 1, 0)
    pbx.tell(LegChanged(T + 6, "a", "a", answered=True), LegRenamed(T + 7, "a", "PJSIP/kpn"))
    assert len(pbx.legs) == 1
    pbx.tell(LegRenamed(T + 8, "a", "PJSIP/102"))
    assert pbx.now == (0, 0, 0)
    assert (pbx.leg("a").start, pbx.leg("a").answer, pbx.leg("a").end) == (T + 5, T + 6, T + 8)
    pbx.tell(LegEnded(T + 9, "a"))
    assert pbx.now == (0, 0, 0)


def test_what_was_restored_wins(pbx: Pbx) -> None:
    """After a restart a leg keeps tenant, direction and row by its id, whatever the snapshot shows; new legs of its call
    are his tenant's too.
    """
    kept = Leg(7, "pbx", "old", "PJSIP/shared", "PJSIP/shared", Direction.IN, "old", "globex", T - 9_000)
    after = Pbx(Levels(tenancy(), next_leg=8, next_gap=3))
    after.levels.restore("pbx", legs=[kept], gap=None, heard_at=T, booted="run 1")
    after.drain()
    assert [(g.row, g.start, g.cause) for g in after.gaps.values()] == [(3, T, Cause.AGENT_DOWN)]
    seen = shown("old", endpoint="PJSIP/shared", context="from-acme", direction=Direction.OUT)
    after.tell(Snapshot(T + 60_000, T + 59_000, (seen,), "run 1"))
    after.tell(started(T + 61_000, "new", "old", "PJSIP/shared"))

    assert after.levels.now("globex")[Level.CHANNELS] == 2
    assert after.leg("new").row == 8
    assert after.leg("new").tenant == "globex"
    assert 7 not in after.legs or after.legs[7].end is None


def test_merges_outlive_a_restart() -> None:
    """Calls that were one before a restart are one after it, though the new snapshot shows other names."""
    legs = [
        Leg(n, "pbx", x, "PJSIP/kpn", "PJSIP/kpn", Direction.IN, x, "acme", T - n)
        for n, x in enumerate("abc", 1)
    ]
    after = Pbx(Levels(tenancy(), next_leg=9))
    after.levels.restore(
        "pbx", legs=legs, names=[("a", "b"), ("b", "c")], gap=None, heard_at=T, booted="run 1"
    )
    after.tell(Snapshot(T + 60_000, T + 59_000, tuple(shown(x) for x in "abc"), "run 1"))
    assert after.now == (3, 1, 0)
    after.tell(started(T + 61_000, "d", "a"))

    assert after.now == (4, 1, 0)


def test_time_does_not_run_back(pbx: Pbx) -> None:
    """An event stamped earlier than what was heard already counts from then: no leg ends before it starts."""
    pbx.tell(started(T + 5_000, "a"), LegEnded(T + 1, "a"), started(T - 50_000, "b"))

    assert pbx.leg("a").end == T + 5_000
    assert pbx.leg("b").start == T + 5_000
