"""The call log as trunk legs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.threecx.calllog import LATE_MS, Reach, Segment, segment, told
from connectors.threecx.directory import Department, Directory, Trunk
from connectors.threecx.instants import instant
from connectors.threecx.run import LONGEST_MS
from meter.model import Direction

KNOWN = Directory(
    trunks={
        "10000": Trunk(bridge=False),
        "10001": Trunk(bridge=False, departments=(28,)),
        "10002": Trunk(bridge=True),
    },
    users={"100": (28,), "101": (95,)},
    others={"8003": (95,)},
    departments={28: Department(("DEFAULT", "GRP0000")), 95: Department(("Sales", "GRP0001"))},
)
SALES, DEFAULT = ("Sales", "GRP0001"), ("DEFAULT", "GRP0000")
AT = instant("2026-09-12T14:03:11.120Z")
DAY_MS, HOUR_MS = 86_400_000, 3_600_000


def row(number=1, source="10000", destination="100", start="2026-09-12T14:03:11.120Z", **more):
    return {
        "CallHistoryId": "0199a1c2-0000-7000-8000-000000000001",
        "CallId": 708,
        "SegmentId": number,
        "StartTime": start,
        "SourceType": 1 if source.startswith("100") and len(source) == 5 else 0,
        "SourceDn": source,
        "SourceCallerId": "+15550100122",
        "SourceDisplayName": "ACME SIP",
        "DestinationType": 1 if len(destination) == 5 else 0,
        "DestinationDn": destination,
        "DestinationDisplayName": "Doe, John",
        "RingingDuration": "PT6.2S",
        "TalkingDuration": "PT1M12.577027S",
        "Answered": True,
    } | more


def reading(*rows, start=AT - DAY_MS, end=AT + DAY_MS, up=None, polled_at=None, bridges=False, ahead_ms=0):
    segments = [segment(one, ahead_ms) for one in rows]
    polled_at = end if polled_at is None else polled_at
    return told(
        segments,
        KNOWN,
        bridges=bridges,
        start=start,
        end=end,
        late_from=start - LATE_MS,
        up=up or {},
        polled_at=polled_at,
    )


def legs(*rows, **how):
    return reading(*rows, **how).legs


def test_an_inbound_call_is_one_leg():
    """The documented row: in on 10000, answered after 6.2 s, talked for 1 min 12.577 s."""
    (leg,) = legs(row())
    call = "0199a1c2-0000-7000-8000-000000000001"
    assert (leg.leg, leg.channel, leg.call) == (f"{call}:from", f"{call}:from", call)
    assert (leg.endpoint, leg.direction) == ("3CX/10000", Direction.IN)
    assert (leg.start, leg.answer, leg.end) == (AT, AT + 6_200, AT + 6_200 + 72_577)
    assert (leg.claims.trunk, leg.claims.departments) == ("3CX/10000", DEFAULT)


def test_the_callers_leg_lasts_through_all_segments():
    """A queue, then an agent: one leg, from the first segment's start, answered in the first that was, to the last one's end."""
    waited = row(1, destination="8003", RingingDuration="PT2S", TalkingDuration="PT10S")
    talked = row(
        2, destination="100", start="2026-09-12T14:03:23.120Z", RingingDuration="PT5S", TalkingDuration="PT1M"
    )
    (leg,) = legs(talked, waited)
    assert (leg.start, leg.answer, leg.end) == (AT, AT + 2_000, AT + 77_000)
    assert leg.claims.departments == SALES  # the first DN inside tells


def test_nobody_answered():
    """An unanswered call has a leg without an answer."""
    (leg,) = legs(row(Answered=False, RingingDuration="PT20S", TalkingDuration="PT0S"))
    assert (leg.answer, leg.end) == (None, AT + 20_000)


def test_a_call_out_is_a_leg_of_its_segment():
    """The called trunk's leg is its segment's, named after it."""
    (leg,) = legs(row(1, "100", "10000"))
    assert leg.leg.endswith(":to1")
    assert (leg.direction, leg.answer, leg.claims.departments) == (Direction.OUT, AT + 6_200, DEFAULT)


def test_a_forwarded_call_is_two_legs():
    """In on one trunk for an extension, out on another: the second leg begins with its segment."""
    rang = row(1, destination="101", Answered=False, RingingDuration="PT4S", TalkingDuration="PT0S")
    out = row(
        2,
        destination="10001",
        start="2026-09-12T14:03:15.120Z",
        RingingDuration="PT3S",
        TalkingDuration="PT10S",
    )
    came, went = legs(rang, out)
    assert (came.start, came.answer, came.end) == (AT, AT + 7_000, AT + 17_000)
    assert (went.leg[-4:], went.start, went.answer, went.end) == (":to2", AT + 4_000, AT + 7_000, AT + 17_000)
    assert came.claims.departments == went.claims.departments == SALES


def test_a_trunk_that_goes_on_is_one_leg_and_another_is_another():
    """Segments in a row over one called trunk are one leg; a trunk that joins as caller later is one of its own."""
    one = row(1, "100", "10000", TalkingDuration="PT10S", RingingDuration="PT0S")
    two = row(
        2, "101", "10000", start="2026-09-12T14:03:21.120Z", TalkingDuration="PT5S", RingingDuration="PT0S"
    )
    (leg,) = legs(one, two)
    assert (leg.start, leg.end) == (AT, AT + 15_000)
    late = row(
        2, "10000", "101", start="2026-09-12T14:03:21.120Z", TalkingDuration="PT5S", RingingDuration="PT0S"
    )
    assert [leg.leg.rpartition(":")[2] for leg in legs(row(1, "100", "101"), late)] == ["from2"]


def test_internal_calls_and_bridges_are_no_legs():
    """Extension to extension is none; a bridge is one only if configured."""
    assert legs(row(1, "100", "101")) == ()
    assert legs(row(1, "10002", "100")) == ()
    assert [leg.endpoint for leg in legs(row(1, "10002", "100"), bridges=True)] == ["3CX/10002"]


def test_a_trunk_that_is_gone_is_still_one():
    """A trunk that was deleted meanwhile is told by the row's own type; without a type a number is none."""
    assert [leg.endpoint for leg in legs(row(1, "10009", "100", SourceType=1))] == ["3CX/10009"]
    assert legs(row(1, "10009", "100", SourceType=0)) == ()


