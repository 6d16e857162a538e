"""Whole AMI messages become events of the meter, or Garbled."""

import pytest

from connectors.asterisk.parse import event, fields, listed
from connectors.errors import Garbled
from meter.events import LegChanged, LegEnded, LegRenamed, LegStarted, Sighting
from meter.model import Direction

AT = 1_795_286_668_000


def lines(*given: str) -> bytes:
    return "\r\n".join(given).encode()


NEWCHANNEL = lines(
    "Event: Newchannel",
    "Privilege: call,all",
    "Channel: PJSIP/trunk-kpn-00000001",
    "ChannelState: 4",
    "ChannelStateDesc: Ring",
    "CallerIDNum: +442079460001",
    "CallerIDName: Uniqueid: 6",
    "ConnectedLineNum: <unknown>",
    "Language: en",
    "AccountCode: acme",
    "Context: from-trunk",
    "Exten: +442079460002",
    "Priority: 1",
    "Uniqueid: 1795286668.10",
    "Linkedid: 1795286668.10",
)


def test_newchannel_starts_a_leg():
    """Newchannel gives the leg with its endpoint, call, direction, account code, context and dialled number."""
    assert event(NEWCHANNEL, AT) == LegStarted(
        AT,
        Sighting(
            leg="1795286668.10",
            call="1795286668.10",
            endpoint="PJSIP/trunk-kpn",
            direction=Direction.IN,
            account="acme",
            context="from-trunk",
            dialled="+442079460002",
        ),
    )


@pytest.mark.parametrize("technology", [b"PJSIP/", b"SIP/"])
def test_a_dialled_leg_goes_out(technology):
    """A leg that is born Down into another leg's call goes out and belongs to that call."""
    message = (
        NEWCHANNEL.replace(b"PJSIP/", technology)
        .replace(b"State: 4", b"State: 0")
        .replace(b"Linkedid: 1795286668.10", b"Linkedid: 1795286668.9")
    )
    started = event(message, AT)
    assert isinstance(started, LegStarted)
    assert (started.seen.call, started.seen.direction) == ("1795286668.9", Direction.OUT)


@pytest.mark.parametrize(
    ("state", "answered", "direction"),
    [(6, True, Direction.UNKNOWN), (5, False, Direction.OUT), (4, False, Direction.IN)],
)
@pytest.mark.parametrize("name", [b"Newstate", b"BridgeEnter"])
def test_states_and_bridges_change_a_leg(name, state, answered, direction):
    """Newstate and BridgeEnter say which call a leg is of and whether it is up; state 6 is answered."""
    message = NEWCHANNEL.replace(b"Newchannel", name).replace(b"State: 4", b"State: %d" % state)
    assert event(message, AT) == LegChanged(AT, "1795286668.10", "1795286668.10", answered, direction)


def test_bridges_own_id_is_not_the_legs():
    """BridgeUniqueid stands before Uniqueid and is not taken for it."""
    message = NEWCHANNEL.replace(b"Event: Newchannel\r\n", b"Event: BridgeEnter\r\nBridgeUniqueid: 7f-1\r\n")
    changed = event(message, AT)
    assert isinstance(changed, LegChanged)
    assert changed.leg == "1795286668.10"


def test_hangup_ends_a_leg():
    """Hangup ends its leg and still says which call it was of."""
    message = NEWCHANNEL.replace(b"Newchannel", b"Hangup") + b"\r\nCause: 16\r\nCause-txt: Normal Clearing"
    assert event(message, AT) == LegEnded(AT, "1795286668.10", "1795286668.10")


def test_rename_renames_a_leg():
    """Rename (Asterisk before 12) gives the leg's new endpoint."""
    message = lines("Event: Rename", "Channel: SIP/101-1", "Newname: SIP/kpn-2<MASQ>", "Uniqueid: 7.1")
    assert event(message, AT) == LegRenamed(AT, "7.1", "SIP/kpn")


@pytest.mark.parametrize("name", ["HangupRequest", "NewCallerid", "BridgeLeave", "VarSet", "", "Ünknown"])
def test_other_events_tell_nothing(name):
    """Events that change no level give None, however their names begin."""
    assert event(f"Event: {name}\r\nUniqueid: 1.1".encode(), AT) is None


