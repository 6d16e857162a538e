"""A simulated Asterisk that speaks AMI over TCP: for tests, for the demo, and for trying an installation.

Greeting, login, rights and answers are those of a real one. It misbehaves on
request, the way networks and Asterisks do: cut, frozen, byte by byte, with events
missing, restarted. What it is asked is kept (`received`), what was true too
(`exchange.lines`).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Final, Self

from connectors.asterisk.simulated import answers
from connectors.asterisk.simulated.exchange import Exchange, message
from connectors.connector import Now

TRUNKS: Final = ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2")
EXTENSIONS: Final = tuple(f"PJSIP/{number}" for number in range(100, 140))


@dataclass(frozen=True, slots=True)
class Account:
    """One section of manager.conf."""

    username: str = "meter"
    secret: str = field(default="only-for-simulations", repr=False)
    read: frozenset[str] = frozenset({"call"})
    write: frozenset[str] = frozenset({"reporting"})


#: The account that the agent asks for, and one with all that it can use.
LEAST: Final = Account()
BROAD: Final = Account(
    "broad",
    read=frozenset({"call", "system", "dialplan", "reporting"}),
    write=frozenset({"reporting", "system", "call"}),
)


class SimulatedAsterisk:
    """One Asterisk on loopback. Use as an async context manager, or `start` and `stop`.

    Args:
        now: Reads the clock; every instant of it comes from there.
        accounts: Who may log in.
        trunks, extensions: The full endpoints that it has.
        version: What it says it is.
        noisy: Send VarSet events too.

    Attributes:
        exchange: Its channels; drive them with `connectors.asterisk.simulated.calls`.
        received: The names of the actions that arrived, in order.
        lost: Names of events that are not sent, as if they had been missed.
        piece_bytes: Write so many bytes at a time, each in a turn of its own; 0: as they come.
        frozen: The line is half open: nothing is sent, what arrives is not read.
        mute: Actions that are never answered.
        port: Where it listens, once it does.
    """

    def __init__(
        self,
        now: Now,
        *,
        accounts: tuple[Account, ...] = (LEAST, BROAD),
        trunks: tuple[str, ...] = TRUNKS,
        extensions: tuple[str, ...] = EXTENSIONS,
        version: str = "22.10.1",
        noisy: bool = False,
    ) -> None:
        self.accounts = {account.username: account for account in accounts}
        self.exchange = Exchange(now, self._tell, trunks, extensions, noisy=noisy)
        self.version = version
        self.received: list[str] = []
        self.lost: set[str] = set()
        self.mute: set[str] = set()
        self.piece_bytes = 0
        self.frozen = False
        self.port = 0
        self._server: asyncio.Server | None = None
        self._sessions: list[_Session] = []
        self._arrival = asyncio.Event()

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> int:
        """Listen; return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), host, port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()
            self._server = None
        await asyncio.gather(*(session.closed for session in self._sessions))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def cut(self) -> None:
        """Cut every connection, unannounced."""
        for session in self._sessions:
            session.cut()

    async def restart(self) -> None:
        """Be killed and started again: connections and channels are gone, another run begins."""
        self.cut()
        self.exchange.restart()
        await asyncio.gather(*(session.closed for session in self._sessions))

    def shut_down(self) -> None:
        """Say that it is stopping. Only accounts with `read = system` hear it."""
        self.exchange.say("system", "Shutdown", ("Shutdown", "Cleanly"), ("Restart", "False"))

    def write(self, data: bytes) -> None:
        """Send bytes, whatever they are, to everybody who is logged in."""
        for session in self._sessions:
            if session.account is not None:
                session.write(data)

    async def asked(self, action: str) -> None:
        """Wait until such an action has arrived."""
        while action not in self.received:
            self._arrival.clear()
            await self._arrival.wait()

    def arrived(self, action: str) -> None:
        """Note an action."""
        self.received.append(action)
        self._arrival.set()

    def enter(self, session: _Session) -> None:
        """Keep a connection in mind."""
        self._sessions.append(session)

    def leave(self, session: _Session) -> None:
        """Forget a connection."""
        self._sessions.remove(session)

    def _tell(self, kind: str, name: str, data: bytes) -> None:
        if name in self.lost:
            return
        for session in self._sessions:
            if session.account is not None and kind in session.account.read and session.wants(kind):
                session.write(data)


class _Session(asyncio.Protocol):
    """One connection of an AMI client."""

    def __init__(self, asterisk: SimulatedAsterisk) -> None:
        self.account: Account | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asterisk = asterisk
        self._mask: frozenset[str] | None = None  # None: all that the account may read
        self._transport: asyncio.Transport | None = None
        self._arrived = b""
        self._leaving = bytearray()
        self._closing = False

    def wants(self, kind: str) -> bool:
        return self._mask is None or kind in self._mask

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        if self._asterisk.frozen or self._transport is None or self._transport.is_closing():
            return
        if not self._asterisk.piece_bytes and not self._leaving:
            self._transport.write(data)
            return
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._trickle)
        self._leaving += data

    def _trickle(self) -> None:
        """Write one piece; the next one follows in the loop's next turn."""
        if self._transport is None or self._transport.is_closing():
            return
        size = self._asterisk.piece_bytes or len(self._leaving)
        self._transport.write(bytes(self._leaving[:size]))
        del self._leaving[:size]
        if self._leaving:
            asyncio.get_running_loop().call_soon(self._trickle)
        elif self._closing:
            self._transport.close()

    def _close(self) -> None:
        """Close once everything has left."""
        self._closing = True
        if self._transport is not None and not self._leaving:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- create_server makes no other
        self._transport = transport
        self._asterisk.enter(self)
        self.write(b"Asterisk Call Manager/11.0.0\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._asterisk.leave(self)
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._asterisk.frozen:
            return
        *actions, self._arrived = (self._arrived + data).split(b"\r\n\r\n")
        for action in actions:
            lines = (line.partition(b": ") for line in action.split(b"\r\n"))
            self._act({name.decode().lower(): value.decode() for name, _, value in lines})

    def _act(self, asked: dict[str, str]) -> None:
        action = asked.get("action", "")
        self._asterisk.arrived(action)
        if action in self._asterisk.mute:
            return
        known = (("ActionID", asked["actionid"]),) if "actionid" in asked else ()
        if action == "Login":
            self._log_in(asked, known)
        elif action == "Logoff":
            self.write(message("Response", "Goodbye", *known, ("Message", "Thanks for all the fish.")))
            self._close()
        else:
            rights = self.account.write if self.account else None
            self.write(answers.answer(self._asterisk.exchange, action, known, rights, self._asterisk.version))

    def _log_in(self, asked: dict[str, str], known: answers.Headers) -> None:
        account = self._asterisk.accounts.get(asked.get("username", ""))
        if account is None or account.secret != asked.get("secret"):
            self.write(message("Response", "Error", *known, ("Message", "Authentication failed")))
            self._close()
            return
        events = asked.get("events", "on").lower()
        self._mask = None if events in {"on", "all"} else frozenset(events.split(","))
        self.account = account
        self.write(message("Response", "Success", *known, ("Message", "Authentication accepted")))
        if "system" in account.read and self.wants("system"):
            self.write(
                message("Event", "FullyBooted", ("Privilege", "system,all"), ("Status", "Fully Booted"))
            )
