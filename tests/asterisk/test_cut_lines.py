"""Between the agent and a real Asterisk stands a bad line; or the agent itself stands still. Nothing is invented."""

from __future__ import annotations

import asyncio
import functools
import signal
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent import app, configured, supervisor
from agent.clock import Clock
from config.model import Config
from meter.model import Cause, Gap
from tests.asterisk import agents, ami, proxy
from tests.asterisk.agents import Kept
from tests.asterisk.calls import mix
from tests.asterisk.instance import Instance
from tests.asterisk.network import Network, Placed
from tests.asterisk.patience import until
from tests.asterisk.proxy import Line, wall
from tests.asterisk.test_metering import at_the_start_of_a_period, live, recomputed, running, settled, stated
from tests.asterisk.wire import Wire, WireLeg

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(400)]

#: How much later than Asterisk said it the agent hears of it over the late line.
LATE_S = 0.4


@dataclass(slots=True)
class Beside:
    """One agent behind a line of its own.

    Attributes:
        samples: What it said the levels were while it thought that it watched: (when, levels by tenant).
        faults: What was done to its line: (since when, until when, first observed again).
    """

    line: Line
    home: Path
    config: Config
    clock: Clock
    parts: app.Agent
    samples: list[tuple[int, dict[str, dict[str, int]]]] = field(default_factory=list)
    faults: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def ahead_ms(self) -> int:
        return self.clock.wall() - Clock().wall()

    @property
    def observes(self) -> bool:
        return self.parts.links[0].up and self.parts.sampling.levels.pbxs["pbx1"].gap is None

    def sample(self) -> None:
        """Note the levels now, if the agent says that it knows them."""
        if self.observes:
            levels = self.parts.sampling.levels
            now = {
                tenant: {k.value: n for k, n in levels.now(tenant).items()} for tenant in ("acme", "globex")
            }
            self.samples.append((wall(), now))

    async def lose(self, spoil: Callable[[], None], mend: Callable[[], None], *, within_s: float) -> None:
        """Spoil the line, wait until the agent noticed, mend it, and wait for the first levels after it."""
        connected = len(self.line.accepted_ms)
        spoil()
        since = wall()
        await until(lambda: not self.parts.links[0].up, within_s=within_s)
        if self.line.cut_ms and self.line.cut_ms[-1] >= since:
            since = self.line.cut_ms[-1]
        mended = wall()
        mend()
        await until(lambda: self.observes, within_s=within_s)
        self.sample()
        assert len(self.line.accepted_ms) == connected + 1, "one reconnection is enough"
        self.faults.append((since, mended, wall()))


@asynccontextmanager
async def beside(
    instance: Instance,
    home: Path,
    *,
    account: str = "meter",
    crumb: int = 0,
    delay_s: float = 0.0,
    clock: Clock | None = None,
) -> AsyncIterator[Beside]:
    """An agent that follows Asterisk over a line of its own."""
    async with proxy.standing(instance.host, instance.ami_port) as line:
        line.crumb, line.delay_s = crumb, delay_s
        config = agents.loaded(agents.configured(instance, home, line=line, account=account))
        clock = clock or at_the_start_of_a_period()
        async with running(config, clock) as parts:
            await until(lambda: parts.sampling.levels.pbxs["pbx1"].gap is None, within_s=10)
            yield Beside(line, home, config, clock, parts)


def impatient(patch: pytest.MonkeyPatch, silent_s: float) -> None:
    """Shorten the agents' waits and their patience with a silent PBX, for a test that can't wait."""
    patch.setattr(
        configured,
        "Settings",
        functools.partial(configured.Settings, ping_every_s=silent_s / 2.5, silent_after_s=silent_s),
    )
    patch.setattr(supervisor, "FIRST_WAIT_S", 0.3)
    patch.setattr(supervisor, "WORKED_MS", 300)


async def figures(one: Beside) -> dict[str, dict[str, Any]]:
    """Return an agent's figures, folded again: they are the same as the live ones."""
    content = await recomputed(one.parts, one.config)
    for tenant, found in content.items():
        assert live(one.parts, tenant) == stated(found)
    return content


