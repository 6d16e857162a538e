"""Whatever bytes an Asterisk sends, and however the network cuts them."""

import asyncio
import contextlib
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.asterisk import ami, parse
from connectors.asterisk.framing import BLANK_LINE, Frames
from connectors.asterisk.settings import Settings
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulated.exchange import Exchange
from connectors.errors import Garbled, Unreachable

GREETING = b"Asterisk Call Manager/11.0.0\r\n"


def said_by_an_exchange() -> list[bytes]:
    said: list[bytes] = []
    exchange = Exchange(
        lambda: 1_795_286_668_000,
        lambda _kind, _name, message: said.append(message),
        ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2"),
        ("PJSIP/101",),
        noisy=True,
    )
    for call in (
        calls.ring_in(exchange, "PJSIP/trunk-kpn", "PJSIP/101"),
        calls.ring_group(exchange, "PJSIP/trunk-kpn2", ["PJSIP/101", "PJSIP/102"]),
    ):
        call.answer()
        call.hang_up()
    said.append(
        b"Event: Newchannel\r\nChannel: Zo\xc3\xab/\xeb-1\r\nChannelState: 4\r\nUniqueid: 1.1\r\nLinkedid: 1.1\r\n\r\n"
    )
    said.append(b"Response: Success\r\nActionID: 1\r\nEventList: start\r\n\r\n")
    said.append(b"Event: CoreShowChannelsComplete\r\nActionID: 1\r\n\r\n")
    return said


WHOLE = said_by_an_exchange()
LINES = sorted({line for message in WHOLE for line in message.split(b"\r\n")})

clean = st.lists(st.sampled_from(WHOLE), max_size=20).map(b"".join)
#: Real lines in any order, doubled, missing, cut short, with noise between: nearly messages.
mangled = st.lists(
    st.one_of(st.sampled_from(LINES), st.sampled_from([b"", b"\r\n", b"\n"]), st.binary(max_size=12)),
    max_size=60,
).map(b"\r\n".join)
streams = st.lists(st.one_of(clean, mangled, st.binary(max_size=80)), max_size=6).map(b"".join)
greetings = st.one_of(st.just(GREETING), st.just(GREETING), st.binary(max_size=40))


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def told(chunks: list[bytes]) -> tuple[list[object], str | None]:
    """All events of a stream, and what ended the link, if anything did."""

    async def read() -> tuple[list[object], str | None]:
        events: list[object] = []
        link = ami.Link(Settings("h", "u", "s"), lambda: 7, lambda: 7, events.extend, lambda: None)
        for chunk in chunks:
            if link.fault is None:
                link.data_received(chunk)
        assert link.fault is None or isinstance(link.fault, Garbled)
        return events, link.fault and str(link.fault)

    return asyncio.run(read())


@settings(max_examples=150, deadline=None)
@given(greetings, streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_bytes_cut_anywhere_tell_the_same(greeting, stream, cuts):
    """Any bytes give events or Garbled, never another error, and the same ones however they were cut."""
    stream = greeting + stream
    assert told(pieces(stream, cuts)) == told([stream])


@settings(max_examples=40, deadline=None)
@given(clean)
def test_byte_by_byte_tells_the_same(stream):
    """A stream of whole messages tells the same byte by byte as at once, and is never Garbled."""
    whole = told([GREETING + stream])
    assert told([bytes([byte]) for byte in GREETING + stream]) == whole
    assert whole[1] is None


@settings(max_examples=300, deadline=None)
@given(st.one_of(mangled, st.binary(max_size=200)))
def test_any_message_is_an_event_nothing_or_garbled(message):
    """One message of any bytes gives an event, None or Garbled; as a row of a list likewise."""
    for name in (
        b"",
        b"Event: Newchannel\r\n",
        b"Event: Newstate\r\n",
        b"Event: Rename\r\n",
        b"Event: Hangup\r\n",
    ):
        with contextlib.suppress(Garbled):
            parse.event(name + message, 7)
    with contextlib.suppress(Garbled):
        parse.listed(parse.fields(message), 7)


@settings(max_examples=100, deadline=None)
@given(streams)
def test_dropping_early_drops_nothing_needed(stream):
    """The quick look at a message's first bytes passes over nothing that a full look would take."""
    wanted = parse.WANTED
    quick = Frames(wanted).feed(GREETING + stream)
    full = [part.removeprefix(b"\r\n") for part in stream.split(BLANK_LINE)[:-1]]
    assert quick == [part for part in full if part.startswith(wanted)]


def test_a_closed_link_is_unreachable_not_garbled():
    """The end of the bytes is a lost link, with whatever was said before it."""

    async def read() -> Exception | None:
        link = ami.Link(Settings("h", "u", "s"), lambda: 7, lambda: 7, lambda _: None, lambda: None)
        link.data_received(GREETING)
        link.connection_lost(None)
        return link.fault

    assert isinstance(asyncio.run(read()), Unreachable)
