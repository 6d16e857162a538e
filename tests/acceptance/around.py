"""What stands around an agent on loopback: processes of the test's own, a mailbox, webhooks, and patience."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from meter.model import Instant


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def free_port() -> int:
    """Return a port that nobody listens on, and that no outgoing connection is given by chance meanwhile."""
    while True:
        port = random.randrange(15_000, 32_000)  # Linux gives from 32768 on
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def until(condition: Callable[[], Any], *, within_s: float = 10, what: str = "") -> Any:
    """Wait for a condition and return what it returned."""
    give_up = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < give_up, f"not within {within_s} s: {what or condition}"
        await asyncio.sleep(0.01)
    return found


class Process:
    """A process of the test's own, its output in a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(cls, argv: Sequence[str], log: Path) -> Self:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        return cls(process, log)

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    def kill(self) -> None:
        """Kill it this very moment, as a power cut does; `ended` waits for it."""
        if self.runs:
            self._process.send_signal(signal.SIGKILL)

    async def ended(self, *, within_s: float = 10) -> int:
        async with asyncio.timeout(within_s):
            return await self._process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = 10) -> int:
        self._process.send_signal(number)
        return await self.ended(within_s=within_s)


# --- the other sides ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Mail:
    """A mail, and when it arrived."""

    at: Instant
    message: EmailMessage


@dataclass
class Mailbox:
    """An SMTP server with moods.

    Attributes:
        mails: What it was given after DATA, whatever it answered.
        recipient, data: Its answers.
        open: Cleared, it says nothing any more once it has a mail.
    """

    now: Callable[[], Instant]
    port: int = field(default_factory=free_port)
    mails: list[Mail] = field(default_factory=list)
    recipient: str = "250 OK"
    data: str = "250 OK: queued"
    open: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _sessions: list[SMTP] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _s: SMTP, _n: Session, envelope: Envelope, address: str, _o: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.recipient

    async def handle_DATA(self, _s: SMTP, _n: Session, envelope: Envelope) -> str:  # noqa: N802 - likewise
        message = message_from_bytes(envelope.content or b"", policy=policy.default)
        self.mails.append(Mail(self.now(), message))
        await self.open.wait()
        return self.data

    async def start(self) -> None:
        self.open.set()
        loop = asyncio.get_running_loop()

        def session() -> SMTP:
            self._sessions.append(SMTP(self, loop=loop, hostname="mx.example"))
            return self._sessions[-1]

        self._server = await loop.create_server(session, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Be down: nobody listens, and who was connected is cut off."""
        if self._server is None:
            return
        self.open.set()
        self._server.close()
        for each in self._sessions:
            if each.transport is not None:
                each.transport.abort()
        self._sessions.clear()
        await self._server.wait_closed()
        self._server = None


@dataclass(frozen=True)
class Hook:
    """One POST that a webhook was given."""

    at: Instant
    headers: dict[str, str]
    body: bytes