def test_a_number_that_the_3cx_lists_as_something_else_is_no_trunk():
    """An extension or a queue that a row types as a trunk is inside all the same: no leg, and it says whose the call is."""
    assert legs(row(1, "101", "100", SourceType=1)) == ()
    assert legs(row(1, "101", "8003", DestinationType=1)) == ()
    (leg,) = legs(row(1, "10000", "101", DestinationType=1))
    assert (leg.endpoint, leg.claims.departments) == ("3CX/10000", SALES)


def test_each_call_is_told_in_the_stretch_in_which_it_ends():
    """A call that ended at the end of the stretch, or after, belongs to another reading; one before it is told again."""
    end = AT + 6_200 + 72_577
    assert len(legs(row(), start=end, end=end + 1)) == 1
    assert legs(row(), start=AT, end=end) == ()
    assert legs(row(), start=end + LATE_MS + 1, end=end + LATE_MS + 2) == ()


def test_a_row_that_was_written_late_is_told_by_the_next_reading():
    """A row that came after the stretch of its call was told is told with the next one, up to a quarter of an hour."""
    end = AT + 6_200 + 72_577
    assert len(legs(row(), start=end + 1, end=end + HOUR_MS)) == 1
    assert len(legs(row(), start=end + LATE_MS, end=end + HOUR_MS)) == 1


def test_a_call_that_is_still_up_is_left_for_later():
    """Rows of a call that polls still show are a part of it; another call that once had its id is not held back."""
    assert legs(row(), up={708: AT - 2_000}) == ()
    assert legs(row(), up={708: AT - HOUR_MS}) == ()
    assert len(legs(row(), up={708: AT + HOUR_MS})) == 1
    assert len(legs(row(), up={709: AT - 2_000})) == 1


