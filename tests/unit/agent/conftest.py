"""An agent put together over a state directory of its own, with a clock that is advanced by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent import app
from agent.clock import Clock
from agent.store.database import Store
from config.load import load
from config.model import Config
from meter.events import Event, LegChanged, LegEnded, LegStarted, Sighting, Snapshot
from meter.model import Direction
from meter.periods import instant, named

#: 2026-11-12T09:31:07Z
START = 1_794_475_867_000
AMSTERDAM = ZoneInfo("Europe/Amsterdam")

PBX = """
[[pbx]]
name = "{name}"
kind = "asterisk"
host = "127.0.0.1"
username = "meter"
secret = "made up"
trunks = ["PJSIP/{name}-kpn", "PJSIP/{name}-shared"]
extensions = "1[0-9]{{2}}"
"""


class HandClock(Clock):
    """A clock whose two faces are moved by hand. Who sleeps wakes when it has been moved far enough."""

    def __init__(self, at: int = START) -> None:
        self.wall_ms, self.boot_ms = at, 5_000_000
        self.slept: list[float] = []
        self._sleepers: list[tuple[int, asyncio.Event]] = []
        super().__init__()

    def wall(self) -> int:
        return self.wall_ms

    def boot(self) -> int:
        return self.boot_ms

    def start_at(self, at: int) -> None:
        """Be a clock that was switched on at an instant."""
        self.wall_ms = at
        Clock.__init__(self)

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.wall_ms += ms
        self.boot_ms += ms
        for due, event in self._sleepers:
            if self.boot_ms >= due:
                event.set()

    def step(self, ms: int) -> None:
        """Set the wall clock."""
        self.wall_ms += ms

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        event = asyncio.Event()
        self._sleepers.append((self.boot_ms + round(seconds * 1000), event))
        await event.wait()


@dataclass
class Office:
    """The one PBX of a test, as its connector would tell of it."""

    parts: app.Agent
    clock: HandClock
    name: str = "pbx1"
    number: int = 0

    @property
    def trunk(self) -> str:
        return f"PJSIP/{self.name}-kpn"

    def tell(self, *events: Event) -> None:
        self.parts.sampling.take(self.name, events)

    def snapshot(self, *legs: str, asked_ms_ago: int = 0, booted: str = "run 1") -> None:
        now = self.clock.now()
        seen = tuple(Sighting(leg, leg, self.trunk, created=now - 5_000) for leg in legs)
        self.tell(Snapshot(now, now - asked_ms_ago, seen, booted))

    def call(self, *, answered: bool = True) -> str:
        """A call comes in over the trunk."""
        self.number += 1
        leg, now = f"{self.name}.{self.number}", self.clock.now()
        self.tell(LegStarted(now, Sighting(leg, leg, self.trunk, Direction.IN)))
        if answered:
            self.tell(LegChanged(now, leg, leg, answered=True))
        return leg

    def hang_up(self, *legs: str) -> None:
        for leg in legs:
            self.tell(LegEnded(self.clock.now(), leg, leg))

    async def live(self, ms: int, *, every_ms: int = 1_000) -> None:
        """Let time pass as the loops would: the heart beats, and what came in is committed now and then and at the end."""
        sampling, end = self.parts.sampling, self.clock.boot() + ms
        while self.clock.boot() < end:
            self.clock.advance(min(every_ms, end - self.clock.boot()))
            sampling.mind_time()
            if sampling.alerting is not None:
                sampling._judge(set(sampling.alerting.restless()))
            if self.clock.boot() == end or sampling.alerting is None or sampling.alerting.has_news:
                await sampling.commit()


Configure = Callable[..., Config]
Awake = Callable[..., AbstractAsyncContextManager[app.Agent]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Write a configuration and read it; the state directory stays the same."""

    def write(
        *,
        agent: str = "",
        tenants: Sequence[str] = ('id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn"] }\ncapacity = 2',),
        pbxs: Sequence[str] = ("pbx1",),
        period: str = "month",
        timezone: str = "Europe/Amsterdam",
        rest: str = "",
    ) -> Config:
        text = f'[agent]\nid = "ams-01"\nstate_dir = "state"\ntimezone = "{timezone}"\nperiod = "{period}"\n{agent}\n'
        text += "".join(PBX.format(name=name) for name in pbxs)
        text += "".join(f"\n[[tenant]]\n{tenant}\n" for tenant in tenants)
        (tmp_path / "agent.toml").write_text(text + rest)
        return load(tmp_path / "agent.toml")

    return write


@pytest.fixture
def awake(clock: HandClock, configure: Configure) -> Awake:
    """Put an agent together; its loops are turned by hand. Leaving the block is kill -9: nothing more is committed."""

    @asynccontextmanager
    async def wake(config: Config | None = None, at: HandClock | None = None) -> AsyncIterator[app.Agent]:
        async with app.agent(config or configure(), at or clock) as parts:
            parts.closing.position_known = True
            parts.closing._synchronised = lambda: True
            yield parts

    return wake


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def office(clock: HandClock) -> Callable[..., Office]:
    return lambda parts, name="pbx1", at=None: Office(parts, at or clock, name)


@pytest.fixture
def month() -> Callable[[str], tuple[int, int]]:
    """The bounds of a month in Amsterdam."""

    def bounds(name: str) -> tuple[int, int]:
        period = named(name, "month", AMSTERDAM)
        return period.start, period.end

    return bounds


@pytest.fixture
def at() -> Callable[[str], int]:
    from datetime import datetime  # noqa: PLC0415 - only here

    return lambda text: instant(datetime.fromisoformat(text))
