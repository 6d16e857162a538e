"""The snapshot and what was heard while it was taken become one beginning."""

from connectors.asterisk.connector import opening
from meter.events import LegEnded, LegStarted, Sighting, Snapshot


def leg(name: str) -> Sighting:
    return Sighting(leg=name, call=name, endpoint="PJSIP/kpn")


def test_the_snapshot_is_first_and_nothing_twice():
    """A leg whose birth was heard, before or after the list, is told by its event and not by the snapshot."""
    early, late, gone = LegStarted(5, leg("early")), LegStarted(11, leg("late")), LegEnded(9, "old")
    snapshot = Snapshot(10, 4, (leg("old"), leg("early"), leg("late"), leg("calm")), booted="b")
    assert opening([early, gone, snapshot, late]) == [
        Snapshot(10, 4, (leg("old"), leg("calm")), booted="b"),
        early,
        gone,
        late,
    ]
