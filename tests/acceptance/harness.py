"""What a whole installation is made of, on loopback: real processes, a simulated Asterisk, a mailbox, webhooks.

A `Site` has all of it and ends all of it. What an operator would type is typed
(`site.meter(...)`, `site.provider(...)`); what the agent shows is asked over its own
socket (`site.status()`); what the two sides have stored is read from their files.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from agent.clock import Clock
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulated.calls import Call
from connectors.asterisk.simulated.exchange import Line
from connectors.asterisk.simulator import LEAST, SimulatedAsterisk
from meter.model import Instant

#: `pbx-meter` and `pbx-meter-provider` as an installation has them, and the first in a hurry.
METER = (sys.executable, "-I", "-m", "agent")
HURRIED = (sys.executable, "-I", str(Path(__file__).with_name("hurried.py")))
PROVIDER = (str(Path(sys.executable).with_name("pbx-meter-provider")),)

KPN, KPN2 = "PJSIP/trunk-kpn", "PJSIP/trunk-kpn2"

#: Word for word what issue 2, section 6, promises to work; `Site` puts its own paths and ports in.
AS_PROMISED = """\
[agent]
id = "ams-01"
state_dir = "/var/lib/pbx-meter"
timezone = "Europe/Amsterdam"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "127.0.0.1"
port = 5038
username = "meter"
secret_file = "/etc/pbx-meter/ami-secret"      # or secret_env, or secret
trunks = ["PJSIP/trunk-kpn", "PJSIP/trunk-kpn2"]
extensions = "^1[0-9]{2}$"

[[tenant]]
id = "acme"
name = "ACME B.V."
match = { trunks = ["PJSIP/trunk-kpn"], extensions = "^1[0-2][0-9]$" }
capacity = 16
packages = [4, 8, 16, 24, 32, 48]
basis = "channels"
alerts = ["noc@partner.example"]
language = "nl"

[[tenant]]
id = "globex"
match = { trunks = ["PJSIP/trunk-kpn2"], extensions = "^13[0-9]$" }
capacity = 8

[smtp]
host = "127.0.0.1"
port = 2525
sender = "meter@partner.example"

