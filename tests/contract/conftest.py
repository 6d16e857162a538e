"""What the contract suite needs of a kind of PBX, and the kinds that it runs over.

A further kind of PBX is one class with these verbs and one line in `KINDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol

import pytest

from connectors.asterisk.actions import ACTIONS
from connectors.asterisk.connector import AsteriskConnector
from connectors.asterisk.settings import Settings
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulator import LEAST, SimulatedAsterisk
from connectors.connector import Connector
from connectors.threecx.connector import ThreeCXConnector
from connectors.threecx.settings import Settings as ThreeCXSettings
from connectors.threecx.simulated.cycles import begin
from connectors.threecx.simulated.faults import Trouble
from connectors.threecx.simulator import ADMIN, SimulatedThreeCX
from meter.events import Event, LegChanged, LegEnded, LegStarted, Sighting, Snapshot
from meter.model import Cause, Instant


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

    def told(self, endpoint: str) -> list[tuple[str, str]]:
        """Return what was told of an endpoint's legs, each thing once: (leg, "up" | "answered" | "gone")."""
        told: list[tuple[str, str]] = []
        legs: dict[str, bool] = {}  # those that are up, and whether they are answered

        def show(seen: Sighting) -> None:
            if seen.endpoint == endpoint:
                note(seen.leg, "up" if seen.leg not in legs else "", answered=seen.answered)

        def note(leg: str, what: str, *, answered: bool) -> None:
            if what:
                told.append((leg, what))
            if answered and not legs.get(leg, False):
                told.append((leg, "answered"))
            legs[leg] = answered or legs.get(leg, False)

        def end(leg: str) -> None:
            if legs.pop(leg, None) is not None:
                told.append((leg, "gone"))

        for event in self.events:
            match event:
                case Snapshot():
                    shown = {seen.leg for seen in event.legs}
                    for leg in [leg for leg in legs if leg not in shown]:
                        end(leg)
                    for seen in event.legs:
                        show(seen)
                case LegStarted():
                    show(event.seen)
                case LegChanged() if event.leg in legs:
                    note(event.leg, "", answered=event.answered)
                case LegEnded():
                    end(event.leg)
        return told

    def up(self, endpoint: str) -> set[str]:
        """Return the legs of an endpoint that are up by what was told."""
        told = self.told(endpoint)
        return {leg for leg, what in told if what == "up"} - {leg for leg, what in told if what == "gone"}

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

    trunk: str  #: the endpoint that calls come in on
    extension: str  #: the endpoint that they go to
    legs_of_call: int  #: how many legs each call shows
    lost: Cause  #: of a link that worked, and doesn't any more
    refusal_hints: tuple[str, ...]  #: what the hint after a refused login must name
    wrong: str  #: the secret of the connector that is refused

    def connector(self) -> Connector: ...

    def brisk(self) -> Connector:
        """One that lists soon again, and soon takes silence for a lost link."""

    def patient(self) -> Connector:
        """One that does not list again by itself while a test lasts."""

    def refused(self) -> Connector:
        """With an account that the PBX does not let in."""

    def astray(self) -> Connector:
        """Towards a port at which nobody listens."""

    def call(self) -> Callable[[], None]:
        """Begin an external call that is answered; call the answer to end it."""

    def cut(self) -> None: ...

    def mend(self) -> None:
        """Let what was cut be connected again."""

    def freeze(self) -> None:
        """Make the line half open: connected, and nothing comes any more."""

    async def trickle(self) -> None:
        """Send one byte, or few, at a time."""

    def strays(self) -> set[str]:
        """Return the requests that arrived and should not have. Raises AssertionError if none arrived at all."""


