"""AMI bytes become whole messages."""

import pytest

from connectors.asterisk.framing import LIMIT, Frames
from connectors.errors import Garbled

GREETING = b"Asterisk Call Manager/11.0.0\r\n"
WANTED = (b"Event: Hangup", b"Response: S")


def test_only_wanted_messages_come_out_in_order():
    """Messages that begin like something wanted are returned in order, the others are dropped."""
    frames = Frames(WANTED)
    stream = b"Event: Hangup\r\nA: 1\r\n\r\nEvent: VarSet\r\n\r\nResponse: Success\r\n\r\nEvent: Hangup\r\nA: 2\r\n\r\n"
    assert frames.feed(GREETING + stream) == [
        b"Event: Hangup\r\nA: 1",
        b"Response: Success",
        b"Event: Hangup\r\nA: 2",
    ]
    assert frames.greeting == "Asterisk Call Manager/11.0.0"
    assert frames.fault is None


def test_a_message_waits_for_its_end():
    """Nothing is returned before the blank line is there, wherever the chunk was cut."""
    frames = Frames(WANTED)
    stream = GREETING + b"Event: Hangup\r\nA: \xc3\xab\r\n\r\n"
    out = [frames.feed(bytes([byte])) for byte in stream]
    assert out[-1] == [b"Event: Hangup\r\nA: \xc3\xab"]
    assert not any(out[:-1])


def test_a_line_end_too_many_is_forgiven():
    """Some modules end a message with one line end too many; the next message is found all the same."""
    frames = Frames(WANTED)
    assert frames.feed(GREETING + b"Event: VarSet\r\n\r\n\r\nEvent: Hangup\r\nA: 1\r\n\r\n") == [
        b"Event: Hangup\r\nA: 1"
    ]


@pytest.mark.parametrize(
    "stream",
    [b"SSH-2.0-OpenSSH_9\r\n", b"\xff\xfe\x00", b"Asterisk\r\n", b"Asterisk Call Manager" + b"x" * 300],
)
def test_another_protocol_is_a_fault(stream):
    """What does not greet like a Manager Interface is Garbled, at once or byte by byte."""
    whole, bitwise = Frames(WANTED), Frames(WANTED)
    whole.feed(stream)
    for byte in stream:
        bitwise.feed(bytes([byte]))
    assert isinstance(whole.fault, Garbled)
    assert isinstance(bitwise.fault, Garbled)


@pytest.mark.parametrize("chunk_bytes", [700, 65_536, 4 * LIMIT])
def test_the_longest_message_is_one_mebibyte(chunk_bytes):
    """A message of the limit passes; one byte more is a fault, after the messages before it, however cut."""
    longest = b"Event: Hangup\r\nA: ".ljust(LIMIT, b"x")
    for extra, expected in ((b"", [longest, b"Event: Hangup"]), (b"x", [])):
        frames = Frames(WANTED)
        stream = GREETING + b"Event: Hangup\r\n\r\n" + longest + extra + b"\r\n\r\nEvent: Hangup\r\n\r\n"
        out = []
        for place in range(0, len(stream), chunk_bytes):
            out += frames.feed(stream[place : place + chunk_bytes])
        assert out == [b"Event: Hangup", *expected]
        assert (frames.fault is None) == (extra == b"")


def test_endless_garbage_does_not_fill_the_memory():
    """A stream without a blank line is a fault as soon as it is longer than a message may be."""
    frames = Frames(WANTED)
    frames.feed(GREETING)
    fed = 0
    while frames.fault is None:
        assert fed <= LIMIT + 65_536
        assert frames.feed(b"x" * 65_536) == []
        fed += 65_536
    assert frames.feed(b"\r\n\r\nEvent: Hangup\r\n\r\n") == []
