"""What the contract suite needs of a kind of PBX, and the kinds that it runs over.

A further kind (a real Asterisk, a 3CX) is one class with these verbs and one line in `KINDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest

from connectors.asterisk.actions import ACTIONS
from connectors.asterisk.connector import AsteriskConnector
from connectors.asterisk.settings import Settings
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulator import LEAST, SimulatedAsterisk
from connectors.connector import Connector
from meter.events import Event, LegStarted, Snapshot
from meter.model import Instant


class Clock:
    """A clock that goes on by a millisecond each time it is read."""

    def __init__(self) -> None:
        self.at: Instant = 1_795_286_668_000

    def __call__(self) -> Instant:
        self.at += 1
        return self.at


class Heard:
    """A sink that keeps what it is given, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.batches: list[Sequence[Event]] = []
        self._news = asyncio.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        self.batches.append(tuple(events))
        self.events += events
        self._news.set()

    async def until(self, condition: Callable[[list[Event]], bool], within_s: float = 5) -> None:
        async with asyncio.timeout(within_s):
            while not condition(self.events):
                self._news.clear()
                await self._news.wait()

    async def snapshots(self, number: int) -> list[Snapshot]:
        await self.until(lambda events: sum(isinstance(event, Snapshot) for event in events) >= number)
        return [event for event in self.events if isinstance(event, Snapshot)]

    def started(self) -> list[str]:
        return [event.seen.leg for event in self.events if isinstance(event, LegStarted)]


@asynccontextmanager
async def serving(connector: Connector, sink: Any) -> AsyncIterator[asyncio.Task[Exception]]:
    """Let a connector serve meanwhile; the task's result is what ended it."""

    async def serve() -> Exception:
        try:
            await connector.serve(sink)
        except Exception as exc:  # noqa: BLE001 -- the test looks at it
            return exc

    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve())
        yield task
        task.cancel()


class Kind(Protocol):
    """One PBX for the suite, with calls that can be begun and a line that can be disturbed."""

    allowed: frozenset[str]  #: names of requests that may arrive
    received: list[str]  #: names of requests that arrived
    refusal_hints: tuple[str, ...]  #: what the hint after a refused login must name

    def connector(self, **settings: Any) -> Connector: ...

    def refused(self) -> Connector:
        """With an account that the PBX does not let in."""

    def call(self) -> Callable[[], None]:
        """Begin an external call; call the answer to end it."""

    def cut(self) -> None: ...

    def freeze(self) -> None:
        """Make the line half open: connected, and nothing comes any more."""

    def trickle(self) -> None:
        """Send one byte at a time."""


class OnSimulatedAsterisk:
    """The suite's PBX as a simulated Asterisk."""

    allowed = frozenset(ACTIONS)
    refusal_hints = ("manager.conf", "read = call", "write = reporting")

    def __init__(self, asterisk: SimulatedAsterisk, clock: Clock) -> None:
        self.asterisk = asterisk
        self.received = asterisk.received
        self._clock = clock

    def connector(self, **settings: Any) -> AsteriskConnector:
        given = {"port": self.asterisk.port, "secret": LEAST.secret, "snapshot_every_s": 60, **settings}
        return AsteriskConnector("pbx1", Settings("127.0.0.1", LEAST.username, **given), self._clock)

    def refused(self) -> AsteriskConnector:
        return self.connector(secret="another")

    def call(self) -> Callable[[], None]:
        call = calls.ring_in(self.asterisk.exchange, "PJSIP/trunk-kpn", "PJSIP/101")
        call.answer()
        return call.hang_up

    def cut(self) -> None:
        self.asterisk.cut()

    def freeze(self) -> None:
        self.asterisk.frozen = True

    def trickle(self) -> None:
        self.asterisk.piece_bytes = 1


@asynccontextmanager
async def simulated_asterisk() -> AsyncIterator[Kind]:
    clock = Clock()
    async with SimulatedAsterisk(clock) as asterisk:
        yield OnSimulatedAsterisk(asterisk, clock)


KINDS: dict[str, Callable[[], AbstractAsyncContextManager[Kind]]] = {"simulated-asterisk": simulated_asterisk}


@pytest.fixture(params=KINDS)
async def pbx(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    async with KINDS[request.param]() as kind:
        yield kind


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def served() -> Callable[..., AbstractAsyncContextManager[asyncio.Task[Exception]]]:
    return serving


@pytest.fixture
def clock() -> Clock:
    return Clock()