[upstream]
url = "http://127.0.0.1:8480"        # plain http only towards loopback
interim = "1h"
"""

#: For trials that can't wait for the end of a month.
AS_TRIED = (
    ('timezone = "Europe/Amsterdam"', 'timezone = "Europe/Amsterdam"\nperiod = "5min"\ngrace = "0s"'),
    ('interim = "1h"', 'interim = "1s"'),
)


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
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


# --- the installation -------------------------------------------------------------------------


class Site:
    """One agent with everything around it.

    Args:
        folder: Its own, empty.
        changes: Of `AS_PROMISED`: what stands there, and what is to stand there instead.
        ahead_ms: How far the agent's and the PBX's clocks are ahead of the machine's;
            None: the agent is started exactly as an operator starts it.

    Attributes:
        asterisk: The PBX; its `exchange.lines` are the truth.
        mailbox, hooks: What arrived by mail and by webhook.
    """

    def __init__(self, folder: Path, changes: Iterable[tuple[str, str]] = (), *, ahead_ms: int | None = None):
        self.folder = folder
        self.state = folder / "state"
        self.books = folder / "books"
        self.config = folder / "pbx-meter.toml"
        self._clock = Clock(ahead_ms=ahead_ms or 0)
        self._ahead_ms = ahead_ms
        self.asterisk = SimulatedAsterisk(self.now)
        self.mailbox = Mailbox(self.now)
        self.hooks: list[Hook] = []
        self.hook_port = 0
        self.provider_port = free_port()
        self.agent: Process | None = None
        self._changes = list(changes)
        self._processes: list[Process] = []
        self._serving: Process | None = None

    def now(self) -> Instant:
        """Return the site's own time."""
        return self._clock.now()

    def forward(self, ms: int) -> None:
        """Let time pass at once, for the PBX, and for the agent from its next start on."""
        assert self._ahead_ms is not None
        self._ahead_ms += ms
        self._clock = Clock(ahead_ms=self._ahead_ms)

    def begin_period(self) -> None:
        """Let it be ten seconds into a period of 5 minutes, before anything was started."""
        self.forward(10_000 - self.now() % 300_000 + (300_000 if self.now() % 300_000 > 10_000 else 0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.provider_port}"

    def write_config(self, changes: Iterable[tuple[str, str]] = ()) -> None:
        """Write the promised configuration with the site's own paths and ports, and further changes."""
        (self.folder / "ami-secret").write_text(LEAST.secret)
        (self.folder / "ami-secret").chmod(0o600)
        text = AS_PROMISED
        for old, new in (
            ("/var/lib/pbx-meter", str(self.state)),
            ("/etc/pbx-meter/ami-secret", str(self.folder / "ami-secret")),
            ("port = 5038", f"port = {self.asterisk.port}"),
            ("port = 2525", f"port = {self.mailbox.port}"),
            ("http://127.0.0.1:8480", self.url),
            *self._changes,
            *changes,
        ):
            assert old in text
            text = text.replace(old, new.replace("HOOK", str(self.hook_port)), 1)
        self.config.write_text(text)

    # --- what an operator types

    async def meter(self, *words: str, within_s: float = 20) -> Said:
        """Run a command of `pbx-meter`."""
        name, *more = words
        takes_config = name not in {"verify"}
        at = 2 if name in {"keys", "chain", "outbox"} else 1
        typed = [*words[:at], *(["--config", str(self.config)] if takes_config else []), *words[at:]]
        return await self._run([*METER, *typed], within_s)

    async def provider(self, *words: str, within_s: float = 20) -> Said:
        """Run a command of `pbx-meter-provider`."""
        return await self._run([*PROVIDER, "--data", str(self.books), *words], within_s)

    async def _run(self, argv: Sequence[str], within_s: float) -> Said:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"COLUMNS": "200"},
        )
        try:
            async with asyncio.timeout(within_s):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Said(process.returncode or 0, out.decode(), err.decode())

    async def serve(self) -> None:
        """Start the provider, and wait until it listens."""
        log = self.folder / "provider.log"
        before = log.read_text().count("listening on") if log.exists() else 0
        argv = [*PROVIDER, "--data", str(self.books), "serve", "--port", str(self.provider_port)]
        self._serving = await self._start(argv, log)
        await until(lambda: log.read_text().count("listening on") > before, within_s=20, what="the provider")

    async def stop_serving(self) -> None:
        """Stop the provider."""
        if self._serving is not None and self._serving.runs:
            await self._serving.stop()

    async def enrol(self, *tenants: str) -> None:
        """Invite the agent and let it enrol."""
        words = [word for tenant in tenants for word in ("--tenant", tenant)]
        invited = await self.provider("enrol-token", "ams-01", *words, "--url", self.url)
        assert invited.code == 0, invited.err
        enrolled = await self.meter("enrol", invited.out.strip())
        assert enrolled.code == 0, enrolled.err

    async def run(self, *, linked: bool = True) -> Process:
        """Start the agent; `linked`: wait until it follows the PBX."""
        program = METER if self._ahead_ms is None else (*HURRIED, str(self._ahead_ms))
        argv = [*program, "run", "--config", str(self.config)]
        self.agent = await self._start(argv, self.folder / "agent.log")
        if linked:
            await self.shows(lambda s: s["pbxs"]["pbx1"]["observed"], what="the link", within_s=20)
        return self.agent

    async def kill(self) -> None:
        """Kill the agent, as a power cut does."""
        assert self.agent is not None
        self.agent.kill()
        await self.agent.ended()

    async def _start(self, argv: Sequence[str], log: Path) -> Process:
        process = await Process.start(argv, log)
        self._processes.append(process)
        return process

    # --- what the agent shows and has stored

    async def status(self) -> dict[str, Any]:
        """Ask the running agent over its socket, as `pbx-meter status` does."""
        connector = aiohttp.UnixConnector(str(self.state / "agent.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://agent/status", timeout=aiohttp.ClientTimeout(5)) as answer,
        ):
            found: dict[str, Any] = await answer.json()
            return found

    async def shows(
        self, condition: Callable[[dict[str, Any]], Any], *, what: str = "", within_s: float = 10
    ) -> dict[str, Any]:
        """Wait until the running agent's status meets a condition, and return it."""
        give_up = time.monotonic() + within_s
        found: dict[str, Any] | str = "no answer"
        while True:
            assert self.agent is None or self.agent.runs, self.logged()
            try:
                found = await self.status()
                if condition(found):
                    return found
            except (aiohttp.ClientError, OSError) as error:
                found = str(error)
            assert time.monotonic() < give_up, f"not within {within_s} s: {what}; {found}\n{self.logged()}"
            await asyncio.sleep(0.02)

    async def level(self, channels: int, tenant: str = "acme", *, within_s: float = 5) -> dict[str, Any]:
        """Wait until the agent shows a level."""
        return await self.shows(
            lambda s: s["tenants"][tenant]["levels"]["channels"]["now"] == channels,
            what=f"{channels} channels of {tenant}",
            within_s=within_s,
        )

    def logged(self) -> str:
        """Return the end of the agent's log."""
        log = self.folder / "agent.log"
        return log.read_text()[-3000:] if log.exists() else ""

    def stored(self, sql: str, *given: Any) -> list[tuple[Any, ...]]:
        """Return rows of the agent's database, as they are on disk now."""
        return _rows(self.state / "meter.db", sql, given)

    def booked(self, sql: str, *given: Any) -> list[tuple[Any, ...]]:
        """Return rows of the provider's books."""
        return _rows(self.books / "books.db", sql, given)

    def sealed(self) -> list[tuple[Any, ...]]:
        """Return (chain, sequence, id, sha256, jws, status, receipt) of every record of the agent."""
        return self.stored(
            "SELECT c.id, sequence, r.id, sha256, jws, status, receipt FROM records r"
            " JOIN chains c ON c.number = r.chain ORDER BY c.number, sequence"
        )

    def taken(self) -> list[tuple[Any, ...]]:
        """Return the same of every record in the provider's books."""
        return self.booked(
            "SELECT c.id, sequence, r.id, sha256, jws, status, receipt FROM records r"
            " JOIN chains c ON c.id = r.chain AND c.agent = r.agent ORDER BY c.number, sequence"
        )

    async def settled(self, *, within_s: float = 15) -> list[tuple[Any, ...]]:
        """Wait until every sealed record has its receipt, and return them."""
        return await until(
            lambda: (found := self.sealed()) and all(row[-1] for row in found) and found,
            within_s=within_s,
            what="a receipt for every record",
        )


