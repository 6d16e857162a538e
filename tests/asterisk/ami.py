"""The tests' own AMI connection: drives transfers, pins facts, makes recordings. Not the agent's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.asterisk.configuration import Account

_ANSWER_S: Final = 10.0

#: One message: the last value of each header.
Message: TypeAlias = dict[str, str]


class Refused(Exception):  # noqa: N818 - what Asterisk said, as the tests call it
    """Asterisk answered an action with `Response: Error`; the sentence is its own."""


@dataclass(slots=True)
class Session:
    """One logged-in connection. Made by `session()`.

    Attributes:
        received: Every byte since the connection was made, if it was asked to keep them.
        listener: Called with every event, as it arrives.
        ended: Set once Asterisk has closed the connection.
    """

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    received: bytearray | None = None
    listener: Callable[[Message], None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _answers: dict[str, list[Message]] = field(default_factory=dict)
    _complete: dict[str, asyncio.Event] = field(default_factory=dict)
    _last: int = 0

    async def act(self, action: str, **headers: str) -> list[Message]:
        """Send an action; return its response and, for a list, the events of the list.

        Raises:
            Refused: Asterisk says no.
            TimeoutError: It says nothing.
        """
        self._last += 1
        name = f"t{self._last}"
        self._answers[name], self._complete[name] = [], asyncio.Event()
        lines = {"Action": action, "ActionID": name, **headers}
        self._writer.write("".join(f"{key}: {value}\r\n" for key, value in lines.items()).encode() + b"\r\n")
        async with asyncio.timeout(_ANSWER_S):
            await self._complete[name].wait()
        del self._complete[name]
        answer = self._answers.pop(name)
        if answer[0]["Response"] == "Error":
            raise Refused(f"{action}: {answer[0].get('Message', '')}")
        return answer

    async def read(self) -> None:
        """Read until the connection ends, handing out what arrives."""
        while True:
            try:
                piece = await self._reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionResetError):
                self.ended.set()
                return  # Asterisk closed: what the test asked of it shows whether that was right
            if self.received is not None:
                self.received += piece
            lines = piece.decode(errors="surrogateescape").split("\r\n")
            self._take(dict(line.split(": ", 1) for line in lines if ": " in line))

    def _take(self, message: Message) -> None:
        name = message.get("ActionID", "")
        if name in self._answers:
            self._answers[name].append(message)
            # A list says "start" in its response and "Complete" in its last event.
            more = "EventList" in message or len(self._answers[name]) > 1
            if not more or message.get("EventList") == "Complete":
                self._complete[name].set()
        elif self.listener is not None and "Event" in message:
            self.listener(message)


@asynccontextmanager
async def session(
    host: str,
    port: int,
    account: Account,
    *,
    events: str = "on",
    listener: Callable[[Message], None] | None = None,
    keep: bool = False,
) -> AsyncIterator[Session]:
    """Give a logged-in session; it is closed at the end.

    Raises:
        Refused: The login was refused.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    try:
        banner = await reader.readline()
        made = Session(reader, writer, bytearray(banner) if keep else None, listener)
        async with lone_errors(), asyncio.TaskGroup() as group:
            reading = group.create_task(made.read())
            await made.act("Login", Username=account.name, Secret=account.secret, Events=events)
            yield made
            reading.cancel()
    finally:
        writer.close()


@asynccontextmanager
async def lone_errors() -> AsyncIterator[None]:
    """Raise the one error of a task group as itself, so that a test can name it."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None
