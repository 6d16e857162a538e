"""A PBX that is only polled: what each poll changes, and whose a leg is while the PBX still looks for whom it is for."""

from __future__ import annotations

from dataclasses import replace

from meter.events import Sighting, Snapshot
from meter.levels import PROVISIONAL_MS, Levels
from meter.model import Cause, Direction, Known, Leg, Level
from meter.tenancy import PbxRules, Tenancy, TenantRules

PBX = "cloud"


def levels() -> Levels:
    """Levels of one 3CX with two departments as tenants, polled first at 1,000."""
    rules = Tenancy(
        [PbxRules(PBX, (), listed="3CX/")],
        [
            TenantRules("sales", departments=("Sales",)),
            TenantRules("support", departments=("GRP0002",)),
            TenantRules("lines", trunks=("3CX/10009",)),
        ],
        b"key",
    )
    found = Levels(rules)
    found.watch(PBX)
    return found


def leg(number: int, *departments: str, dn: str = "10000", side: str = "from") -> Sighting:
    """One trunk leg of a 3CX call."""
    return Sighting(
        leg=f"{number}:{side}:{dn}",
        call=str(number),
        endpoint=f"3CX/{dn}",
        direction=Direction.IN if side == "from" else Direction.OUT,
        listed=True,
        departments=departments,
    )


def poll(found: Levels, at: int, *legs: Sighting, booted: str = "1") -> dict[int, Leg]:
    """Take one poll, and return the legs that it changed."""
    found.apply(PBX, Snapshot(at, at - 10, legs, booted=booted, polled=True))
    return found.drain().legs


def now(found: Levels, tenant: str) -> tuple[int, int, int]:
    """A tenant's three levels."""
    levels_now = found.now(tenant)
    return levels_now[Level.CHANNELS], levels_now[Level.CALLS], levels_now[Level.ANSWERED]


def test_a_poll_is_one_change_and_contradicts_nothing() -> None:
    """Legs begin, are answered and end at the poll that shows it first; no poll opens a gap."""
    found = levels()
    poll(found, 1_000)

    (begun,) = poll(found, 3_000, leg(7, "Sales")).values()
    (answered,) = poll(found, 5_000, leg(7, "Sales")._replace(answered=True)).values()
    (ended,) = poll(found, 7_000).values()

    assert (begun.start, begun.start_known, begun.trunk, begun.tenant) == (
        3_000,
        Known.SNAPSHOT,
        "3CX/10000",
        "sales",
    )
    assert (answered.answer, answered.answer_known) == (5_000, Known.SNAPSHOT)
    assert (ended.end, ended.end_known) == (7_000, Known.SNAPSHOT)
    watched = found.pbxs[PBX]
    assert (watched.gap, watched.missed_starts, watched.missed_hangups) == (None, 0, 0)
    assert now(found, "sales") == (0, 0, 0)


def test_a_call_that_is_forwarded_out_is_two_legs_of_one_call() -> None:
    """Both sides on trunks are two channels and one call."""
    found = levels()
    poll(found, 1_000, leg(7, "Sales"), leg(7, "Sales", dn="10001", side="to"))

    assert now(found, "sales") == (2, 1, 0)


def test_after_a_gap_what_is_still_up_was_up_all_through_it() -> None:
    """By the PBX's own id: a leg that is gone ends at the gap's start, a new one begins at the poll that ends it."""
    found = levels()
    poll(found, 1_000, leg(7, "Sales"), leg(8, "Sales"))
    found.lose(PBX, 1_000, Cause.POLL_FAILED)
    found.drain()

    changed = {one.leg: one for one in poll(found, 9_000, leg(8, "Sales"), leg(9, "Sales")).values()}

    assert (changed["7:from:10000"].end, changed["7:from:10000"].end_known) == (1_000, Known.GAP)
    assert changed["9:from:10000"].start == 9_000
    assert "8:from:10000" not in changed
    assert now(found, "sales")[0] == 2


def test_a_restart_ends_every_leg_though_ids_come_again() -> None:
    """Ids begin at 1 again: the same id in another run of the PBX is another leg."""
    found = levels()
    (first,) = poll(found, 1_000, leg(1, "Sales")).values()

    changed = poll(found, 3_000, leg(1, "Sales"), booted="2")

    assert changed[first.row].end == 3_000
    (again,) = [one for row, one in changed.items() if row != first.row]
    assert (again.leg, again.start) == (first.leg, 3_000)
    assert now(found, "sales")[0] == 1


def test_a_leg_moves_whole_to_the_tenant_that_the_pbx_finds() -> None:
    """While the call is at ROUTER its tenant is provisional; the whole leg is the found one's, and nothing is settled before."""
    found = levels()
    poll(found, 1_000)
    (begun,) = poll(found, 3_000, leg(7, "Sales")._replace(provisional=True)).values()
    assert begun.tenant == "sales"
    poll(found, 5_000, leg(7, "Sales")._replace(provisional=True))
    assert found.pbxs[PBX].agreed_at == 3_000

    found.apply(PBX, Snapshot(7_000, 6_990, (leg(7, "Support", "GRP0002"),), booted="1", polled=True))
    changes = found.drain()

    assert changes.legs[begun.row] == replace(begun, tenant="support")
    assert changes.moved == {begun.row: "sales"}
    assert (now(found, "sales"), now(found, "support")) == ((0, 0, 0), (1, 1, 0))
    assert found.pbxs[PBX].agreed_at == 7_000


def test_what_is_settled_stays_settled() -> None:
    """A call that is passed on to another department stays the first one's."""
    found = levels()
    poll(found, 1_000, leg(7, "Sales"))

    assert poll(found, 3_000, leg(7, "GRP0002")) == {}
    assert now(found, "sales")[0] == 1


def test_a_call_that_is_routed_for_ever_is_settled_as_it_is() -> None:
    """Nothing waits for a call for longer than two minutes."""
    found = levels()
    poll(found, 1_000, leg(7, "Sales")._replace(provisional=True))

    poll(found, 1_000 + PROVISIONAL_MS, leg(7, "Sales")._replace(provisional=True))

    assert found.pbxs[PBX].agreed_at == 1_000 + PROVISIONAL_MS
    assert poll(found, 200_000, leg(7, "GRP0002")) == {}


def test_a_trunk_rule_comes_before_departments() -> None:
    """A tenant that is given a trunk has its legs, whoever's phone rings; unlisted endpoints count for nobody."""
    found = levels()
    changed = poll(
        found, 1_000, leg(7, "Sales", dn="10009"), leg(8, dn="12345")._replace(listed=False), leg(9, "Nobody")
    )

    by_leg = {one.leg: one for one in changed.values()}
    assert by_leg["7:from:10009"].tenant == "lines"
    assert (by_leg["8:from:12345"].trunk, by_leg["8:from:12345"].tenant) == (None, None)
    assert (by_leg["9:from:10000"].trunk, by_leg["9:from:10000"].tenant) == ("3CX/10000", None)
    assert (found.unclassified[PBX], found.unassigned[PBX]) == (1, 1)