def account(
    one: Beside, placed: Placed, seen: list[WireLeg], content: dict[str, dict[str, Any]], found: Kept
) -> list[str]:
    """Hold one agent's figures, legs and samples against the wire; return what was found."""
    lines = agents.compare_watched(placed, seen, content, found)
    late_ms = 0 if one.faults else one.line.late_ms  # what waited in a silent line was never heard
    lines.append(agents.compare_legs(seen, found, late_ms=late_ms, lag_ms=round(one.line.delay_s * 1000)))
    spans, sure = {}, {}
    for tenant in content:
        mine = [leg for leg in seen if placed.tenant(leg) == tenant]
        spans[tenant] = agents.levels(mine, placed.merges)
        sure[tenant] = agents.levels(agents.told(mine, found.blind), placed.merges)
    compared = 0
    for at, levels in one.samples:
        if any(start <= at < end for start, end in found.blind):
            continue  # a line that was silent already, as turned out later
        compared += 1
        for tenant, now in levels.items():
            for level, count in now.items():
                told = at - late_ms // 2, agents.TOLD_MS + late_ms // 2
                low, _ = agents.level_bounds(sure[tenant][level], *told)
                _, high = agents.level_bounds(spans[tenant][level], *told)
                assert low <= count <= high, (at, tenant, level, count, low, high, found.blind)
    assert one.samples[-1][1] == {t: {"channels": 0, "calls": 0, "answered": 0} for t in content}
    pbx = one.parts.sampling.levels.pbxs["pbx1"]
    assert (pbx.missed_starts, pbx.missed_hangups) == (0, 0)
    lines.append(f"{compared} samples of all levels compared; the line was late by {late_ms} ms at most")
    return lines


def gaps_are(one: Beside, found: Kept, silence_ms: float) -> list[str]:
    """Hold the stated gaps against what was done to the line: cause, start and end of each."""
    gaps: list[Gap] = [gap for gap in found.gaps if gap.cause is not Cause.NOT_INSTALLED]
    assert len(gaps) == len(one.faults), (gaps, one.faults)
    lines = []
    for gap, (since, mended, observed) in zip(gaps, one.faults, strict=True):
        assert gap.cause is Cause.LINK_LOST
        assert since - silence_ms - agents.SLACK_MS <= gap.start <= since + agents.SLACK_MS, (gap, since)
        assert gap.end is not None
        assert mended <= gap.end <= observed, (gap, mended, observed)
        assert any(abs(listed - gap.end) <= agents.TOLD_MS for listed in one.line.listed_ms), (
            "no list came then"
        )
        lines.append(f"gap of {gap.end - gap.start} ms, from {since - gap.start} ms before the fault")
    return lines


@pytest.mark.parametrize(
    ("size", "silent_s", "rounds"), [(30, 1.0, 2), pytest.param(420, 25.0, 12, marks=pytest.mark.soak)]
)
async def test_a_bad_line_costs_its_gap_and_nothing_else(
    asterisk_instance: Instance,
    asterisk_network: Network,
    wire: Wire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    silent_s: float,
    rounds: int,
) -> None:
    """A line that falls silent, or breaks in the midst of a message, costs one gap, and levels are right at its end.

    Where the agent watched, peaks and legs are the wire's, nothing is invented beside them, and
    nothing drifts. A line that is late, or delivers byte by byte, costs nothing at all. The four
    agents follow the same calls at the same time.
    """
    impatient(monkeypatch, silent_s)
    scripts = mix(seed=3000 + size, trunk_legs=size, per_s=4, longest_ms=3_000)
    async with AsyncExitStack() as stack:
        silent, cut, late, crumbs = [
            await stack.enter_async_context(beside(asterisk_instance, tmp_path / name, **how))
            for name, how in (
                ("silent", {}),
                ("cut", {}),
                ("late", {"delay_s": LATE_S}),
                ("crumbs", {"crumb": 1, "account": "meter-filtered"}),
            )
        ]
        everybody = (silent, cut, late, crumbs)
        async with asterisk_network.place(scripts) as placed:
            last_s = scripts[-1].at_ms / 1000
            over = asyncio.get_running_loop().time() + last_s

            async def strike(
                one: Beside, spoil: Callable[[], None], mend: Callable[[], None], within_s: float
            ) -> None:
                for _ in range(rounds):
                    await asyncio.sleep(last_s / rounds / 4)  # calls go on: that is what is waited for
                    if asyncio.get_running_loop().time() + within_s / 2 > over:
                        return
                    await one.lose(spoil, mend, within_s=within_s)

            async def look() -> None:
                while True:
                    for one in everybody:
                        one.sample()
                    await asyncio.sleep(0.05)

            async with asyncio.TaskGroup() as tasks:
                looking = tasks.create_task(look())
                done = [
                    tasks.create_task(strike(silent, silent.line.stall, silent.line.flow, silent_s * 2 + 3)),
                    tasks.create_task(strike(cut, cut.line.cut, lambda: None, 8)),
                ]
                await placed.finished()
                await asyncio.wait(done)
                for one in everybody:
                    await until(settled(one.parts), within_s=20)
                    one.sample()
                looking.cancel()
        seen = wire.legs()
        # Read from all of them before comparing, which takes so long that they would stand still.
        kept = [(one, await figures(one), agents.kept(one.home, ahead_ms=one.ahead_ms)) for one in everybody]
        for one, content, found in kept:
            lines = account(one, placed, seen, content, found)
            lines += gaps_are(one, found, silent_s * 400)
            print(f"\nAsterisk {asterisk_instance.version}, {one.home.name}:", *lines, sep="\n  ")
        assert silent.faults
        assert cut.faults


