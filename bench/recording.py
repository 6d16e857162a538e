"""The recorded stream: what a real Asterisk 22 under load sends to somebody with all rights.

    python -m bench.recording            makes it anew (root, Debian, SIPp: see tests/asterisk/roots.py)

Scrubbed like tests/recordings are, and beyond them of every telephone number, though all of them are from
ranges kept for fiction: what is left of one are its last three digits, behind as many letters as it had digits.
"""

from __future__ import annotations

import asyncio
import lzma
import re
import socket
import sys
from pathlib import Path
from typing import Final

from tests.asterisk import calls, network, roots
from tests.asterisk.configuration import DID, OUTSIDE
from tests.asterisk.instance import Instance, running
from tests.asterisk.network import Astray, Network

FILE: Final = Path(__file__).with_name("recording.ami.xz")
GENERATION: Final = "22"
EVENTS: Final = 100_000
BLANK_LINE: Final = b"\r\n\r\n"

_PER_MIX: Final = 800
_ACCOUNT: Final = "witness"
_NUMBERS: Final = re.compile(rb"(?:%s|%s)(?=[0-9]{3})" % (DID.encode(), OUTSIDE.encode()))


def read() -> bytes:
    """Return the recorded stream, from Asterisk's greeting on."""
    return lzma.decompress(FILE.read_bytes())


def scrubbed(stream: bytes, net: str, machine: str) -> bytes:
    """Return a stream without the numbers, the loopback net and the machine that it was recorded on."""
    stream = _NUMBERS.sub(lambda number: b"n" * len(number[0]), stream)
    stream = stream.replace(f"{net}.".encode(), b"127.0.0.")
    return re.sub(rb"\b" + re.escape(machine.encode()) + rb"\b", b"pbx", stream)


async def record(instance: Instance, around: Network, events: int, per_s: float) -> bytes:
    """Place mixes of every kind of call until so many events were heard; return the raw stream."""
    reader, writer = await asyncio.open_connection(instance.host, instance.ami_port)
    heard = bytearray()

    async def listen() -> None:
        while piece := await reader.read(1 << 16):
            heard.extend(piece)

    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            secret = instance.accounts[_ACCOUNT].secret
            writer.write(f"Action: Login\r\nUsername: {_ACCOUNT}\r\nSecret: {secret}\r\n\r\n".encode())
            seed = 0
            while heard.count(BLANK_LINE) < events:
                seed += 1
                async with around.place(calls.mix(seed, _PER_MIX, per_s=per_s)) as placed:
                    try:
                        await placed.finished()
                    except (Astray, TimeoutError) as error:  # what Asterisk says of it is no less real
                        print(str(error)[:200], file=sys.stderr)
                print(f"{heard.count(BLANK_LINE):,} events", file=sys.stderr)
            listening.cancel()
    finally:
        writer.close()
    return bytes(heard[: heard.rfind(BLANK_LINE) + len(BLANK_LINE)])


def main() -> int:
    """Make it anew. 0: made, 1: a sentence says what is missing."""
    if lacks := roots.missing():
        print("no real Asterisk here:", *lacks, sep="\n  ", file=sys.stderr)
        return 1
    with running(roots.root(GENERATION)) as instance, network.around(instance) as around:
        raw = asyncio.run(record(instance, around, EVENTS, per_s=8.0))
        stream = scrubbed(raw, instance.host.removesuffix(".1"), socket.gethostname())
    FILE.write_bytes(lzma.compress(stream, preset=9 | lzma.PRESET_EXTREME))
    print(
        f"{stream.count(BLANK_LINE):,} messages, {len(stream) / 1e6:.0f} MB, {FILE.stat().st_size:,} bytes packed"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