def test_legal_oddities_pass():
    """Colons, empty values, repeated headers, ChanVariable(…) headers, Latin-1 and multi-line values are legal."""
    message = NEWCHANNEL.replace(
        b"CallerIDName: Uniqueid: 6",
        b"CallerIDName: Zo\xeb: a: b\r\nsecond line\r\nChanVariable(PJSIP/a-1): X=1\r\nChanVariable(PJSIP/a-1): Y=",
    ).replace(b"AccountCode: acme", b"AccountCode: \r\nAccountCode: second")
    started = event(message, AT)
    assert isinstance(started, LegStarted)
    assert started.seen.account == ""
    latin = event(NEWCHANNEL.replace(b"acme", b"Zo\xeb"), AT)
    assert isinstance(latin, LegStarted)
    assert latin.seen.account == "Zoë"


@pytest.mark.parametrize("header", [b"Channel", b"ChannelState", b"Uniqueid", b"Linkedid"])
def test_a_birth_without_what_it_needs_is_garbled(header):
    """A Newchannel without name, state, id or call is Garbled, never guessed."""
    with pytest.raises(Garbled):
        event(NEWCHANNEL.replace(b"\r\n" + header + b":", b"\r\nX" + header + b":"), AT)


@pytest.mark.parametrize(
    "message", [b"Event: Newchannel", b"Event: Newstate", b"Event: Hangup", b"Event: Rename"]
)
def test_a_bare_event_is_garbled(message):
    """An event with nothing but its name is Garbled."""
    with pytest.raises(Garbled):
        event(message, AT)


@pytest.mark.parametrize("state", [b"11", b"-1", b"Up", b"\xb2", b""])
def test_an_unknown_state_is_garbled(state):
    """A channel state that Asterisk doesn't have is Garbled."""
    with pytest.raises(Garbled):
        event(NEWCHANNEL.replace(b"ChannelState: 4", b"ChannelState: " + state), AT)


def test_a_garbled_error_tells_no_number():
    """The error names the event and none of its values."""
    with pytest.raises(Garbled) as caught:
        event(NEWCHANNEL.replace(b"Linkedid", b"Linked"), AT)
    assert "4420" not in str(caught.value) + caught.value.hint


def row(**changes: str) -> dict[str, str]:
    given = {
        "channel": "PJSIP/trunk-kpn-00000001",
        "channelstate": "6",
        "uniqueid": "1795286668.10",
        "linkedid": "1795286668.9",
        "application": "Dial",
        "applicationdata": "PJSIP/101,30",
        "duration": "00:01:05",
        "context": "from-trunk",
        "exten": "101",
        "accountcode": "acme",
    }
    return given | changes


def test_a_listed_leg_has_an_age():
    """A row of CoreShowChannels gives the leg, answered at state 6, created Duration ago."""
    leg = listed(row(), AT)
    assert leg.created == AT - 65_000
    assert (leg.answered, leg.direction, leg.call) == (True, Direction.UNKNOWN, "1795286668.9")


@pytest.mark.parametrize(
    ("changes", "direction"),
    [
        ({"channelstate": "4"}, Direction.IN),
        ({"channelstate": "5"}, Direction.OUT),
        ({"channelstate": "0"}, Direction.OUT),
        ({"application": "AppDial", "applicationdata": "(Outgoing Line)"}, Direction.OUT),
        ({"application": "AppDial", "applicationdata": ""}, Direction.UNKNOWN),
        ({}, Direction.UNKNOWN),
    ],
)
def test_a_listed_leg_proves_what_it_proves(changes, direction):
    """A leg that is up in a list proves its direction only by the mark that a dial left on it."""
    assert listed(row(**changes), AT).direction is direction


@pytest.mark.parametrize("duration", ["", "65", "a:b:c", "::", "1:2", "00:00:\u0664", "9999999999:0:0"])
def test_an_age_that_is_not_stated_is_unknown(duration):
    """Without a readable Duration the creation is None, not now."""
    assert listed(row(duration=duration), AT).created is None


def test_a_day_long_call_is_older_than_a_day():
    """Hours go on past 99."""
    assert listed(row(duration="123:00:01"), AT).created == AT - (123 * 3600 + 1) * 1000


def test_a_row_without_its_id_is_garbled():
    """A list that names a leg without an id can't be trusted."""
    with pytest.raises(Garbled):
        listed(row(uniqueid=""), AT)


def test_fields_keep_the_first():
    """Of headers with one name the first stays; a value keeps its colons."""
    assert fields(b"Response: Success\r\nA: 1:2\r\na: 3\r\nno colon\r\nEmpty:") == {
        "response": "Success",
        "a": "1:2",
        "empty": "",
    }
