"""A configuration that is read again while calls are up: nothing is missed, nothing is counted twice, and no gap opens."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import pytest

from agent import app, running, status
from agent.store.database import NAME
from config.load import load
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulator import SimulatedAsterisk
from meter.model import Level
from tests.acceptance.around import until
from tests.integration.agent.conftest import Rows, rows

KPN = "PJSIP/trunk-kpn"
TEXT = """\
[agent]
id = "{agent}"
state_dir = "{state}"
timezone = "Europe/Amsterdam"

[page]
enabled = false

[[tenant]]
id = "acme"
default = true
capacity = {capacity}
"""
PBX = """
[[pbx]]
name = "{name}"
kind = "asterisk"
host = "127.0.0.1"
port = {port}
username = "meter"
secret = "only-for-simulations"
trunks = [{trunks}]
extensions = "1[0-9]{{2}}"
"""
HOTEL = """
[[tenant]]
id = "hotel"
match = { accounts = ["hotel"] }
capacity = 1
"""


@dataclass
class Trial:
    file: Path
    state: Path
    exchanges: dict[str, SimulatedAsterisk]
    parts: Callable[[], app.Agent]
    turning: Callable[[], running.Running]

    def reread(self) -> Callable[[], Any]:
        found = self.turning()._reread
        assert found is not None
        return found

    def rereads(self, read: Callable[[], Any]) -> None:
        self.turning()._reread = read

    def write(
        self,
        *pbxs: str,
        capacity: int = 9,
        more: str = "",
        agent: str = "ams-01",
        trunks: str = '"PJSIP/trunk-kpn"',
    ) -> None:
        text = TEXT.format(agent=agent, state=self.state, capacity=capacity)
        for name in pbxs or ("one",):
            text += PBX.format(name=name, port=self.exchanges[name].port, trunks=trunks)
        self.file.write_text(text + more)

    async def reload(self) -> dict[str, Any]:
        found = await status.reload(self.state / "agent.sock")
        assert found is not None
        return found

    async def said(self) -> dict[str, Any]:
        """Return what `pbx-meter status` is told."""
        found = await status.ask(self.state / "agent.sock")
        assert found is not None
        return found

    def now(self, tenant: str = "acme") -> int:
        return self.parts().sampling.levels.now(tenant)[Level.CHANNELS]

    async def sees(self, level: int, tenant: str = "acme") -> None:
        await until(lambda: self.now(tenant) == level, what=f"{tenant} at {level}, not {self.now(tenant)}")

    async def seen(self, pbx: str) -> None:
        await until(
            lambda: (found := self.parts().sampling.levels.pbxs.get(pbx)) is not None and found.gap is None,
            what=f"{pbx} is seen",
        )

    async def written(self) -> None:
        await self.parts().sampling.commit()

    def rows(self, sql: str) -> Rows:
        return rows(self.state / NAME, sql)


@pytest.fixture
def tried(tmp_path: Path) -> Callable[..., Any]:
    """Let a whole agent run beside simulated PBXs, as `pbx-meter run` does."""

    @asynccontextmanager
    async def run(*pbxs: str) -> AsyncIterator[Trial]:
        began: asyncio.Future[app.Agent] = asyncio.get_running_loop().create_future()
        one = SimulatedAsterisk(running.Clock().now)
        two = SimulatedAsterisk(running.Clock().now)
        async with one, two, asyncio.TaskGroup() as group:
            held: list[running.Running] = []
            trial = Trial(
                tmp_path / "c.toml",
                tmp_path / "state",
                {"one": one, "two": two},
                lambda: held[0].parts,
                lambda: held[0],
            )
            trial.write(*pbxs)

            def read() -> Any:
                return load(trial.file)

            async def turn() -> None:
                async with app.agent(read()) as parts:
                    held.append(running.Running(parts, 0.05, read))
                    await held[0].turn(began.set_result)

            turning = group.create_task(turn())
            await began
            for name in pbxs or ("one",):
                await trial.seen(name)
            yield trial
            turning.cancel()

    return run


async def test_terms_change_under_calls(tried):
    """A lower capacity holds from the reload on: the link stays, no gap opens, calls go on, and their notice goes out."""
    async with tried() as trial:
        up = [calls.ring_in(trial.exchanges["one"].exchange, KPN, "PJSIP/101") for _ in range(3)]
        await trial.sees(3)
        trial.write(capacity=2)
        assert await trial.reload() == {"problems": [], "kept": ["one"], "anew": [], "gone": []}
        await trial.sees(3)
        up.append(calls.ring_in(trial.exchanges["one"].exchange, KPN, "PJSIP/102"))
        await trial.sees(4)
        said = await trial.said()
        assert (
            said["tenants"]["acme"]["capacity"],
            said["tenants"]["acme"]["levels"]["channels"]["now"],
        ) == (2, 4)
        await until(lambda: trial.rows("SELECT 1 FROM notices"), what="the notice")
        for call in up:
            call.hang_up()
        await trial.sees(0)
        await trial.written()
        assert trial.rows("SELECT count(*) FROM gaps WHERE started > 0") == [(0,)]
        assert trial.rows("SELECT count(*), count(ended) FROM legs") == [(4, 4)]
        assert trial.rows("SELECT lines FROM terms ORDER BY at") == [(9,), (2,)]
        figures = trial.parts().sampling.view("acme", trial.parts().clock.now())
        assert figures.levels[Level.CHANNELS].peak.level == 4
        assert len(trial.exchanges["one"]._sessions) == 1


async def test_a_tenant_comes_and_goes(tried):
    """A new tenant's calls are its own from the reload on; what is up stays whose it was; a tenant that goes ends nothing."""
    async with tried() as trial:
        exchange = trial.exchanges["one"].exchange
        old = calls.ring_in(exchange, KPN, "PJSIP/101", account="hotel")
        await trial.sees(1)
        trial.write(more=HOTEL)
        await trial.reload()
        new = calls.ring_in(exchange, KPN, "PJSIP/102", account="hotel")
        await trial.sees(1, "hotel")
        await trial.sees(1)
        trial.write()
        await trial.reload()
        new.hang_up()
        old.hang_up()
        await trial.sees(0)
        await trial.written()
        assert trial.rows("SELECT count(*), count(ended) FROM legs") == [(2, 2)]
        assert trial.rows("SELECT count(*) FROM gaps WHERE started > 0") == [(0,)]


