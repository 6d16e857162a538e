"""What the agent holds in memory: the service in a process of its own beside a simulated Asterisk; and a week's life.

The week is lived by the agent's own parts in a process of their own, whose clock is moved by hand: what a day
leaves in memory is seen at each midnight. Its process is larger than the service's by what measures it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

import structlog

from agent import app
from agent.clock import Clock
from bench.figures import Figure, Scale
from bench.installation import PBX, HandClock, channels, configured, resident_mb, service, shows
from config.load import load
from connectors.asterisk.simulated.exchange import RING, UP
from connectors.asterisk.simulator import SimulatedAsterisk
from meter.events import LegChanged, LegEnded, LegStarted, Sighting, Snapshot
from meter.model import Direction
from meter.periods import HOUR_MS

BARS: Final = {0: 80, 1_000: 90, 10_000: 150}
TRUNKS: Final = tuple(f"PJSIP/trunk-{number}" for number in range(20))
DAYS: Final = 7
CALLS_AN_HOUR: Final = 200
BEGIN: Final = 1_793_487_600_000
_OFFICE: Final = range(8, 18)
#: Growth by day: the last three days may differ by what the allocator does.
_GROWTH_MB: Final = 1.0


async def under_calls(ups: list[int], snapshots: int) -> list[float]:
    """Return the service's resident memory with so many legs up, after so many snapshots that were asked for then."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with SimulatedAsterisk(Clock().now, trunks=TRUNKS) as pbx:
            lines = '\n[upstream]\nurl = "http://127.0.0.1:9"\n'
            file = configured(folder, TRUNKS, capacity=100_000, rest=lines).read_text(encoding="utf-8")
            at = folder / "config.toml"
            at.write_text(
                file.replace("port = 5038", f'port = {pbx.port}\nsnapshot_every = "30s"'), encoding="utf-8"
            )
            async with service(at, folder / "log") as process:
                await shows(at, lambda s: s["pbxs"][PBX]["observed"])
                made = 0
                for up in ups:
                    while made < up:
                        pbx.exchange.show(pbx.exchange.make(TRUNKS[made % len(TRUNKS)], RING), UP)
                        made += 1
                        if made % 100 == 0:
                            await asyncio.sleep(0)
                    wanted = up
                    await shows(at, lambda s: channels(s) == wanted, within_s=60)  # noqa: B023 - awaited at once
                    before = pbx.received.count("CoreShowChannels")
                    async with asyncio.timeout(90):
                        while pbx.received.count("CoreShowChannels") < before + snapshots:  # noqa: ASYNC110 - the simulator keeps a list, not an event, of each
                            await asyncio.sleep(0.5)
                    await shows(at, lambda s: channels(s) == wanted, within_s=60)  # noqa: B023 - likewise
                    found.append(resident_mb(process.pid))
    return found


async def week(days: int, calls_an_hour: int) -> list[float]:
    """Live through days of an office; return the resident memory of this process at each midnight, the first included."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        file = configured(Path(name), TRUNKS[:2], rest='\n[upstream]\nurl = "http://127.0.0.1:9"\n')
        clock = HandClock(BEGIN)
        async with app.agent(load(file), clock) as parts:
            parts.closing.position_known = True
            number = 0
            for hour in range(days * 24 + 1):
                parts.sampling.take(PBX, [Snapshot(clock.at, clock.at, (), "run 1")])
                calls = calls_an_hour if hour % 24 in _OFFICE else 0
                end = clock.at + HOUR_MS
                for _ in range(calls):
                    number += 1
                    leg = f"{clock.at // 1000}.{number}"
                    seen = Sighting(
                        leg, leg, TRUNKS[number % 2], Direction.IN if number % 3 else Direction.OUT
                    )
                    parts.sampling.take(PBX, [LegStarted(clock.at, seen)])
                    _pass_by(clock, parts, 3_000)
                    parts.sampling.take(PBX, [LegChanged(clock.at, leg, leg, answered=True)])
                    _pass_by(clock, parts, HOUR_MS // calls_an_hour - 5_000)
                    parts.sampling.take(PBX, [LegEnded(clock.at, leg, leg)])
                    if number % 10 == 0:
                        parts.sampling.take(PBX, [Snapshot(clock.at, clock.at, (), "run 1")])
                        await parts.sampling.commit()
                _pass_by(clock, parts, end + 1_000 - clock.at)
                parts.sampling.take(PBX, [Snapshot(clock.at, clock.at, (), "run 1")])
                await parts.sampling.commit()
                await parts.closing.seal_due()
                if hour % 24 == 0:
                    gc.collect()
                    found.append(resident_mb("self"))
    return found


def _pass_by(clock: HandClock, parts: app.Agent, ms: int) -> None:
    """Let time pass as the heartbeat sees it: a clock that jumps is an agent that stood still."""
    end = clock.at + ms
    while clock.at < end:
        clock.at = min(clock.at + 1_900, end)
        parts.sampling.mind_time()


async def _week_apart(days: int, calls: int) -> list[float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.memory", str(days), str(calls)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    said, _ = await process.communicate()
    found: list[float] = json.loads(said)
    return found


def measure(scale: Scale) -> list[Figure]:
    """Return the service's memory under calls, and a week's growth."""
    sizes = {scale.of(up, 0): bar for up, bar in BARS.items()}
    held = asyncio.run(under_calls(list(sizes), scale.of(1, 0)))
    days = asyncio.run(_week_apart(scale.of(DAYS, 2), scale.of(CALLS_AN_HOUR, 10)))
    per_day = (days[-1] - days[min(2, len(days) - 2)]) / max(1, len(days) - 1 - min(2, len(days) - 2))
    return [
        *(
            Figure(
                f"resident, {up:,} calls up",
                mb,
                "MB",
                "the service, 20 tenants, upstream configured",
                ("<=", bar),
            )
            for (up, bar), mb in zip(sizes.items(), held, strict=True)
        ),
        Figure(
            "resident after a day of an office",
            days[1],
            "MB",
            f"{scale.of(CALLS_AN_HOUR, 10)} calls an hour; its parts in a process of their own",
        ),
        Figure(
            f"resident after {len(days) - 1} days",
            days[-1],
            "MB",
            "at each midnight: " + ", ".join(f"{mb:.1f}" for mb in days),
        ),
        Figure(
            "growth by day once warm", per_day, "MB a day", "from the second midnight on", ("<=", _GROWTH_MB)
        ),
    ]


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(json.dumps(asyncio.run(week(int(sys.argv[1]), int(sys.argv[2])))))
