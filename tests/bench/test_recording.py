"""The recorded stream that decoding is measured with."""

import re

import pytest

from bench import recording

#: Long runs of digits that are nobody's number: a channel's own id (the second that it was made in, and a serial
#: number), serials and ids in hexadecimal, RTP's sources, instants, fractions, and the ten minutes of SIPp's scripts.
HARMLESS = re.compile(
    rb"(?<![0-9])1[0-9]{9}\.[0-9]+|-[0-9a-f]{8}(?![0-9a-zA-Z])|@@[0-9a-f]{32}|0x[0-9a-f]+"
    rb"|(?<![0-9a-zA-Z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    rb"|ssrc=[0-9]+|(?:LoginTime|LastCall): [0-9]{10}|\.[0-9]{6}(?![0-9])|-600000(?=\r)"
)


@pytest.fixture(scope="module")
def stream() -> bytes:
    """The stream, unpacked once."""
    return recording.read()


def test_it_holds_no_telephone_number(stream: bytes) -> None:
    """No run of six digits or more is left that could be somebody's number."""
    long = re.compile(rb"[0-9]{6}")
    left = {HARMLESS.sub(b"", line + b"\r") for line in set(stream.split(b"\r\n")) if long.search(line)}

    assert [line for line in left if long.search(line)] == []


def test_it_is_a_real_load(stream: bytes) -> None:
    """It is what the figures say: at least a hundred thousand messages, from Asterisk's greeting on."""
    assert stream.startswith(b"Asterisk Call Manager/")
    assert stream.count(recording.BLANK_LINE) >= recording.EVENTS
    assert stream.endswith(recording.BLANK_LINE)


def test_scrubbing_keeps_the_length_and_the_last_digits() -> None:
    """A number becomes as many letters but for its last three digits; the machine's net and name become nobody's."""
    raw = b"Exten: 01632960101\r\nAddr: 127.9.8.3\r\nSystemName: box1\r\nOther: box12"

    assert recording.scrubbed(raw, "127.9.8", "box1") == (
        b"Exten: nnnnnnnn101\r\nAddr: 127.0.0.3\r\nSystemName: pbx\r\nOther: box12"
    )