async def test_nothing_falls_between(tried):
    """Calls that begin and end at any moment of twenty reloads are all in the ledger, each once, without a gap."""
    async with tried() as trial:
        exchange = trial.exchanges["one"].exchange
        made = 0
        ends = asyncio.Event()

        async def ring() -> None:
            nonlocal made
            up: list[calls.Call] = []
            while not ends.is_set():
                up.append(calls.ring_in(exchange, KPN, "PJSIP/101"))
                made += 1
                await asyncio.sleep(0.002)
                if len(up) > 5:
                    up.pop(0).hang_up()
            for call in up:
                call.hang_up()

        ringing = asyncio.create_task(ring())  # noqa: TID251 - the test's own
        for turn in range(20):
            trial.write(capacity=3 + turn % 2, more=HOTEL if turn % 3 else "")
            assert not (await trial.reload())["problems"]
        ends.set()
        await ringing
        await trial.sees(0)
        await trial.written()
        assert made > 50
        assert trial.rows("SELECT count(*), count(ended), count(DISTINCT leg) FROM legs") == [
            (made, made, made)
        ]
        assert trial.rows("SELECT count(*) FROM gaps WHERE started > 0") == [(0,)]
        figures = trial.parts().sampling.view("acme", trial.parts().clock.now())
        assert figures.levels[Level.CHANNELS].peak.level == 6
        watched = trial.parts().sampling.levels.pbxs["one"]
        assert (watched.missed_starts, watched.missed_hangups) == (0, 0)


async def test_only_the_pbx_that_changed(tried):
    """A PBX whose section changed is followed anew, and its calls that are still up go on; the other one has no gap."""
    async with tried("one", "two") as trial:
        first = calls.ring_in(trial.exchanges["one"].exchange, KPN, "PJSIP/101")
        second = calls.ring_in(trial.exchanges["two"].exchange, KPN, "PJSIP/101")
        await trial.sees(2)
        text = trial.file.read_text()
        head, one, two = text.split("[[pbx]]")
        two = two.replace('"1[0-9]{2}"', '"[12][0-9]{2}"')
        trial.file.write_text(f"{head}[[pbx]]{one}[[pbx]]{two}")
        assert await trial.reload() == {"problems": [], "kept": ["one"], "anew": ["two"], "gone": []}
        await trial.seen("two")
        await trial.sees(2)
        first.hang_up()
        second.hang_up()
        await trial.sees(0)
        await trial.written()
        assert trial.rows("SELECT count(*), count(ended) FROM legs") == [(2, 2)]
        assert trial.rows(
            "SELECT w.text, cause FROM gaps JOIN words w ON w.id = gaps.pbx WHERE started > 0"
        ) == [("two", "link_lost")]


