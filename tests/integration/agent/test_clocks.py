"""What a wall clock that is set, a summer that ends and a machine that sleeps do to a bill: nothing.

A whole agent follows a simulated Asterisk while its machine's clock is played with.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from agent import app, health, running
from agent.clock import Clock
from agent.store import records
from config.model import Config
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulator import SimulatedAsterisk
from meter import periods, signature
from meter.model import Direction
from meter.periods import HOUR_MS
from tests.acceptance.around import until
from tests.unit.agent.conftest import HandClock, Office

FIVE_MS = 300_000
KPN = "PJSIP/trunk-kpn"
#: What a machine that two others work on may take for a thing that takes no time.
SLACK_MS = 8_000


class Machine(Clock):
    """A real clock that can be set, on a machine that can sleep."""

    def __init__(self) -> None:
        self.set_ms = self.slept_ms = 0
        super().__init__()

    def wall(self) -> int:
        return super().wall() + self.set_ms + self.slept_ms

    def boot(self) -> int:
        return super().boot() + self.slept_ms


@dataclass
class Trial:
    parts: app.Agent
    asterisk: SimulatedAsterisk
    machine: Machine

    def now(self) -> int:
        return self.parts.clock.now()

    @property
    def seen(self) -> bool:
        return self.parts.sampling.observed("acme")

    async def seen_again(self, what: str) -> None:
        await until(lambda: self.parts.sampling.levels.pbxs["pbx1"].gap is None, what=what)

    async def after(self, ms: int) -> None:
        """Let real time pass, by the clock that nobody sets."""
        began = Clock().boot()
        await until(lambda: Clock().boot() - began >= ms)

    async def tokens(self) -> list[str]:
        return [r.jws for r in await self.parts.store.read(lambda db: list(records.every(db)))]

    async def finals(self, up_to: int) -> list[dict[str, Any]]:
        """Wait for the finals of all periods up to one that ends at an instant, and return what they say."""
        found: list[dict[str, Any]] = []
        for _ in range(800):
            said = [json.loads(signature.unverified_payload(t, signature.TYP_RECORD)) for t in await self.tokens()]  # fmt: skip
            found = [each["data"] for each in said if each["data"]["kind"] == "final"]
            if found and ms(found[-1]["period"]["end"]) >= up_to:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"finals up to {up_to}: {[each['period'] for each in found]}; {self.parts.closing.held}")  # fmt: skip


def ms(text: str) -> int:
    from datetime import datetime  # noqa: PLC0415 - only here

    return periods.instant(datetime.fromisoformat(text))


def no_time_twice(finals: list[dict[str, Any]]) -> None:
    """Periods follow one another; in each, seen and unseen time add up to it, to the millisecond; nothing is negative."""
    for before, after in itertools.pairwise(finals):
        assert before["period"]["end"] == after["period"]["start"]
    for final in finals:
        length = ms(final["period"]["end"]) - ms(final["period"]["start"])
        coverage = final["coverage"]
        assert coverage["expected_ms"] == length
        assert coverage["observed_ms"] + coverage["gaps"]["total_ms"] == length
        assert 0 <= coverage["observed_ms"] <= length
        for level in final["levels"].values():
            at_level = (level["time_at_level_ms"] or {}).values()
            assert sum(at_level) == coverage["observed_ms"]
            assert all(each >= 0 for each in at_level)
        for direction in final["traffic"].values():
            assert direction["answered_ms"] >= 0
            assert direction["billable_s"] >= 0


def stepped(finals: list[dict[str, Any]]) -> tuple[int, int, int]:
    blocks = [final["clock"] for final in finals]
    return (
        sum(block["steps"] for block in blocks),
        max(block["largest_step_ms"] for block in blocks),
        sum(block["repeated_ms"] for block in blocks),
    )


def answered_ms(finals: list[dict[str, Any]]) -> int:
    return sum(d["answered_ms"] for final in finals for d in final["traffic"].values())


def causes(finals: list[dict[str, Any]]) -> set[str]:
    return {gap["cause"] for final in finals for gap in final["coverage"]["gaps"]["list"]}


@pytest.fixture
def tried(write_config: Callable[..., Config]) -> Callable[..., Any]:
    """Let a whole agent run; its periods last five minutes, and the present one has just begun."""

    @asynccontextmanager
    async def run(*, synchronised: bool | None = True) -> AsyncIterator[Trial]:
        machine = Machine()
        machine.slept_ms = 10_000 - machine.wall() % FIVE_MS + FIVE_MS
        Clock.__init__(machine)
        began: asyncio.Future[app.Agent] = asyncio.get_running_loop().create_future()

        def started(parts: app.Agent) -> None:
            parts.closing._synchronised = lambda: synchronised
            began.set_result(parts)

        async with SimulatedAsterisk(Clock().now) as asterisk, asyncio.TaskGroup() as group:
            config = write_config(period="5min", grace="0s", port=asterisk.port)
            turning = group.create_task(running.run(config, machine, look_every_s=0.05, started=started))
            trial = Trial(await began, asterisk, machine)
            await trial.seen_again("the link")
            yield trial
            turning.cancel()

    return run


async def test_set_forward(tried):
    """An hour forward, over twelve ends of periods, is a gap `clock_step` of an hour in which nothing was seen."""
    async with tried() as trial:
        call = calls.ring_in(trial.asterisk.exchange, KPN, "PJSIP/101")
        call.answer()
        await trial.after(300)
        trial.machine.set_ms += HOUR_MS
        await until(lambda: trial.now() and not trial.seen, what="the gap")
        await trial.seen_again("the snapshot")
        await trial.after(300)
        call.hang_up()
        await trial.after(300)
        end = trial.now() - trial.now() % FIVE_MS + FIVE_MS
        trial.machine.slept_ms += FIVE_MS
        finals = await trial.finals(end)

    no_time_twice(finals)
    steps, largest, repeated = stepped(finals)
    assert (steps, repeated) == (1, 0)
    assert abs(largest - HOUR_MS) < SLACK_MS
    assert "clock_step" in causes(finals)
    assert sum(f["coverage"]["observed_ms"] for f in finals) < SLACK_MS + FIVE_MS
    assert max(f["levels"]["channels"]["peak"] or 0 for f in finals) == 1


async def test_a_skipped_hour_is_not_charged(write_config, clock):
    """A call of ten seconds through whose middle the wall clock was set an hour forward took ten seconds."""
    config = write_config(period="month", rest='\n[upstream]\nurl = "http://127.0.0.1:9"\n')
    async with app.agent(config, clock) as parts:
        office = Office(parts, clock)
        office.snapshot()
        leg = office.call()
        await office.live(5_000)
        clock.step(HOUR_MS)
        await office.live(1_000)
        office.snapshot(leg)
        await office.live(4_000)
        office.hang_up(leg)
        traffic = parts.sampling.view("acme", clock.now()).traffic[Direction.IN]

    assert traffic.answered_ms <= 11_000
    assert traffic.billable_s <= 11


async def test_set_back(tried):
    """An hour back: meter time stands still, nothing is sealed meanwhile, and the hour that is said twice is counted once."""
    async with tried() as trial:
        call = calls.ring_in(trial.asterisk.exchange, KPN, "PJSIP/101")
        call.answer()
        await trial.after(300)
        stood = trial.now()
        trial.machine.set_ms -= HOUR_MS
        await until(lambda: trial.parts.closing.held, what="held")
        assert "wall clock is behind" in trial.parts.closing.held
        assert any("wall clock is behind" in line for line in (await trial.parts.status.read(trial.now()))["trouble"])  # fmt: skip
        before = await trial.tokens()
        await trial.after(600)
        assert await trial.tokens() == before
        assert trial.now() - stood < 1_000
        more = calls.ring_in(trial.asterisk.exchange, KPN, "PJSIP/102")
        more.answer()
        await trial.after(300)
        more.hang_up()
        trial.machine.slept_ms += HOUR_MS  # the hour passes
        await trial.after(300)
        await trial.seen_again("the snapshot")
        call.hang_up()
        await trial.after(300)
        end = trial.now() - trial.now() % FIVE_MS + FIVE_MS
        trial.machine.slept_ms += FIVE_MS
        finals = await trial.finals(end)

    no_time_twice(finals)
    steps, largest, repeated = stepped(finals)
    assert steps == 1
    assert abs(largest - HOUR_MS) < SLACK_MS
    assert abs(repeated - HOUR_MS) < SLACK_MS
    assert max(f["levels"]["channels"]["peak"] or 0 for f in finals) == 1  # the other one took no time
    assert sum(f["traffic"]["in"]["legs"] for f in finals) == 2
    assert sum(f["coverage"]["expected_ms"] for f in finals) <= 2 * FIVE_MS


async def test_asleep(tried):
    """A machine that slept for an hour saw nothing for an hour: a gap, no step, and the call that lived through it is proved."""
    async with tried() as trial:
        call = calls.ring_in(trial.asterisk.exchange, KPN, "PJSIP/101")
        call.answer()
        await trial.after(300)
        trial.machine.slept_ms += HOUR_MS
        await until(lambda: not trial.seen, what="the gap")
        await trial.seen_again("the snapshot")
        call.hang_up()
        await trial.after(300)
        end = trial.now() - trial.now() % FIVE_MS + FIVE_MS
        trial.machine.slept_ms += FIVE_MS
        finals = await trial.finals(end)

    no_time_twice(finals)
    assert stepped(finals) == (0, 0, 0)
    assert causes(finals) == {"not_installed", "agent_stalled"}
    gaps = [g for f in finals for g in f["coverage"]["gaps"]["list"] if g["cause"] == "agent_stalled"]
    assert sum(ms(g["end"]) - ms(g["start"]) for g in gaps) >= HOUR_MS
    asleep = [f for f in finals if f["coverage"]["observed_ms"] == 0]
    assert len(asleep) >= 10
    assert {f["levels"]["channels"]["peak"] for f in asleep} <= {None, 1}
    assert answered_ms(finals) <= HOUR_MS + SLACK_MS  # what was sealed before the proof came does not hold it


@pytest.mark.parametrize(("synchronised", "hours", "held"), [(False, 2, True), (False, 0.5, False), (None, 2, False), (True, 2, False)])  # fmt: skip
async def test_a_clock_nobody_keeps(tried, synchronised, hours, held):
    """Finals wait, and say for what, only while the clock is known to be unsynchronised and has moved by over an hour."""
    async with tried(synchronised=synchronised) as trial:
        trial.machine.set_ms += round(hours * HOUR_MS)
        await until(lambda: trial.now() and not trial.seen, what="the gap")
        await trial.seen_again("the snapshot")
        if not held:
            finals = await trial.finals(trial.now() - trial.now() % FIVE_MS)
            assert finals[-1]["clock"]["synchronised"] is synchronised
            return
        await until(lambda: trial.parts.closing.held, what="held")
        trouble = (await trial.parts.status.read(trial.now()))["trouble"]
        assert any("timedatectl" in line for line in trouble)
        assert not [t for t in await trial.tokens() if '"kind":"final"' in signature.unverified_payload(t, signature.TYP_RECORD).decode()]  # fmt: skip
        trial.parts.closing._synchronised = lambda: True  # somebody has seen to it
        finals = await trial.finals(trial.now() - trial.now() % FIVE_MS)
        assert finals[-1]["clock"]["synchronised"] is True


@pytest.mark.parametrize(("begin", "name", "hours"), [("2026-10-24T20:00Z", "2026-10-25", 25), ("2027-03-27T21:00Z", "2027-03-28", 23)])  # fmt: skip
async def test_summer_begins_and_ends(write_config, begin, name, hours):
    """The local day on which clocks change has 25 or 23 hours, each of them once, and no step."""
    clock = HandClock(ms(begin.replace("Z", "+00:00")))
    config = write_config(period="day", grace="0s", rest='\n[upstream]\nurl = "http://127.0.0.1:9"\n')
    async with app.agent(config, clock) as parts:
        parts.closing.position_known = True
        parts.closing._synchronised = lambda: True
        office = Office(parts, clock)
        for _ in range(60 * 2):
            office.snapshot()
            leg = office.call()
            clock.advance(1_000)
            parts.sampling.mind_time()
            office.hang_up(leg)
            clock.advance(HOUR_MS // 2 - 1_000)
            parts.sampling.mind_time()
            office.snapshot()
            await parts.sampling.commit()
            await parts.closing.seal_due()
        said = [json.loads(signature.unverified_payload(r.jws, signature.TYP_RECORD))["data"] for r in await parts.store.read(lambda db: list(records.every(db)))]  # fmt: skip

    finals = [each for each in said if each["kind"] == "final"]
    no_time_twice(finals)
    (day,) = [each for each in finals if each["period"]["name"] == name]
    assert day["coverage"]["expected_ms"] == hours * HOUR_MS
    assert day["traffic"]["in"]["legs"] == 2 * hours
    assert day["traffic"]["in"]["answered_ms"] == 2 * hours * 1_000
    assert stepped(finals) == (0, 0, 0)
    (series,) = [each for each in said if each["kind"] == "minute-series" and each["day"]["name"] == name]
    assert {k: series["day"][k] for k in ("start", "end")} == {k: day["period"][k] for k in ("start", "end")}


def test_the_kernel_says_whether_its_clock_is_kept():
    """What the agent states of the machine's clock is what the kernel says, read by another program."""
    asked = (
        "import ctypes\n"
        "class T(ctypes.Structure):\n"
        "    _fields_ = [('modes', ctypes.c_uint)] + [(n, ctypes.c_long) for n in ('offset', 'freq', 'maxerror', 'esterror')]"
        " + [('status', ctypes.c_int), ('rest', ctypes.c_byte * 400)]\n"
        "t = T(); s = ctypes.CDLL(None).adjtimex(ctypes.byref(t))\n"
        "print('None' if s < 0 else s != 5 and not t.status & 0x40)\n"
    )
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout

    assert str(health.clock_is_synchronised()) == said.strip()
    assert ctypes.sizeof(ctypes.c_long) == 8  # the only layout that was looked at