def test_a_call_that_may_have_ended_since_the_last_poll_ends_the_stretch():
    """The stretch ends where such a call did: a later one is told by the next reading, and so is this one."""
    over = AT + 6_200 + 72_577
    later = row(CallHistoryId="another", CallId=709, start="2026-09-12T14:03:12.120Z")
    found = reading(row(), later, up={708: AT - 2_000}, end=over + 10_000, polled_at=over + 1_000)
    assert (found.start, found.end, found.legs) == (AT - DAY_MS, over, ())
    again = reading(row(), later, start=found.end, end=over + 70_000)
    assert {leg.call for leg in again.legs} == {row()["CallHistoryId"], "another"}


def test_a_call_that_goes_on_after_its_last_row_holds_nobody_up():
    """Shown by a poll long after its last row, a call is up for certain: others are told, and it when it is over."""
    other = row(CallHistoryId="another", CallId=709)
    found = reading(row(), other, up={708: AT - 2_000}, end=AT + HOUR_MS)
    assert found.end == AT + HOUR_MS
    assert {leg.call for leg in found.legs} == {"another"}


def test_instants_are_by_our_clock():
    """A 3CX whose clock is five minutes ahead tells the same instants."""
    (leg,) = legs(row(start="2026-09-12T14:08:11.120Z"), ahead_ms=300_000)
    assert leg.start == AT


def test_no_number_and_no_name_is_kept():
    """What stands in the row beside its DNs is in nothing that leaves."""
    text = repr(segment(row(), 0)) + repr(legs(row()))
    assert not any(words in text for words in ("5550100", "Doe", "ACME"))


@given(
    st.fixed_dictionaries(
        {},
        optional={name: st.none() | st.booleans() | st.integers() | st.text(max_size=20) for name in row()},
    )
)
def test_any_row_is_a_segment_or_an_error(broken):
    """Whatever a row holds, it is a segment or a ValueError, never another error."""
    try:
        one = segment(row() | broken, 0)
    except ValueError:
        return
    assert isinstance(one, Segment)
    told([one], KNOWN, bridges=True, start=0, end=AT * 2, late_from=0, up={}, polled_at=AT)


def test_the_first_reading_looks_back_a_day():
    """At first a day is read back; what is promised begins six hours later, as longer calls may have begun before."""
    start = AT - DAY_MS + LONGEST_MS
    assert Reach().span(None, AT) == (AT - DAY_MS - LATE_MS, start, start + 2 * HOUR_MS)


def test_a_reading_reaches_back_to_the_oldest_call_that_was_up():
    """The next reading looks back to the oldest call that was up when the last one ended, and to what may be late."""
    reach = Reach()
    reach.note(AT, AT - HOUR_MS)
    assert reach.span(AT, AT + HOUR_MS) == (AT - HOUR_MS - 60_000 - LATE_MS, AT, AT + HOUR_MS)
    reach.note(AT, AT)
    assert reach.span(AT, AT + HOUR_MS) == (AT - 60_000 - LATE_MS, AT, AT + HOUR_MS)


def test_a_reading_after_somebody_elses_looks_back_six_hours():
    """After a restart of the agent nothing is known of the calls that were up."""
    assert Reach().span(AT, AT + 1) == (AT - LONGEST_MS - LATE_MS, AT, AT + 1)


def test_a_long_absence_is_read_in_pieces():
    """3CX answers 504 to a huge period: two hours at a time are told."""
    assert Reach().span(AT, AT + 7 * DAY_MS) == (AT - LONGEST_MS - LATE_MS, AT, AT + 2 * HOUR_MS)


@pytest.mark.parametrize(
    "broken",
    [
        {"CallHistoryId": ""},
        {"SegmentId": None},
        {"StartTime": None},
        {"SourceDn": 7},
        {"TalkingDuration": "long"},
    ],
)
def test_a_row_that_is_none_is_refused(broken):
    """A row without what a leg needs is an error."""
    with pytest.raises(ValueError):  # noqa: PT011 -- any; the reader says whose answer it was
        segment(row() | broken, 0)
