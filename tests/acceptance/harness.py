"""What a whole installation is made of, on loopback: real processes, a simulated Asterisk, a mailbox, webhooks.

A `Site` has all of it and ends all of it. What an operator would type is typed
(`site.meter(...)`, `site.provider(...)`); what the agent shows is asked over its own
socket (`site.status()`); what the two sides have stored is read from their files.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from agent.clock import Clock
from connectors.asterisk.simulator import LEAST, SimulatedAsterisk
from meter.model import Instant
from tests.acceptance.around import Hook, Mailbox, Process, Said, free_port, until

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


class Site:
    """One agent with everything around it.

    Args:
        folder: Its own, empty.
        changes: Of `AS_PROMISED`: what stands there, and what is to stand there instead.
        ahead_ms: How far the agent's and the PBX's clocks are ahead of the machine's;
            None: the agent is started exactly as an operator starts it.
        silent_s: After how long a silent PBX is taken for dead; with `ahead_ms` only.

    Attributes:
        asterisk: The PBX; its `exchange.lines` are the truth.
        mailbox, hooks: What arrived by mail and by webhook.
    """

    def __init__(
        self,
        folder: Path,
        changes: Iterable[tuple[str, str]] = (),
        *,
        ahead_ms: int | None = None,
        silent_s: float = 25,
    ):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.state = folder / "state"
        self.books = folder / "books"
        self.config = folder / "pbx-meter.toml"
        self._clock = Clock(ahead_ms=ahead_ms or 0)
        self._ahead_ms = ahead_ms
        self._silent_s = silent_s
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

    async def meter(self, *words: str, config: Path | None = None, within_s: float = 20) -> Said:
        """Run a command of `pbx-meter`, on this site's configuration or another."""
        given = [] if words[0] == "verify" else ["--config", str(config or self.config)]
        at = 2 if words[0] in {"keys", "chain", "outbox"} else 1
        return await self._run([*METER, *words[:at], *given, *words[at:]], within_s)

    async def provider(self, *words: str, within_s: float = 20) -> Said:
        """Run a command of `pbx-meter-provider`."""
        return await self._run([*PROVIDER, "--data", str(self.books), *words], within_s)

    async def _run(self, argv: Sequence[str], within_s: float, stdin: int | None = None) -> Said:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
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
        program = METER if self._ahead_ms is None else (*HURRIED, str(self._ahead_ms), str(self._silent_s))
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
    folder: Path,
    changes: Iterable[tuple[str, str]] = (),
    *,
    ahead_ms: int | None = None,
    silent_s: float = 25,
) -> AsyncIterator[Site]:
    """Give a site whose PBX, mailbox and webhook receiver run; whatever else was started ends with the block."""
    it = Site(folder, changes, ahead_ms=ahead_ms, silent_s=silent_s)

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
