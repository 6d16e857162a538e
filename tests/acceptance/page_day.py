"""Working days in a ledger, and the page that shows them: an office's calls, lived through by hand.

Then a simulated Asterisk stands there, whose calls are the level now, and a provider gives receipts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from agent import app, keys, supervisor, upstream
from agent.doors import open_page
from agent.health import Health
from agent.store import ledger, readings
from config.load import load
from connectors import office
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulator import SimulatedAsterisk
from connectors.office import Kind
from delivery import http
from meter.events import Event, LegChanged, LegEnded, LegStarted, Sighting, Snapshot
from meter.model import Cause, Direction, Instant, Reading
from meter.periods import MINUTE_MS, named
from provider.serving import serving
from tests.acceptance.around import free_port, until
from tests.unit.agent.conftest import HandClock

KPN, KPN2 = "PJSIP/trunk-kpn", "PJSIP/trunk-kpn2"
CONFIG = """\
[agent]
id = "ams-01"
state_dir = "state"
timezone = "Europe/Amsterdam"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "127.0.0.1"
port = {pbx}
username = "meter"
secret = "only-for-simulations"
trunks = ["PJSIP/trunk-kpn", "PJSIP/trunk-kpn2"]
extensions = "1[0-9]{{2}}"

[[tenant]]
id = "acme"
name = "ACME B.V."
match = {{ trunks = ["PJSIP/trunk-kpn"], extensions = "1[0-2][0-9]" }}
capacity = 9
packages = [4, 8, 16, 24]

[[tenant]]
id = "globex"
name = "Globex <Söhne> & Co."
match = {{ trunks = ["PJSIP/trunk-kpn2"], extensions = "13[0-9]" }}
capacity = 4

[upstream]
url = "{provider}"

[page]
listen = "127.0.0.1:{page}"
"""

DAYS = ("2026-11-09", "2026-11-10", "2026-11-11", "2026-11-12")
_OFFICE = office.Office((KPN, KPN2), tuple(f"PJSIP/{number}" for number in range(100, 140)))
_AMSTERDAM = ZoneInfo("Europe/Amsterdam")


@dataclass
class Shown:
    """An agent with a past, its page, and its PBX."""

    parts: app.Agent
    clock: HandClock
    pbx: SimulatedAsterisk
    url: str
    up: list[calls.Call]

    async def ring(self, count: int, trunk: str = KPN) -> None:
        """So many calls come in and are answered."""
        for _ in range(count):
            self.up.append(calls.ring_in(self.pbx.exchange, trunk, "PJSIP/101"))
            self.up[-1].answer()

    def hang_up(self, count: int) -> None:
        for _ in range(count):
            self.up.pop().hang_up()


def happens(day: str, seed: int) -> Iterator[tuple[Instant, Event]]:
    """Yield what a PBX tells of a day's calls."""
    midnight = named(day, "day", _AMSTERDAM).start
    for number, call in enumerate(office.day(_OFFICE, seed)):
        if call.kind is Kind.INTERNAL:
            continue
        start = midnight + round(call.at_s * 1000)
        answered = start + round(call.ring_s * 1000)
        end = answered + round((call.talk_s or 0) * 1000)
        ways = {Kind.IN: [(call.trunk, Direction.IN)], Kind.OUT: [(call.trunk, Direction.OUT)]}.get(
            call.kind, [(call.trunk, Direction.IN), (call.out, Direction.OUT)]
        )
        for side, (trunk, way) in enumerate(ways):
            leg, of = f"{day}.{number}.{side}", f"{day}.{number}"
            yield start, LegStarted(start, Sighting(leg, of, trunk, way, created=start))
            if call.talk_s is not None:
                yield answered, LegChanged(answered, leg, of, answered=True)
            yield end, LegEnded(end, leg, of)


async def live(parts: app.Agent, clock: HandClock, days: tuple[str, ...], until_s: float) -> None:
    """Let an agent live through days, the last one up to a time of day; in its morning the PBX is out of sight."""
    last = named(days[-1], "day", _AMSTERDAM)
    end, lost_at, found_at = (last.start + round(s * 1000) for s in (until_s, 8.2 * 3600, 8.6 * 3600))
    told = sorted(
        (each for seed, day in enumerate(days, 3) for each in happens(day, seed)), key=lambda each: each[0]
    )
    up: dict[str, Sighting] = {}
    number, sampling = 0, parts.sampling
    while clock.now() < end:
        clock.advance(1_000)
        sampling.mind_time()
        now, events = clock.now(), list[Event]()
        while number < len(told) and told[number][0] <= now:
            event = told[number][1]
            number += 1
            events.append(event)
            if isinstance(event, LegStarted):
                up[event.seen.leg] = event.seen
            elif isinstance(event, LegEnded):
                up.pop(event.leg, None)
        if lost_at <= now < found_at:
            sampling.lost("pbx1", lost_at, Cause.LINK_LOST)
            continue
        if now % MINUTE_MS < 1_000:
            events.append(Snapshot(now, now, tuple(up.values()), "run 1"))
        if events:
            sampling.take("pbx1", events)
        if now % (30 * MINUTE_MS) < 1_000:
            await sampling.commit()
    await sampling.commit()


@asynccontextmanager
async def shown(
    folder: Path, days: tuple[str, ...] = ("2026-11-12",), until_s: float = 15.4 * 3600
) -> AsyncIterator[Shown]:
    """Give an agent with a past beside a PBX and a provider, and its page, until the end of the block."""
    clock = HandClock(named(days[0], "day", _AMSTERDAM).start)
    books = folder / "books"
    books.mkdir()
    async with SimulatedAsterisk(clock.now) as pbx, serving(books, now=clock.wall) as provider:
        port = free_port()
        file = folder / "agent.toml"
        file.write_text(CONFIG.format(pbx=pbx.port, page=port, provider=provider.url))
        config = load(file)
        async with app.agent(config, clock) as parts:
            await live(parts, clock, days, until_s)
            invitation = await provider.invite("ams-01", ["acme", "globex"])
            async with http.open_session() as session:
                found = await upstream.enrol(
                    session, invitation, keys.load(config.agent.state_dir), now=clock.wall
                )
            assert not isinstance(found, upstream.Judged)
            counted = [Reading("pbx1", t, clock.now(), n, "pjsip") for t, n in (("acme", 30), ("globex", 10))]

            def work(db: ledger.Database) -> None:
                ledger.keep_fact(db, "receiver", found[0].json())
                readings.read(db, counted)

            await parts.store.write(work)
            parts.sampling.lost("pbx1", clock.now(), Cause.LINK_LOST)
            parts.closing.position_known = True
            await parts.closing.seal_due()
            health = Health(parts.sampling, parts.links, parts.store, clock, lambda: None)
            doors = await open_page(config, parts.status, parts.glance, health, clock)
            async with doors, asyncio.TaskGroup() as loops:
                assert parts.shipping is not None
                turning = [
                    loops.create_task(supervisor.keep("link", clock, parts.links[0].follow)),
                    loops.create_task(parts.shipping.run()),
                ]
                await until(lambda: parts.sampling.observed("acme"), what="the PBX")
                await parts.sampling.commit()
                yield Shown(parts, clock, pbx, f"http://127.0.0.1:{port}/", [])
                for each in turning:
                    each.cancel()
