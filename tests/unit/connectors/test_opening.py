"""The snapshot and what was heard while it was taken become one beginning."""

from connectors.asterisk.connector import opening
from meter.events import LegEnded, LegStarted, Sighting, Snapshot


def leg(name: str) -> Sighting:
    return Sighting(leg=name, call=name, endpoint="PJSIP/kpn")


def test_the_snapshot_is_first_and_nothing_twice():
    """A leg whose birth was heard, before or after the list, is told by its event and not by the snapshot."""
    early, late = LegStarted(5, leg("early")), LegStarted(11, leg("late"))
    snapshot = Snapshot(10, 4, (leg("early"), leg("late"), leg("calm")), booted="b")
    assert opening([early, snapshot, late]) == [Snapshot(10, 4, (leg("calm"),), booted="b"), early, late]


def test_a_leg_whose_hangup_was_heard_is_not_in_the_snapshot():
    """A list may show a leg that hung up while it was made; one that hangs up after it was still there."""
    gone, ending = LegEnded(9, "gone"), LegEnded(11, "ending")
    snapshot = Snapshot(10, 4, (leg("gone"), leg("ending")), booted="b")
    assert opening([gone, snapshot, ending]) == [
        Snapshot(10, 4, (leg("ending"),), booted="b"),
        gone,
        ending,
    ]
