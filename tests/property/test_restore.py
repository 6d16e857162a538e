"""An agent that is killed and comes back: what the store kept is enough to go on."""

from __future__ import annotations

import asyncio
import sys
from importlib import util
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import ModuleType

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agent.clock import Clock
from agent.restoring import restore
from agent.sampling import Sampling
from agent.sealing import facts_of
from agent.store import ledger
from agent.store.database import Store
from config.load import load
from config.model import Config
from connectors.connector import Sink  # noqa: F401 - what `take` stands for
from meter.events import Event
from meter.model import Cause, Gap, Known, Leg
from meter.summary import state


def sibling(name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = sys.modules[name] = util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


world = sibling("world")

CONFIG = """
[agent]
id = "ams-01"
state_dir = "."
timezone = "Europe/Amsterdam"
period = "5min"

[[pbx]]
name = "one"
kind = "asterisk"
host = "127.0.0.1"
username = "meter"
secret = "made up"
trunks = ["PJSIP/kpn", "PJSIP/kpn2"]
extensions = "1[0-9]{2}"

[[pbx]]
name = "two"
kind = "asterisk"
host = "127.0.0.1"
username = "meter"
secret = "made up"
trunks = ["SIP/kpn", "SIP/kpn2"]
extensions = "1[0-9]{2}"

[[tenant]]
id = "acme"
match = { trunks = ["PJSIP/kpn", "SIP/kpn"] }
capacity = 3

[[tenant]]
id = "globex"
match = { trunks = ["PJSIP/kpn2", "SIP/kpn2"] }
capacity = 3
"""


class WorldClock(Clock):
    """Tells the world's time."""

    def __init__(self) -> None:
        self.world: object = None
        super().__init__()

    def wall(self) -> int:
        return self.world.at if self.world else world.START

    boot = wall


class Agent:
    """One life of an agent over a store that outlives it."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def take(self, pbx: str, events: list[Event]) -> None:
        self.sampling.take(pbx, events)

    def lost(self, pbx: str, at: int, cause: Cause) -> None:
        self.sampling.lost(pbx, at, cause)

    def stalled(self, _: int) -> None:
        self.sampling.mind_time()

    def tick(self) -> None:
        self.sampling.mind_time()


class Nobody:
    """The world goes on while the agent is dead."""

    def take(self, *_: object) -> None: ...

    def lost(self, *_: object) -> None: ...

    def stalled(self, *_: object) -> None: ...

    def tick(self) -> None: ...


async def begin(store: Store, config: Config, clock: WorldClock) -> Agent:
    left = await store.write(lambda db: restore(db, config, clock.now()))
    sampling = Sampling(
        left.levels, left.agreed.contracts, left.agreed.accounts, left.agreed.calendars, store, clock
    )
    sampling.begin(left.changes)
    return Agent(sampling)


async def stored(store: Store) -> tuple[dict[int, Leg], dict[int, Gap]]:
    def work(db: object) -> tuple[dict[int, Leg], dict[int, Gap]]:
        legs = [leg for t in ("acme", "globex", None) for leg in ledger.legs(db, t, 0, 1 << 60)]
        gaps = ledger.gaps(db, world.PBXS, 0, 1 << 60)
        return {leg.row: leg for leg in legs}, {gap.row: gap for of in gaps.values() for gap in of}

    return await store.read(work)


async def compare(agent: Agent, store: Store, at: int) -> None:
    """What is told live is what is folded from the stored facts."""
    for tenant in ("acme", "globex"):
        live = agent.sampling.view(tenant, at)
        facts, tz = await store.read(lambda db, t=tenant, p=live.period: facts_of(db, t, p.start, at))
        assert state(facts, live.period, at, tz).figures == live


async def history(seed: int, folder: Path) -> None:
    rnd = Random(seed)
    (folder / "agent.toml").write_text(CONFIG)
    config = load(folder / "agent.toml")
    clock = WorldClock()
    truth = world.World(rnd, Nobody())
    clock.world = truth
    store = Store(folder)
    await store.open()
    try:
        for _ in range(3):
            await life(rnd, store, config, clock, truth)
        await ending(store, config, clock, truth)
    finally:
        await store.close()


async def life(rnd: Random, store: Store, config: Config, clock: WorldClock, truth: object) -> None:
    """One life: it goes on from what was stored, and ends in the middle of something."""
    before, gaps_before = await stored(store)
    agent = truth.sink = await begin(store, config, clock)
    gone = {row for row, leg in before.items() if leg.leg not in truth.pbxs[leg.pbx].legs}
    starts = {}
    heard = dict(await store.read(lambda db: db.execute("SELECT name, heard_at FROM pbxs").fetchall()))
    if before or gaps_before:
        for pbx in world.PBXS:
            gap = agent.sampling.levels.pbxs[pbx].gap
            running = [g for g in gaps_before.values() if g.pbx == pbx and g.end is None]
            assert gap is not None, "nothing was seen since the last commit"
            starts[pbx] = gap.start
            assert running == [gap] or (gap.start, gap.cause) == (heard[pbx], Cause.AGENT_DOWN)
    for _ in range(rnd.randint(1, 25)):
        truth.act()
        truth.tick(rnd.choice([1, 50, 300, 2_000, 9_000]))
        if rnd.random() < 0.3:
            await agent.sampling.commit()
            await compare(agent, store, clock.now())
    after, _ = await stored(store)
    for row, leg in before.items():
        assert (after[row].tenant, after[row].start, after[row].direction) == (
            leg.tenant,
            leg.start,
            leg.direction,
        )
        if leg.end is None and after[row].end is not None and row in gone:
            proved = max(starts[leg.pbx], leg.start, leg.answer or 0)
            assert (after[row].end, after[row].end_known) == (proved, Known.GAP), (
                "it ended at the start of the gap"
            )
    truth.sink = Nobody()  # kill -9: what was not committed is lost
    for pbx in truth.pbxs.values():
        pbx.linked, pbx.synced, pbx.queue, pbx.asked, pbx.silent_until = False, False, [], None, 0
        truth.reconnect_at[pbx.name] = 1 << 60
    for _ in range(rnd.randint(0, 6)):
        truth.act()
        truth.tick(rnd.choice([1, 2_000, 60_000]))
    for pbx in truth.pbxs.values():
        truth.reconnect_at[pbx.name] = truth.at


async def ending(store: Store, config: Config, clock: WorldClock, truth: object) -> None:
    """A last life, in which the levels become the truth's and every call ends."""
    agent = truth.sink = await begin(store, config, clock)
    truth.quiet()
    for tenant in ("acme", "globex"):
        assert agent.sampling.levels.now(tenant) == truth.levels(tenant)
    await agent.sampling.commit()
    await compare(agent, store, clock.now())
    for pbx in truth.pbxs.values():
        while pbx.legs:
            truth.hang_up(pbx)
    truth.quiet()
    await agent.sampling.commit()
    await compare(agent, store, clock.now())
    legs, gaps = await stored(store)
    assert all(leg.end is not None for leg in legs.values())
    assert all(gap.end is not None for gap in gaps.values())
    at_once: dict[tuple[str, str], int] = {}
    for leg in sorted(legs.values(), key=lambda leg: (leg.start, leg.row)):
        assert at_once.get((leg.pbx, leg.leg), 0) <= leg.start, "one leg stands twice for one time"
        at_once[leg.pbx, leg.leg] = leg.end


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.integers(0, 2**32))
def test_a_killed_agent_goes_on(seed: int) -> None:
    """Killed at any moment: the time since the last commit is a gap, calls still up count on under their rows, those
    gone end at its start, and live figures equal the fold over what is stored.
    """
    with TemporaryDirectory() as folder:
        asyncio.run(history(seed, Path(folder)))
