"""The one door to an Asterisk Manager Interface: one connection, from greeting to its end.

Rules:

1. Everything that arrives is read at once and told at once, in the order of the
   stream; nothing here ever makes Asterisk wait. (It queues events for a slow
   reader without bound, and calls share its memory.)
2. The clock is read once per received chunk: all that the chunk tells has that instant.
3. A link ends once, with one error (`fault`); everybody who waits for an answer gets it.
4. It watches itself: it pings, and ends when nothing is heard for too long.
5. It never connects again. That is the supervisor's decision.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeAlias

from connectors.asterisk import actions, parse
from connectors.asterisk.actions import Answer
from connectors.asterisk.framing import Frames
from connectors.asterisk.settings import Settings
from connectors.connector import Now, Sink
from connectors.errors import Denied, Unreachable
from meter.events import Event, Sighting, Snapshot
from meter.model import Cause, Instant

#: Makes an event of a complete answer, in its place in the stream.
Reading: TypeAlias = Callable[[Answer, Instant], Event | None]

_SHUTDOWN: Final = b"Event: Shutdown"
_WANTED: Final = (*parse.WANTED, *actions.WANTED, _SHUTDOWN)


@dataclass(slots=True)
class _Pending:
    """An action whose answer is not complete."""

    completed_by: str | None
    future: asyncio.Future[Answer]
    reading: Reading | None
    fields: dict[str, str] = field(default_factory=dict)
    items: list[dict[str, str]] = field(default_factory=list)


async def connect(settings: Settings, now: Now, heard: Now, told: Sink, ended: Callable[[], None]) -> Link:
    """Return a link that has been greeted and is not logged in.

    Args:
        settings: Where, and how patient.
        now: The clock.
        heard: Read once per chunk that arrives, and only then: it notes that the PBX was heard.
        told: Takes what every chunk tells, in order; never an empty list.
        ended: Called once when the link ends; then look at `fault`.

    Raises:
        Unreachable: Nobody answers, or not in time.
        Garbled: What answers is no Manager Interface.
    """
    link = Link(settings, now, heard, told, ended)
    place = f"{settings.host}:{settings.port}"
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            await asyncio.get_running_loop().create_connection(
                lambda: link, settings.host, settings.port, ssl=settings.tls
            )
            await link.greeted
    except TimeoutError as exc:
        await link.close()
        raise Unreachable(
            f"No Asterisk Manager Interface answers at {place} within {settings.connect_timeout_s:g} s.",
            hint="Is the address right, and does a firewall or the account's `permit` let this machine in?",
        ) from exc
    except ssl.SSLError as exc:
        raise Unreachable(
            f"No TLS connection to {place}: {exc.reason or exc}.",
            hint="Is this the `tlsbindaddr` port of manager.conf, and is the certificate's CA the configured one?",
        ) from exc
    except OSError as exc:
        raise Unreachable(
            f"No connection to {place}: {exc.strerror or exc}.",
            hint="Does Asterisk run, with `enabled = yes` and this `port` and `bindaddr` in manager.conf?",
        ) from exc
    except BaseException:
        await link.close()
        raise
    return link


class Link(asyncio.Protocol):
    """One connection to one Manager Interface. Make it with `connect`, `close` it always.

    Attributes:
        fault: What ended it; None while it lives.
        booted: Names this run of the PBX in every snapshot; None until somebody knows.
        greeted: Done when the greeting is there.
    """

    def __init__(
        self, settings: Settings, now: Now, heard: Now, told: Sink, ended: Callable[[], None]
    ) -> None:
        self.fault: Exception | None = None
        self.booted: str | None = None
        self._settings = settings
        self._now = now
        self._heard = heard
        self._told = told
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._frames = Frames(_WANTED)
        self._pending: dict[str, _Pending] = {}
        self._ids = count(1)
        self._logged_in = False
        self._last_byte = self._loop.time()
        self._timers: list[asyncio.TimerHandle] = []

    # ---- what the connector asks for

    async def login(self) -> None:
        """Log in, and from then on watch over the link.

        Raises:
            Denied: Asterisk refuses the account.
            Unreachable, Garbled: As everywhere.
        """
        account = {"Username": self._settings.username, "Secret": self._settings.secret}
        # Narrows an account that may see more: VarSet alone is two thirds of all events.
        answer = await self.ask("Login", {**account, "Events": "call,system"})
        if answer.refusal is not None:
            raise Denied(
                f"Asterisk refuses the account {self._settings.username!r}: {answer.refusal}.",
                hint=f"In manager.conf or manager.d/*.conf, section [{self._settings.username}]: `secret`, `permit` for "
                "this machine, `read = call`, `write = reporting`; then `asterisk -rx 'manager reload'`.",
            )
        self._logged_in = True
        self._last_byte = self._loop.time()
        self._timers = [
            self._loop.call_later(self._settings.ping_every_s, self._ping),
            self._loop.call_later(self._settings.silent_after_s, self._listen),
        ]

    async def ask(
        self, action: str, headers: dict[str, str] | None = None, *, reading: Reading | None = None
    ) -> Answer:
        """Send one action and return its complete answer, refusals included.

        Args:
            action: One of `actions.ACTIONS`.
            headers: What goes with it.
            reading: Called with the answer at its place in the stream, before
                anything that follows it is told.

        Raises:
            NotAllowed: The action is not on the list. Nothing was sent.
            Unreachable: The answer did not come in time.
            Exception: The link's `fault`, if that came first.
        """
        action_id = str(next(self._ids))
        data = actions.encode(action, action_id, headers)
        self.check()
        pending = _Pending(actions.ACTIONS[action], self._loop.create_future(), reading)
        self._pending[action_id] = pending
        self._write(data)
        try:
            async with asyncio.timeout(self._settings.answer_timeout_s):
                return await pending.future
        except TimeoutError as exc:
            raise Unreachable(
                f"Asterisk did not answer {action} within {self._settings.answer_timeout_s:g} s.",
                hint="Is it overloaded? `asterisk -rx 'core show uptime'` on the PBX should answer at once.",
                cause=self._cause(),
            ) from exc
        finally:
            del self._pending[action_id]

    async def list_channels(self) -> None:
        """Ask which channels are up; the `Snapshot` is told at its place in the stream.

        Its place is behind the answer to a ping that follows the list: Asterisk writes the
        list past its queue of events, so what happened while it was made, a hangup of a
        listed leg above all, comes between the two. A list by itself may show legs together
        that never were.

        Raises:
            Denied: The account may not list channels.
        """
        requested_at = self._now()
        legs: list[Sighting] = []

        def listed(answer: Answer, at: Instant) -> Event | None:
            legs.extend(parse.listed(row, at) for row in answer.items)
            return None

        def snapshot(_: Answer, at: Instant) -> Event | None:
            return Snapshot(at=at, requested_at=requested_at, legs=tuple(legs), booted=self.booted)

        answer = await self.ask("CoreShowChannels", reading=listed)
        if answer.refusal is not None:
            raise Denied(
                f"Asterisk refuses CoreShowChannels to {self._settings.username!r}: {answer.refusal}.",
                hint=f"The account [{self._settings.username}] in manager.conf needs `write = reporting`; "
                "then `asterisk -rx 'manager reload'`.",
            )
        await self.ask("Ping", reading=snapshot)

    def check(self) -> None:
        """Raise what ended the link; do nothing while it lives."""
        if self.fault is not None:
            raise self.fault

    async def close(self) -> None:
        """End the link now, politely where that costs no waiting. May be called again."""
        if self.fault is None and self._logged_in:
            self._write(actions.encode("Logoff", str(next(self._ids))))
        self._end(self._lost("The link was closed."))
        if self._transport is not None:
            await self._closed

    # ---- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; reading is never paused."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- create_connection makes no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Tell what a chunk tells. Whatever goes wrong with it ends the link."""
        at = self._heard()
        self._last_byte = self._loop.time()
        events: list[Event] = []
        try:
            self._read(data, at, events)
        except Exception as exc:  # noqa: BLE001 -- whoever serves this link raises it again
            fault: Exception | None = exc
        else:
            fault = self._frames.fault
        try:
            if events and self.fault is None:
                self._told(events)
        except Exception as exc:  # noqa: BLE001 -- the sink's bug, raised again likewise
            fault = exc
        if fault is not None:
            self._end(fault)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side cut the line, or `close` did."""
        self._end(
            self._lost("Asterisk cut the connection." if exc is None else f"The connection broke: {exc}.")
        )
        if not self._closed.done():
            self._closed.set_result(None)

    # ---- reading

    def _read(self, data: bytes, at: Instant, events: list[Event]) -> None:
        for message in self._frames.feed(data):
            if message.startswith(b"Event: "):
                event = parse.event(message, at)
                if event is not None:
                    events.append(event)
                    continue
                if message.startswith(_SHUTDOWN):
                    raise self._lost("Asterisk says that it is shutting down.")
            if self._pending:  # else it answers nobody: a ping, another client's list
                event = self._answered(message, at)
                if event is not None:
                    events.append(event)
        if self._frames.greeting is not None and not self.greeted.done():
            self.greeted.set_result(None)

    def _answered(self, message: bytes, at: Instant) -> Event | None:
        row = parse.fields(message)
        pending = self._pending.get(row.get("actionid", ""))
        if pending is None or pending.future.done():
            return None
        if "response" in row:
            pending.fields = row
            complete = pending.completed_by is None or Answer(row).refusal is not None
        else:
            complete = row.get("event") == pending.completed_by
            if not complete:
                pending.items.append(row)
        if not complete:
            return None
        answer = Answer(pending.fields, tuple(pending.items))
        event = pending.reading(answer, at) if pending.reading is not None else None
        pending.future.set_result(answer)
        return event

    # ---- life and death

    def _ping(self) -> None:
        # Nobody waits for the answer: any byte shows that Asterisk lives.
        self._write(actions.encode("Ping", str(next(self._ids))))
        self._timers[0] = self._loop.call_later(self._settings.ping_every_s, self._ping)

    def _listen(self) -> None:
        left_s = self._last_byte + self._settings.silent_after_s - self._loop.time()
        if left_s <= 0:
            self._end(self._lost(f"Nothing was heard from Asterisk for {self._settings.silent_after_s:g} s."))
        else:
            self._timers[1] = self._loop.call_later(left_s, self._listen)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _cause(self) -> Cause:
        return Cause.LINK_LOST if self._logged_in else Cause.PBX_UNREACHABLE

    def _lost(self, message: str) -> Unreachable:
        return Unreachable(message, hint="Nothing to do if it comes back by itself.", cause=self._cause())

    def _end(self, fault: Exception) -> None:
        if self.fault is not None:
            return
        self.fault = fault
        for timer in self._timers:
            timer.cancel()
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(fault)
        if not self.greeted.done():
            self.greeted.set_exception(fault)
            self.greeted.exception()  # nobody need be waiting for it
        if self._transport is not None:
            self._transport.abort()
        self._ended()