class OnSimulatedAsterisk:
    """The suite's PBX as a simulated Asterisk."""

    trunk, extension, legs_of_call = "PJSIP/trunk-kpn", "PJSIP/101", 2
    lost = Cause.LINK_LOST
    refusal_hints = ("manager.conf", "read = call", "write = reporting")
    wrong = "mistyped"

    def __init__(self, asterisk: SimulatedAsterisk, clock: Clock) -> None:
        self.asterisk = asterisk
        self._clock = clock

    def connector(self, **settings: Any) -> AsteriskConnector:
        given = {"port": self.asterisk.port, "secret": LEAST.secret, "snapshot_every_s": 60, **settings}
        return AsteriskConnector("pbx1", Settings("127.0.0.1", LEAST.username, **given), self._clock)

    def brisk(self) -> AsteriskConnector:
        return self.connector(ping_every_s=0.05, silent_after_s=0.3, snapshot_every_s=0.9)

    def patient(self) -> AsteriskConnector:
        return self.connector()

    def refused(self) -> AsteriskConnector:
        return self.connector(secret=self.wrong)

    def astray(self) -> AsteriskConnector:
        return self.connector(port=1)

    def call(self) -> Callable[[], None]:
        call = calls.ring_in(self.asterisk.exchange, self.trunk, self.extension)
        call.answer()
        return call.hang_up

    def cut(self) -> None:
        self.asterisk.cut()

    def mend(self) -> None: ...

    def freeze(self) -> None:
        self.asterisk.frozen = True

    async def trickle(self) -> None:
        self.asterisk.piece_bytes = 1

    def strays(self) -> set[str]:
        assert self.asterisk.received
        return set(self.asterisk.received) - set(ACTIONS)


@asynccontextmanager
async def simulated_asterisk() -> AsyncIterator[Kind]:
    clock = Clock()
    async with SimulatedAsterisk(clock) as asterisk:
        yield OnSimulatedAsterisk(asterisk, clock)


class OnSimulatedThreeCX:
    """The suite's PBX as a simulated 3CX."""

    trunk, extension, legs_of_call = "3CX/10000", "3CX/101", 1
    lost = Cause.POLL_FAILED
    refusal_hints = ("Integrations > API", "3CX Configuration API Access", "Enterprise")
    wrong = "mistyped"

    def __init__(self, threecx: SimulatedThreeCX, clock: Clock, group: asyncio.TaskGroup) -> None:
        self.threecx = threecx
        self._clock = clock
        self._group = group
        self._url = threecx.url
        self._relay: asyncio.Task[None] | None = None

    def connector(self, **settings: Any) -> ThreeCXConnector:
        given = {
            "url": self._url,
            "username": ADMIN.client_id,
            "secret": ADMIN.secret,
            "poll_s": 0.4,
            **settings,
        }
        return ThreeCXConnector("pbx1", ThreeCXSettings(**given), self._clock)

    def brisk(self) -> ThreeCXConnector:
        return self.connector(poll_s=0.3)

    def patient(self) -> ThreeCXConnector:
        return self.connector(poll_s=60)

    def refused(self) -> ThreeCXConnector:
        return self.connector(secret=self.wrong)

    def astray(self) -> ThreeCXConnector:
        return self.connector(url="http://127.0.0.1:1")

    def call(self) -> Callable[[], None]:
        call = begin(self.threecx.exchange, "inbound", extension="101", ring_s=0.002, talk_s=3600)
        return call.hang_up

    def cut(self) -> None:
        self.threecx.faults.add(Trouble.CUT)
        self.threecx.cut()

    def mend(self) -> None:
        self.threecx.faults.clear()

    def freeze(self) -> None:
        self.threecx.faults.add(Trouble.HANG)

    async def trickle(self) -> None:
        """Put a relay in between that cuts everything into pieces of seven bytes."""

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await reader.read(4096):
                    for start in range(0, len(data), 7):
                        writer.write(data[start : start + 7])
                        await writer.drain()
            writer.close()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", self.threecx.port)
            await asyncio.gather(carry(reader, back), carry(there, writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        self._url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._relay = self._group.create_task(server.serve_forever())

    def stop(self) -> None:
        if self._relay is not None:
            self._relay.cancel()

    def strays(self) -> set[str]:
        assert self.threecx.received
        assert not self.threecx.dropped
        return {one for one in self.threecx.received if not one.startswith("GET /xapi/v1/")} - {
            "POST /connect/token"
        }


@asynccontextmanager
async def simulated_threecx() -> AsyncIterator[Kind]:
    clock = Clock()
    async with SimulatedThreeCX(clock) as threecx, asyncio.TaskGroup() as group:
        on = OnSimulatedThreeCX(threecx, clock, group)
        yield on
        on.stop()


KINDS: dict[str, Callable[[], AbstractAsyncContextManager[Kind]]] = {
    "simulated-asterisk": simulated_asterisk,
    "simulated-3cx": simulated_threecx,
}


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
