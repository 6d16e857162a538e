"""A line between agent and Asterisk that can be spoilt: silent, cut in the midst of a message, late, in crumbs.

It also witnesses when complete lists of channels came through, so that nobody has to
take the agent's word for the first snapshot after a gap.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

_LISTED: Final = b"Event: CoreShowChannelsComplete"
_EVENT: Final = b"Event: Newchannel"
_CHUNK: Final = 65_536
_CRUMBS: Final = 100


def wall() -> int:
    """Return the machine's UTC in ms, as the capture of the wire has it."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Line:
    """One port that leads to an AMI. Made by `standing()`.

    Attributes:
        port: Where the agent finds it, on 127.0.0.1.
        delay_s: How much later everything from Asterisk arrives.
        crumb: Deliver so many bytes at a time (more, of a piece that is large); 0: as they come.
        passed_ms: When a byte of Asterisk last went on to the agent (UTC ms).
        listed_ms: When a complete list of channels had gone through, each time.
        accepted_ms: When the agent connected, each time.
        late_ms: How much later than Asterisk wrote it something was delivered, at most.
        cut_ms: When the line was cut in the midst of a message, each time.
    """

    host: str
    ami_port: int
    port: int = 0
    delay_s: float = 0.0
    crumb: int = 0
    passed_ms: int = 0
    late_ms: int = 0
    listed_ms: list[int] = field(default_factory=list)
    accepted_ms: list[int] = field(default_factory=list)
    cut_ms: list[int] = field(default_factory=list)
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _cutting: bool = False
    _seen: bytes = b""
    _ends: list[asyncio.StreamWriter] = field(default_factory=list)

    def stall(self) -> None:
        """Let nothing through any more, in neither direction, and say nothing: half-open."""
        self._flows.clear()

    def flow(self) -> None:
        """Let everything through again that still has somebody to go to."""
        self._flows.set()

    def cut(self) -> None:
        """Break the line in the midst of the next message that tells of a new channel."""
        self._cutting = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection of the agent until either side or a cut ends it."""
        self.accepted_ms.append(wall())
        ends = [writer]
        self._ends.append(writer)
        try:
            await self._flows.wait()
            upper, lower = await asyncio.open_connection(self.host, self.ami_port)
            ends.append(lower)
            ways = [
                asyncio.get_running_loop().create_task(way)
                for way in (self._down(upper, writer), self._up(reader, lower))
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the line is gone, or the test is
        finally:
            for end in ends:
                end.transport.abort()

    def close(self) -> None:
        """End what is still connected."""
        self.flow()
        for end in self._ends:
            end.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def read() -> None:
            while data := await reader.read(_CHUNK):
                await late.put((loop.time() + self.delay_s, data))
                await self._flows.wait()  # a stalled line leaves the rest with Asterisk
            await late.put((0, b""))

        reading = loop.create_task(read())
        try:
            while True:
                due, data = await late.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._flows.wait()
                if not data or not await self._deliver(data, writer):
                    return
                self.late_ms = max(self.late_ms, round((loop.time() - due + self.delay_s) * 1000))
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _deliver(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        if self._cutting and (at := data.find(_EVENT)) >= 0:
            writer.write(data[: at + len(_EVENT) + 9])
            await writer.drain()
            self._cutting = False
            self.passed_ms = wall()
            self.cut_ms.append(self.passed_ms)
            return False
        # Each crumb costs a turn of the loop: what came in large pieces goes on in larger ones.
        step = max(self.crumb, len(data) // _CRUMBS) if self.crumb else len(data)
        for begin in range(0, len(data), step):
            writer.write(data[begin : begin + step])
            await writer.drain()
            self.passed_ms = wall()
            if self.crumb:
                await asyncio.sleep(0)  # so that it leaves before the next
        seen = self._seen + data
        if _LISTED in seen:
            self.listed_ms.append(self.passed_ms)
            seen = seen[seen.rindex(_LISTED) + len(_LISTED) :]
        self._seen = seen[-len(_LISTED) :]
        return True


@asynccontextmanager
async def standing(host: str, ami_port: int) -> AsyncIterator[Line]:
    """Give a line to the AMI at `host`:`ami_port`, good until it is spoilt."""
    line = Line(host, ami_port)
    line.flow()
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0, family=socket.AF_INET)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.close()
        await server.wait_closed()