async def test_a_pbx_comes_and_goes(tried):
    """A PBX that is added is followed; one that is taken out is left, its calls end where it was last heard."""
    async with tried() as trial:
        trial.write("one", "two")
        assert (await trial.reload())["anew"] == ["two"]
        await trial.seen("two")
        calls.ring_in(trial.exchanges["one"].exchange, KPN, "PJSIP/101")
        calls.ring_in(trial.exchanges["two"].exchange, KPN, "PJSIP/101")
        await trial.sees(2)
        assert list((await trial.said())["pbxs"]) == ["one", "two"]
        trial.write("two")
        assert await trial.reload() == {"problems": [], "kept": ["two"], "anew": [], "gone": ["one"]}
        assert list((await trial.said())["pbxs"]) == ["two"]
        await trial.sees(1)
        await until(lambda: not trial.exchanges["one"]._sessions, what="hung up")
        assert trial.rows("SELECT count(*), count(ended) FROM legs") == [(2, 1)]


async def test_refused(tried):
    """What is wrong, or another agent's, is refused with what to do; the agent goes on as it was."""
    async with tried() as trial:
        calls.ring_in(trial.exchanges["one"].exchange, KPN, "PJSIP/101")
        await trial.sees(1)
        trial.file.write_text(trial.file.read_text() + "\n[[tenant]]\nid = 3\n")
        (problem,) = (await trial.reload())["problems"]
        assert "tenant[1].id" in problem
        trial.write(agent="ams-02")
        (problem,) = (await trial.reload())["problems"]
        assert "[agent] id" in problem
        assert "systemctl restart" in problem
        calls.ring_in(trial.exchanges["one"].exchange, KPN, "PJSIP/102")
        await trial.sees(2)
        assert trial.rows("SELECT lines FROM terms") == [(9,)]


async def test_a_full_disk(tried):
    """While the ledger can't be written a reload is refused, and the PBX that was to be followed anew is followed again."""
    async with tried() as trial:
        trial.write(trunks='"PJSIP/trunk-kpn", "PJSIP/other"')
        limits = trial.parts().store
        await limits.write(lambda db: db.conn.execute("PRAGMA query_only = ON"))
        (problem,) = (await trial.reload())["problems"]
        assert problem
        await limits.read(lambda db: db.conn.execute("PRAGMA query_only = OFF"))
        await trial.seen("one")
        calls.ring_in(trial.exchanges["one"].exchange, KPN, "PJSIP/101")
        await trial.sees(1)


async def test_what_is_held_and_what_was_told_stays(tried):
    """A final that waits for the clock goes on waiting, and a trouble that stands is not told again."""
    async with tried() as trial:
        trial.parts().closing.away_ms = 90_000_000
        await trial.parts().troubles.look()
        cases = trial.parts().troubles._cases
        trial.write(capacity=4)
        await trial.reload()
        assert trial.parts().closing.away_ms == 90_000_000
        assert trial.parts().troubles._cases == cases


async def test_an_authority_that_can_not_be_read(tried, tmp_path):
    """A file that is gone between the check and the reload refuses it before anything has changed."""
    async with tried() as trial:
        before = trial.parts()
        file = tmp_path / "ca.pem"
        file.write_bytes(Path(certifi.where()).read_bytes())  # noqa: ASYNC240 - once, at the start
        hook = f'\n[[webhook]]\nid = "h"\nurl = "https://127.0.0.1:9/"\nca_file = "{file}"\n'
        trial.write(capacity=4, more=hook)
        read = trial.reread()

        def later() -> Any:
            found = read()
            file.unlink()
            return found

        trial.rereads(later)
        assert (await trial.reload())["problems"]
        assert trial.parts() is before
        assert trial.rows("SELECT lines FROM terms") == [(9,)]


async def test_by_signal(tried):
    """SIGHUP does the same."""
    async with tried() as trial:
        trial.write(capacity=4)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: trial.parts().sampling.contracts["acme"].terms.lines == 4, what="reloaded")