def _rows(file: Path, sql: str, given: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as db:
        return db.execute(sql, given).fetchall()


@asynccontextmanager
async def site(
    folder: Path, changes: Iterable[tuple[str, str]] = (), *, ahead_ms: int | None = None
) -> AsyncIterator[Site]:
    """Give a site whose PBX, mailbox and webhook receiver run; whatever else was started ends with the block."""
    folder.mkdir(exist_ok=True)
    it = Site(folder, changes, ahead_ms=ahead_ms)

    async def hook(request: web.Request) -> web.Response:
        body = await request.read()
        it.hooks.append(Hook(it.now(), {k.lower(): v for k, v in request.headers.items()}, body))
        return web.Response(status=204)

    receiver = web.Application()
    receiver.router.add_post("/hook", hook)
    runner = web.AppRunner(receiver, access_log=None)
    await runner.setup()
    try:
        at = web.TCPSite(runner, "127.0.0.1", 0)
        await at.start()
        it.hook_port = runner.addresses[0][1]
        await it.mailbox.start()
        await it.asterisk.start()
        it.write_config()
        yield it
    finally:
        for process in it._processes:
            process.kill()
            await process.ended()
        await it.asterisk.stop()
        await it.mailbox.stop()
        await runner.cleanup()


# --- calls and what is true of them ------------------------------------------------------------


def ring(site: Site, trunk: str = KPN, *, count: int = 1, extension: str = "PJSIP/101") -> list[Call]:
    """Let calls come in on a trunk and ring."""
    return [calls.ring_in(site.asterisk.exchange, trunk, extension) for _ in range(count)]


def talk(site: Site, trunk: str = KPN, *, count: int = 1) -> list[Call]:
    """Let calls come in on a trunk and be answered."""
    begun = ring(site, trunk, count=count)
    for call in begun:
        call.answer()
    return begun


def hang_up(*ending: Call) -> None:
    for call in ending:
        call.hang_up()


def levels_at(lines: Iterable[Line], at: Instant) -> dict[str, int]:
    """Return the three levels that were true at an instant, by the definition and the plainest means."""
    up = [line for line in lines if line.start <= at and (line.end is None or at < line.end)]
    answered = {line.call for line in up if line.answer is not None and line.answer <= at}
    return {"channels": len(up), "calls": len({line.call for line in up}), "answered": len(answered)}


def true_peaks(lines: Iterable[Line]) -> dict[str, int]:
    """Return the highest of each level over all instants at which anything changed."""
    lines = list(lines)
    instants = {at for line in lines for at in (line.start, line.answer, line.end) if at is not None}
    found = [levels_at(lines, at) for at in instants] or [levels_at((), 0)]
    return {level: max(each[level] for each in found) for level in found[0]}
