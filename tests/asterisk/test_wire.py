"""The wire's arithmetic, on hand-made packets: no Asterisk needed."""

from __future__ import annotations

from tests.asterisk import wire
from tests.asterisk.wire import Packet, WireLeg

PBX, KPN, KPN2, PHONES = "127.9.9.1", "127.9.9.2", "127.9.9.4", "127.9.9.3"
TRUNKS = {"trunk-kpn": KPN, "trunk-kpn2": KPN2}


def packet(
    at_ms: int, source: str, target: str, first: str, method: str, call: str = "c1", *, tagged: bool = False
) -> Packet:
    to = "To: <sip:x@y>" + (";tag=9" if tagged else "")
    lines = (
        first,
        'From: "042-answer-1-wait-1" <sip:a@b>;tag=1',
        to,
        f"Call-ID: {call}",
        f"CSeq: 7 {method}",
    )
    return Packet(at_ms, source, target, "\r\n".join((*lines, "", "")))


def test_an_answered_leg_runs_from_invite_to_bye() -> None:
    """A leg starts with its INVITE, is answered by the 200 to it, and ends with the BYE of either side."""
    found = wire.legs(
        [
            packet(10, KPN, PBX, "INVITE sip:x@y SIP/2.0", "INVITE"),
            packet(11, PBX, KPN, "SIP/2.0 100 Trying", "INVITE"),
            packet(12, PBX, KPN, "SIP/2.0 180 Ringing", "INVITE", tagged=True),
            packet(20, PBX, KPN, "SIP/2.0 200 OK", "INVITE", tagged=True),
            packet(60, PBX, KPN, "BYE sip:x@y SIP/2.0", "BYE", tagged=True),
            packet(61, KPN, PBX, "SIP/2.0 200 OK", "BYE", tagged=True),
        ],
        PBX,
        TRUNKS,
    )
    assert found == [WireLeg("trunk-kpn", "in", 10, 20, 60, "c1", 42)]


def test_a_reinvite_and_repetitions_belong_to_their_leg() -> None:
    """Retransmissions, a re-INVITE, its 200 and even its refusal neither begin nor end a leg."""
    found = wire.legs(
        [
            packet(10, PBX, KPN, "INVITE sip:07700900042@y SIP/2.0", "INVITE"),
            packet(12, PBX, KPN, "INVITE sip:07700900042@y SIP/2.0", "INVITE"),
            packet(20, KPN, PBX, "SIP/2.0 200 OK", "INVITE", tagged=True),
            packet(25, KPN, PBX, "SIP/2.0 200 OK", "INVITE", tagged=True),
            packet(30, KPN, PBX, "INVITE sip:x@y SIP/2.0", "INVITE", tagged=True),
            packet(31, PBX, KPN, "SIP/2.0 488 Not Acceptable Here", "INVITE", tagged=True),
            packet(60, KPN, PBX, "BYE sip:x@y SIP/2.0", "BYE", tagged=True),
            packet(70, KPN, PBX, "BYE sip:x@y SIP/2.0", "BYE", tagged=True),
        ],
        PBX,
        TRUNKS,
    )
    assert found == [WireLeg("trunk-kpn", "out", 10, 20, 60, "c1", 42)]


def test_a_cancelled_leg_holds_its_line_until_the_487() -> None:
    """The 200 to a CANCEL neither answers nor ends a leg; the 487 to its INVITE ends it, unanswered."""
    found = wire.legs(
        [
            packet(10, PBX, KPN2, "INVITE sip:x@y SIP/2.0", "INVITE"),
            packet(30, PBX, KPN2, "CANCEL sip:x@y SIP/2.0", "CANCEL"),
            packet(31, KPN2, PBX, "SIP/2.0 200 OK", "CANCEL", tagged=True),
            packet(32, KPN2, PBX, "SIP/2.0 487 Request Terminated", "INVITE", tagged=True),
        ],
        PBX,
        TRUNKS,
    )
    assert found == [WireLeg("trunk-kpn2", "out", 10, None, 32, "c1", 42)]


def test_a_phones_dialog_is_no_trunk_leg() -> None:
    """Only dialogs with a trunk's address count."""
    assert wire.legs([packet(10, PBX, PHONES, "INVITE sip:x@y SIP/2.0", "INVITE")], PBX, TRUNKS) == []


def test_the_peak_of_touching_legs_is_bounded_from_both_sides() -> None:
    """Legs that follow within the slack may or may not have overlapped; legs far apart did not."""
    assert wire.peak_bounds([(0, 1000), (1010, 2000)]) == (1, 2)
    assert wire.peak_bounds([(0, 1000), (990, 2000)]) == (1, 2)
    assert wire.peak_bounds([(0, 1000), (1200, 2000)]) == (1, 1)
    assert wire.peak_bounds([(0, 1000), (500, None)]) == (2, 2)
    assert wire.peak_bounds([(0, 40)]) == (0, 1)


def test_what_ends_at_an_instant_makes_room_for_what_begins_there() -> None:
    """Intervals are half-open."""
    assert wire.peak([(0, 10), (10, 20)]) == 1
    assert [wire.level([(0, 10), (10, 20)], at) for at in (0, 9, 10, 20)] == [1, 1, 1, 0]


def leg(script: int, start: int, end: int | None, answer: int | None = None) -> WireLeg:
    return WireLeg("trunk-kpn", "in", start, answer, end, f"c{script}-{start}", script)


def test_legs_of_one_script_are_one_call() -> None:
    """Two overlapping legs of a script are one call; with time between them, one call after another."""
    assert wire.calls([leg(1, 0, 10), leg(1, 5, 20)]) == [(0, 20)]
    assert wire.calls([leg(1, 0, 10), leg(1, 15, 20)]) == [(0, 10), (15, 20)]


def test_calls_that_merge_are_two_before_and_one_after() -> None:
    """A merge changes nothing of what was; from its instant on both calls' legs are one call."""
    spans = wire.calls([leg(1, 0, 100), leg(2, 10, 100)], [(1, 2, 50)])
    assert [wire.level(spans, at) for at in (5, 30, 49, 50, 99)] == [1, 2, 2, 1, 1]


def test_only_answered_legs_make_an_answered_call() -> None:
    """The level `answered` begins with the answer and leaves out calls that had none."""
    assert wire.calls([leg(1, 0, 10, answer=4), leg(2, 0, 10)], answered=True) == [(4, 10)]


def test_a_killed_asterisk_ends_every_leg() -> None:
    """`cut` ends what was up at the kill, whatever came after; what began later stays."""
    assert wire.cut([leg(1, 0, None), leg(2, 0, 90), leg(3, 0, 20), leg(4, 60, 70)], 50) == [
        leg(1, 0, 50),
        leg(2, 0, 50),
        leg(3, 0, 20),
        leg(4, 60, 70),
    ]
