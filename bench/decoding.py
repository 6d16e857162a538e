"""What reading AMI costs, against what others pay: bytes -> events -> levels, in CPU time.

Everybody gets the same bytes, a real Asterisk's under load with all rights (bench/recording.py), in
chunks of 64 KiB, turn by turn, so that a busy moment of the machine hits all alike; the best of the
rounds counts. A message is what stands between two blank lines.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Final

from panoramisk import Manager
from panoramisk.ami_protocol import AMIProtocol

from bench import recording
from bench.figures import Figure, Scale
from connectors.asterisk import ami, parse
from connectors.asterisk.framing import BLANK_LINE, Frames
from connectors.asterisk.settings import Settings
from meter.events import Event, Snapshot
from meter.levels import Levels
from meter.tenancy import PbxRules, Tenancy, TenantRules

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pyst2 uses what newer Pythons warn about
    from asterisk.manager import Event as PystEvent
    from asterisk.manager import ManagerMsg

PBX: Final = "pbx1"
CHUNK_BYTES: Final = 65_536
ROUNDS: Final = 15
SLOW_ROUNDS: Final = 3  # of those that take seconds

WHY: Final = (
    "The floor is one call into C. What is added is a look at four bytes of each message (80 ns) and about 4.5 µs for each "
    "of the 13 of 100 that change a level, most of it in five searches for headers and in making values. Beside other "
    "programs that want the same caches it comes out a fifth higher than alone (2.8 and 5.5 were seen)."
)

Chunks = Sequence[bytes]


def rules(tenants: int = 2) -> Tenancy:
    """Return the rules of the PBX that was recorded, its trunks spread over so many tenants."""
    trunks = ["PJSIP/trunk-kpn", "PJSIP/trunk-kpn2", "PJSIP/trunk-shared"]
    trunks += [f"PJSIP/trunk-{number}" for number in range(tenants)]
    whose = [TenantRules(f"tenant-{n}", trunks=(trunk,), default=n == 0) for n, trunk in enumerate(trunks)]
    return Tenancy([PbxRules(PBX, tuple(trunks), re.compile("1[0-9]{2}"))], whose[: tenants + 3], b"bench")


def split_only(chunks: Chunks) -> None:
    """Find the messages and do nothing with them: the floor."""
    for chunk in chunks:
        chunk.split(BLANK_LINE)


def ours(chunks: Chunks) -> None:
    """Read every event that changes a level."""
    frames = Frames(parse.WANTED)
    for chunk in chunks:
        for found in frames.feed(chunk):
            parse.event(found, 7)


def ours_metered(chunks: Chunks) -> None:
    """Read, and follow the levels; what changed is taken out for the ledger after each chunk."""
    frames, levels = Frames(parse.WANTED), Levels(rules())
    levels.watch(PBX)
    levels.apply(PBX, Snapshot(1, 0, (), "run 1"))
    for at, chunk in enumerate(chunks, 2):
        for found in frames.feed(chunk):
            event = parse.event(found, at)
            if event is not None:
                levels.apply(PBX, event)
        levels.drain()


def our_link(chunks: Chunks) -> None:
    """Read as the connection itself does, with all its book-keeping, and follow the levels."""
    levels = Levels(rules())
    levels.watch(PBX)
    levels.apply(PBX, Snapshot(1, 0, (), "run 1"))

    def told(events: Sequence[Event]) -> None:
        for event in events:
            levels.apply(PBX, event)
        levels.drain()

    async def read() -> None:
        link = ami.Link(Settings("h", "u", "s"), lambda: 7, lambda: 7, told, lambda: None)
        for chunk in chunks:
            link.data_received(chunk)

    asyncio.run(read())


def with_panoramisk(chunks: Chunks) -> None:
    """Let panoramisk's protocol read, for somebody who wants to hear of new channels."""

    async def read() -> None:
        protocol = AMIProtocol()
        protocol.connection_made(None)
        protocol.encoding = "utf8"
        protocol.factory = Manager()
        protocol.factory.register_event("Newchannel", lambda *_: None)
        for chunk in chunks:
            protocol.data_received(chunk)

    asyncio.run(read())


def with_pyst2(chunks: Chunks) -> None:
    """Let pyst2 read: its loop without the thread and the socket, which cuts lines and parses each message whole."""
    lines: list[str] = []
    for raw in io.BytesIO(b"".join(chunks)):
        line = raw.decode("utf8", "ignore")
        if line == "\r\n":
            found = ManagerMsg(lines)
            if found.has_header("Event"):
                PystEvent(found)
            lines = []
        else:
            lines.append(line)


CANDIDATES: Final[tuple[Callable[[Chunks], None], ...]] = (
    split_only, ours, ours_metered, our_link, with_pyst2, with_panoramisk,
)  # fmt: skip

SLOW: Final = (with_pyst2, with_panoramisk)


def spent(chunks: Chunks, rounds: int) -> list[float]:
    """Return each candidate's CPU seconds, the best of its rounds."""
    best = [float("inf")] * len(CANDIDATES)
    for number in range(rounds):
        for place, read in enumerate(CANDIDATES):
            if number >= SLOW_ROUNDS and read in SLOW:
                continue
            began = time.process_time()
            read(chunks)
            best[place] = min(best[place], time.process_time() - began)
    return best


def measure(scale: Scale) -> list[Figure]:
    """Return what each pays for the recorded stream."""
    logging.disable()
    try:
        stream = recording.read()
        stream = stream[: stream.index(BLANK_LINE, scale.of(len(stream) - 5)) + len(BLANK_LINE)]
        chunks = [stream[place : place + CHUNK_BYTES] for place in range(0, len(stream), CHUNK_BYTES)]
        floor, read, metered, link, pyst2, panoramisk = spent(chunks, scale.of(ROUNDS, 2))
    finally:
        logging.disable(logging.NOTSET)
    messages = stream.count(BLANK_LINE)
    how = f"{messages:,} messages of a real Asterisk 22, {len(stream) / 1e6:.0f} MB"
    each = 1e6 / messages
    return [
        Figure("a message: split at the blank line, the floor", floor * each, "µs of CPU", how),
        Figure("a message: decoded", read * each, "µs of CPU"),
        Figure("a message: decoded and metered", metered * each, "µs of CPU"),
        Figure("a message: the whole link, its levels followed", link * each, "µs of CPU"),
        Figure("a message: pyst2", pyst2 * each, "µs of CPU"),
        Figure("a message: panoramisk", panoramisk * each, "µs of CPU"),
        Figure("decoding against panoramisk", panoramisk / read, "times faster", bar=(">=", 15)),
        Figure("decoding against pyst2", pyst2 / read, "times faster", bar=(">=", 10)),
        Figure("decoding against the bare split", read / floor, "times its cost", bar=("<=", 3), why=WHY),
        Figure(
            "decoding and metering against the bare split",
            metered / floor,
            "times its cost",
            bar=("<=", 6),
            why=WHY,
        ),
    ]