@pytest.mark.parametrize(("size", "stopped_s"), [(16, 3.0), pytest.param(280, 30.0, marks=pytest.mark.soak)])
async def test_a_stopped_agent_harms_nobody(
    asterisk_instance: Instance,
    asterisk_network: Network,
    wire: Wire,
    tmp_path: Path,
    size: int,
    stopped_s: float,
) -> None:
    """An agent stopped under call load leaves Asterisk as quick as it was, and comes back right, with its gap.

    The gap says that the agent stood still, or that Asterisk gave the line up meanwhile. No
    leg's time, and no bill, is longer than on the wire.
    """
    scripts = mix(seed=4000 + size, trunk_legs=size, per_s=5, longest_ms=3_000)
    home = tmp_path / "agent"
    file = agents.configured(asterisk_instance, home, period="month")
    one = await agents.process(file, tmp_path / "agent.log")
    try:
        await until(lambda: agents.observes(home), within_s=20)
        async with asterisk_network.place(scripts) as placed:
            await until(lambda: len(wire.legs()) >= 4, within_s=10)
            since = wall()
            one.send_signal(signal.SIGSTOP)
            async with ami.session(
                asterisk_instance.host,
                asterisk_instance.ami_port,
                asterisk_instance.accounts["witness"],
                events="off",
            ) as witness:
                slowest = 0.0
                while wall() < since + stopped_s * 1000:
                    began = asyncio.get_running_loop().time()
                    await witness.act("Ping")
                    slowest = max(slowest, asyncio.get_running_loop().time() - began)
                    await asyncio.sleep(0.2)
            until_ms = wall()
            one.send_signal(signal.SIGCONT)
            await until(lambda: agents.observes(home, since), within_s=20)
            back_ms = wall()
            await placed.finished()
        await until(lambda: not any(leg.end is None for leg in agents.kept(home).legs), within_s=10)
    finally:
        one.send_signal(signal.SIGCONT)
        await agents.ended(one)
    seen, found = wire.legs(), agents.kept(home)
    lines = [agents.compare_legs(seen, found)]
    gaps = [gap for gap in found.gaps if gap.cause is not Cause.NOT_INSTALLED]
    assert gaps
    assert {gap.cause for gap in gaps} <= {Cause.AGENT_STALLED, Cause.LINK_LOST}
    assert since - 1_000 <= gaps[0].start <= since + agents.SLACK_MS
    assert until_ms <= (gaps[-1].end or 0) <= back_ms
    lines += [
        f"gap {gap.cause}: {(gap.end or 0) - gap.start} ms, from {since - gap.start} ms before the stop"
        for gap in gaps
    ]
    meanwhile, before_and_after = [], []
    for late_ms, at in answers(wire):
        (meanwhile if since <= at < until_ms else before_and_after).append(late_ms)
    lines.append(
        f"first answer to an INVITE, ms: {statistics.median(meanwhile):.0f} (at most {max(meanwhile)}) of {len(meanwhile)} meanwhile, "
        f"{statistics.median(before_and_after):.0f} (at most {max(before_and_after)}) of {len(before_and_after)} else; slowest ping {slowest * 1000:.0f} ms"
    )
    print(f"\nAsterisk {asterisk_instance.version}:", *lines, sep="\n  ")
    assert statistics.median(meanwhile) <= statistics.median(before_and_after) + 20
    assert max(meanwhile) <= 500  # T1: nobody had to send an INVITE twice
    assert slowest < 0.5


def answers(wire: Wire) -> list[tuple[int, int]]:
    """Return how long Asterisk took for its first answer to each INVITE, in ms, and when it came in."""
    asked: dict[str, int] = {}
    answered: set[str] = set()
    found = []
    for packet in wire.packets():
        call = next((line for line in packet.text.split("\r\n") if line.lower().startswith("call-id:")), "")
        if (
            packet.target == wire.addresses.host
            and packet.text.startswith("INVITE ")
            and call not in answered
        ):
            asked.setdefault(call, packet.at_ms)
        elif packet.source == wire.addresses.host and packet.text.startswith("SIP/2.0 ") and call in asked:
            at = asked.pop(call)
            found.append((packet.at_ms - at, at))
            answered.add(call)
    return found
