"""Where a 3CX's CDR output arrives: a port that it connects to ("active socket"), or the file that it writes.

Rules:

1. Nothing is ever sent. Only the configured address may connect; any other is closed at once and counted.
2. One connection is the rule. One more from the PBX means that an older one may be dead: a few are borne.
3. What arrives is read at once, whatever becomes of it, and memory is bounded: lines of a mebibyte, and `kept`.
4. A line that can't be read, a connection that ends, a file that was cut: each ends a stretch (`kept`).

Whether a 3CX keeps lines while nobody listens is not known: it is taken not to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Self

from connectors.connector import CallsTold, Now
from connectors.errors import Unreachable
from connectors.threecx import cdr as lines
from connectors.threecx.following import Following, New
from connectors.threecx.kept import MOST, SETTLE_MS, Kept
from connectors.threecx.settings import Cdr
from meter.model import Instant

#: A longer line is none.
_LONGEST_BYTES: Final = 1024 * 1024
#: A connection whose other end is gone without a word is found dead after so long, in s: idle, between probes, probes.
_KEEPALIVE: Final = ((20, "TCP_KEEPIDLE"), (10, "TCP_KEEPINTVL"), (3, "TCP_KEEPCNT"))
_DOUBT_MS: Final = 50_000
#: So many connections stand at most; then the oldest goes.
_MOST_CONNECTIONS: Final = 4


class Intake:
    """The CDR output of one 3CX. Use as an async context manager, again and again; what waits to be taken stays.

    Args:
        cdr: Where it arrives.
        now: The clock.
        departments_of: Gives a DN's departments, for the legs' claims.
        counts: Whether a trunk's DN counts as one: a bridge to another 3CX may not.
        ahead_ms: How far the 3CX's clock is ahead of ours, as a line arrives, in whole seconds: what is kept is by our clock.
        look_every_s: How often a file is looked at.
        most: How many legs wait at most to be taken.

    Attributes:
        heard_at: When the 3CX last connected or sent anything, or its file was last read to its end.
        lines: How many lines were read.
        refused: How many could not be, with why the last one could not (`trouble`).
        strangers: How many connections from other addresses were closed, with the last one's (`stranger`).
        in_vain: How many could not be since the last one that could, or since it was opened.
        untold: Outside parties that calls went through and of whose legs nothing is told (`cdr.Record.untold`).
        port: Where it listens, once it does.
    """

    def __init__(
        self,
        cdr: Cdr,
        now: Now,
        departments_of: lines.DepartmentsOf = lines.nobodys,
        *,
        counts: Callable[[str], bool] = bool,
        ahead_ms: Callable[[], int] = int,
        look_every_s: float = 1.0,
        most: int = MOST,
    ) -> None:
        self.heard_at: Instant | None = None
        self.lines = self.refused = self.in_vain = self.strangers = self.untold = 0
        self.trouble = self.stranger = ""
        self.port = 0
        self._cdr = cdr
        self._now = now
        self._departments_of = departments_of
        self._counts = counts
        self._ahead_ms = ahead_ms
        self._look_every_s = look_every_s
        self._layout = lines.Layout(cdr.fields, UTC if cdr.utc else None)
        self._peer = _address(cdr.peer)
        self._kept = Kept(most)
        self._standing = asyncio.Event()
        self._connections: list[_Connection] = []
        self._server: asyncio.Server | None = None
        self._following = None if cdr.file is None else Following(cdr.file)
        self._file_lines = Lines()
        self._behind = True  # the file's end was not yet reached
        self._last_end: Instant = 0
        self._follows: tuple[asyncio.TaskGroup, asyncio.Task[None]] | None = None

    # ---- what others ask

    @property
    def connected(self) -> bool:
        """Whether the 3CX is connected now, or its file can be read."""
        return self._standing.is_set()

    @property
    def lost(self) -> int:
        """How many legs were let go before anybody asked."""
        return self._kept.lost

    @property
    def trunks(self) -> tuple[str, ...]:
        """The endpoints of the legs that wait to be taken."""
        return self._kept.endpoints()

    async def connection(self) -> None:
        """Wait until the 3CX is connected, or its file can be read."""
        await self._standing.wait()

    def take(self, since: Instant | None, *, soon: bool = True) -> CallsTold | None:
        """As `Connector.read_calls`, from memory. Ask again until nothing comes: breaks part what is told.

        Not `soon`, that there was no call is told once a minute; calls are told at once.
        """
        until = self._now()
        if self._following is not None:  # what was written since the last look is not known
            until = min(until, self.heard_at or 0)
        return self._kept.take(since, until, soon=soon)

    async def __aenter__(self) -> Self:
        """Open the port, or begin to follow the file.

        Raises:
            Unreachable: The port can't be opened.
        """
        self.in_vain = 0
        if self._following is not None:
            group = await asyncio.TaskGroup().__aenter__()
            self._follows = (group, group.create_task(self._follow(self._following)))
            return self
        host, port = self._cdr.host, self._cdr.port
        try:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self), host, port or 0)
        except OSError as exc:
            raise Unreachable(
                f"The port {port} for CDR output can't be opened at {host}: {exc.strerror or exc}.",
                hint="Another program has it, perhaps an agent that runs already, or the address is not this machine's: "
                "give another port, here and in the 3CX's CDR page.",
            ) from exc
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._follows is not None:
            group, task = self._follows
            self._follows = None
            task.cancel()
            await group.__aexit__(None, None, None)
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._connections):
                connection.close()
                self.gone(connection)
            await self._server.wait_closed()
            self._server = None
        self._standing.clear()

    # ---- what a connection tells

    def welcome(self, connection: _Connection, address: str) -> bool:
        """Return whether a new connection may stay. If another one stands, that one may be dead by now."""
        if _address(address) != self._peer:
            self.strangers += 1
            self.stranger = address
            return False
        if self._connections:
            self._miss(_DOUBT_MS)
        self._connections.append(connection)
        if len(self._connections) > _MOST_CONNECTIONS:
            self._connections[0].close()
            self.gone(self._connections[0])
        self._kept.begin(self._hear())
        self._standing.set()
        return True

    def gone(self, connection: _Connection, *, doubt_ms: int = 0) -> None:
        """Note that a connection ended, perhaps already so long ago."""
        self._connections.remove(connection)
        if self._connections:
            self._miss(doubt_ms)
        else:
            self._kept.end(self._now() - doubt_ms - SETTLE_MS)
            self._standing.clear()

    def told(self, line: bytes) -> None:
        """Take one line that the connection carried."""
        self._hear()
        self._take_in(line)

    def _hear(self) -> Instant:
        self.heard_at = self._now()
        return self.heard_at

    # ---- what the file tells

    async def _follow(self, file: Following) -> None:
        """Read what is new in the file, again and again."""
        while True:
            at = self._now()
            try:
                new = await asyncio.to_thread(file.look)
            except OSError as error:
                self.trouble = f"the file can't be read: {error.strerror or type(error).__name__}"
                self._standing.clear()
                await asyncio.sleep(self._look_every_s)
                continue
            file.took(new)
            for line in self._file_lines.feed(new.data):
                self._take_in(line)
            if new.cut:  # since the last look that reached the end
                self._kept.end((self.heard_at or at) - SETTLE_MS)
                self._kept.begin(at)
            if (new.cut or new.turned) and self._file_lines.rest():
                self.refuse("the file ended in the middle of it")
            if new == New():
                self.heard_at = at
                self._kept.begin(at)
                self._behind = False
                self._standing.set()
                await asyncio.sleep(self._look_every_s)

    # ---- lines

    def _take_in(self, line: bytes) -> None:
        if not line.strip(b" \t\r\0"):
            return
        self.lines += 1
        try:
            found = lines.record(line.decode("utf-8", "replace"), self._layout).earlier(self._ahead_ms())
        except lines.Unreadable as error:
            self.refuse(str(error))
            return
        self.in_vain = 0
        self.untold += found.untold
        behind = self._following is not None and self._behind
        if behind:  # the file tells of every call since its first line
            self._kept.begin(found.end, self._now())
            self._last_end = found.end
        legs = lines.legs_of(found, self._departments_of)
        self._kept.add((leg for leg in legs if self._counts(leg.endpoint.partition("/")[2])), old=behind)

    def refuse(self, why: str) -> None:
        """Count a line that tells nothing: the call that it was of is missing."""
        self.refused += 1
        self.in_vain += 1
        self.trouble = why
        if self._following is not None and self._behind:
            self._kept.end(self._last_end)  # the next one that can be read begins a stretch
        else:
            self._miss()

    def _miss(self, doubt_ms: int = 0) -> None:
        """End the stretch where a line may be missing, and begin the next."""
        at = self._now()
        self._kept.end(at - doubt_ms - SETTLE_MS)
        self._kept.begin(at)


class Lines:
    """Bytes as lines, however they were cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each line that is complete, without its end; one that is too long is yielded cut, once."""
        *whole, rest = (self._rest + data).split(b"\n")
        if whole and self._skipping:
            whole, self._skipping = whole[1:], False
        self._rest = b"" if self._skipping else rest
        for line in whole:
            yield line[:_LONGEST_BYTES]
        if len(self._rest) > _LONGEST_BYTES:
            self._rest, self._skipping = b"", True
            yield rest[:_LONGEST_BYTES]

    def rest(self) -> bytes:
        """Return what came of a line that never ended, and forget it."""
        rest, self._rest, self._skipping = self._rest, b"", False
        return rest


class _Connection(asyncio.Protocol):
    """One connection to the port."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._lines = Lines()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- a TCP connection's, for the type checker
        (address, *_) = transport.get_extra_info("peername") or ("?",)
        if not self._intake.welcome(self, address):
            transport.abort()
            return
        self._transport = transport
        line: socket.socket = transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for value, option in _KEEPALIVE:
            if (number := getattr(socket, option, None)) is not None:  # not all systems have each
                line.setsockopt(socket.IPPROTO_TCP, number, value)

    def data_received(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            if self._transport is not None:
                self._intake.told(line)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        if self._lines.rest():
            self._intake.refuse("the connection ended in the middle of it")
        self._transport = None
        self._intake.gone(self, doubt_ms=_DOUBT_MS if exc is not None else 0)

    def close(self) -> None:
        """Let go of it at once; nothing that it still brings is taken."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


def _address(text: str) -> IPv4Address | IPv6Address | str:
    """Return an address as it compares: an IPv4 one that came by IPv6 is the IPv4 one."""
    with suppress(ValueError):
        found = ip_address(text.partition("%")[0])
        return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
    return text
