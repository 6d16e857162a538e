"""What reading AMI costs, against what others pay: bytes -> events, messages per second on one core.

Run `python -m bench.decoding [RECORDING]`: over that stream, or else over the
recordings of tests/recordings that were heard with all rights. A message is what stands between
two blank lines; every candidate gets the same bytes in chunks of 64 KiB.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asterisk.manager import Event, ManagerMsg
from panoramisk import Manager
from panoramisk.actions import Action
from panoramisk.ami_protocol import AMIProtocol

from connectors.asterisk import ami, parse
from connectors.asterisk.framing import BLANK_LINE, Frames
from connectors.asterisk.settings import Settings
from connectors.asterisk.simulated.exchange import Exchange, message
from connectors.asterisk.simulator import EXTENSIONS, TRUNKS

GREETING = b"Asterisk Call Manager/11.0.0\r\n"
CHUNK_BYTES = 65_536
ROUNDS = 5
LISTED = 2_000
REPEATED = 100
RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"


def recorded() -> bytes:
    """Real calls, heard with all rights, said over and over."""
    paths = [path for path in sorted(RECORDINGS.glob("*/*.all.ami")) if not path.name.startswith("lists")]
    calls = (path.read_bytes().partition(b"\r\n")[2] for path in paths)
    return GREETING + b"".join(calls) * REPEATED


def split_only(chunks: list[bytes]) -> None:
    """Find the messages and do nothing with them: the floor."""
    for chunk in chunks:
        chunk.split(BLANK_LINE)


def ours(chunks: list[bytes]) -> None:
    """Read every event that changes a level."""
    frames = Frames(parse.WANTED)
    for chunk in chunks:
        for found in frames.feed(chunk):
            parse.event(found, 7)


def our_link(chunks: list[bytes]) -> None:
    """Read as the connection itself does, with all its book-keeping."""

    async def read() -> None:
        link = ami.Link(Settings("h", "u", "s"), lambda: 7, lambda: 7, lambda _: None, lambda: None)
        for chunk in chunks:
            link.data_received(chunk)

    asyncio.run(read())


def with_panoramisk(chunks: list[bytes]) -> None:
    """Let panoramisk's protocol read."""

    async def read() -> None:
        protocol = AMIProtocol()
        protocol.connection_made(None)
        protocol.encoding = "utf8"
        protocol.factory = Manager()
        protocol.factory.register_event("Newchannel", lambda *_: None)
        for chunk in chunks:
            protocol.data_received(chunk)

    asyncio.run(read())


def with_pyst2(chunks: list[bytes]) -> None:
    """Let pyst2 read."""
    lines: list[str] = []
    # Its reading loop, without the thread and the socket: cut lines, parse each message whole.
    for raw in io.BytesIO(b"".join(chunks)):
        line = raw.decode("utf8", "ignore")
        if line == "\r\n":
            found = ManagerMsg(lines)
            if found.has_header("Event"):
                Event(found)
            lines = []
        else:
            lines.append(line)


def listing() -> list[bytes]:
    """A CoreShowChannels answer of `LISTED` rows, message by message."""
    exchange = Exchange(lambda: 7_000, lambda *_: None, TRUNKS, EXTENSIONS)
    rows = [exchange.make(TRUNKS[0], 4).headers() for _ in range(LISTED)]
    return [
        message(
            "Response",
            "Success",
            ("ActionID", "1"),
            ("EventList", "start"),
            ("Message", "Channels will follow"),
        ),
        *(
            message("Event", "CoreShowChannel", ("ActionID", "1"), *row, ("Duration", "00:00:01"))
            for row in rows
        ),
        message("Event", "CoreShowChannelsComplete", ("ActionID", "1"), ("EventList", "Complete")),
    ]


def listed_by_us(chunks: list[bytes]) -> None:
    """Make legs of a list."""
    for chunk in chunks[1:-1]:
        parse.listed(parse.fields(chunk), 7)


def listed_by_panoramisk(chunks: list[bytes]) -> None:
    """Collect a list as panoramisk's answer, then make legs of it."""

    async def read() -> None:
        protocol = AMIProtocol()
        protocol.connection_made(None)
        protocol.encoding = "utf8"
        action = Action({"Action": "CoreShowChannels", "ActionID": "1"})
        protocol.responses["1"] = action
        for chunk in chunks:
            protocol.data_received(chunk)
        # Its answer are messages of text: the legs have still to be made.
        for row in (await action.future)[1:-1]:
            parse.listed({name.lower(): value for name, value in row.items()}, 7)

    asyncio.run(read())


def fastest(read: Callable[[Any], None], given: Any) -> float:
    """Seconds of the fastest of some rounds: the others were disturbed."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        read(given)
        times.append(time.perf_counter() - begun)
    return min(times)


def table(title: str, number: int, given: Any, candidates: dict[str, Callable[[Any], None]]) -> None:
    """Measure the candidates and print their figures."""
    print(f"\n{title}: {number:,} messages, fastest of {ROUNDS}")
    floor = None
    for name, read in candidates.items():
        spent = fastest(read, given)
        floor = floor or spent
        print(f"  {name:<44}{number / spent:>12,.0f} /s {spent / floor:>7.1f} x the first")


def main() -> None:
    """Print the figures."""
    logging.disable()
    stream = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else recorded()
    chunks = [stream[place : place + CHUNK_BYTES] for place in range(0, len(stream), CHUNK_BYTES)]
    number = stream.count(BLANK_LINE)
    table(
        f"Events ({len(stream) / 1e6:.0f} MB)",
        number,
        chunks,
        {
            "split at blank lines only": split_only,
            "framing + parse (what the agent needs)": ours,
            "the whole link, answers and all": our_link,
            "pyst2": with_pyst2,
            "panoramisk": with_panoramisk,
        },
    )
    rows = listing()
    table(
        "CoreShowChannels",
        len(rows),
        rows,
        {"parse -> legs": listed_by_us, "panoramisk -> legs": listed_by_panoramisk},
    )


if __name__ == "__main__":
    main()
