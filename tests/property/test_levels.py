"""The live levels against PBXs that live, over links that lose, repeat, delay and break."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from random import Random
from types import ModuleType
from zoneinfo import ZoneInfo

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from meter.account import Account
from meter.edges import edges
from meter.events import Event, Snapshot
from meter.fold import Fold, frame
from meter.levels import Levels
from meter.model import Cause, Direction, Gap, Known, Leg, Level, Merge, Terms
from meter.periods import period_of


def sibling(name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = util.module_from_spec(spec)
    import sys  # noqa: PLC0415 - dataclasses look their module up

    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


world = sibling("world")
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


@dataclass
class Agent:
    """The meter as agent.sampling runs it, without a store: every fact it ever stated is kept."""

    levels: Levels = field(default_factory=lambda: Levels(world.tenancy()))
    legs: dict[int, Leg] = field(default_factory=dict)
    gaps: dict[int, Gap] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    agreements: dict[str, list[int]] = field(default_factory=lambda: {p: [] for p in world.PBXS})

    def __post_init__(self) -> None:
        for pbx in world.PBXS:
            self.levels.watch(pbx)
        for tenant in ("acme", "globex"):
            self.accounts[tenant] = account = Account(
                lambda at: frame(period_of(at, "5min", AMSTERDAM), AMSTERDAM), world.START
            )
            account.agree(self.terms(tenant))
        self.spread()

    def terms(self, tenant: str) -> Terms:
        return Terms(tenant, 0, 3, Level.CHANNELS, world.PBXS)

    def take(self, pbx: str, events: list[Event]) -> None:
        for event in events:
            self.apply(pbx, event)
        for account in self.accounts.values():
            account.settle(min(self.levels.pbxs[p].agreed_at for p in world.PBXS))

    def apply(self, pbx: str, event: Event) -> None:
        watched = self.levels.pbxs[pbx]
        gap, agreed_at = watched.gap, watched.agreed_at
        known = len(self.gaps)
        self.levels.apply(pbx, event)
        self.spread()
        new = [g for g in list(self.gaps.values())[known:] if g.pbx == pbx]
        if isinstance(event, Snapshot) and gap is None and new:
            (lost,) = new  # a contradiction: the stretch since the last agreeing snapshot
            assert (lost.start, lost.end, lost.cause) == (agreed_at, watched.now, Cause.EVENTS_LOST)
        else:
            assert not new
        if isinstance(event, Snapshot):
            assert watched.gap is None
            if gap is not None:
                assert self.gaps[gap.row].end == max(watched.now, gap.start)
        for tenant in self.accounts:
            assert min(self.levels.now(tenant).values()) >= 0
        assert all(n >= 0 for n in self.levels.unclassified.values())

    def lost(self, pbx: str, at: int, cause: Cause) -> None:
        before = self.levels.pbxs[pbx].gap
        self.levels.lose(pbx, at, cause)
        gap = self.levels.pbxs[pbx].gap
        assert gap is not None
        assert gap == before or (before is None and gap.cause is cause and gap.end is None)
        self.spread()

    def stalled(self, since: int) -> None:
        for pbx in world.PBXS:
            self.levels.lose(pbx, since, Cause.AGENT_STALLED)
        self.spread()

    def tick(self) -> None:
        pass

    def spread(self) -> None:
        changes = self.levels.drain()
        for row, leg in changes.legs.items():
            self.check(self.legs.get(row), leg)
            self.legs[row] = leg
            if leg.tenant:
                self.accounts[leg.tenant].take((leg,), (), ())
        self.gaps |= changes.gaps
        for account in self.accounts.values():
            account.take((), changes.gaps.values(), ())
        self.merges += changes.merges
        for merge, owners in zip(changes.merges, changes.merged, strict=True):
            for tenant in owners:
                self.accounts[tenant].take((), (), (merge,))

    @staticmethod
    def check(before: Leg | None, leg: Leg) -> None:
        """What is settled stays; what ended stays ended."""
        assert leg.start <= (leg.end if leg.end is not None else leg.start)
        assert leg.answer is None or leg.start <= leg.answer <= (
            leg.end if leg.end is not None else leg.answer
        )
        if before is None:
            return
        same = ("row", "pbx", "leg", "endpoint", "trunk", "call", "tenant", "start", "start_known")
        assert [getattr(before, n) for n in same] == [getattr(leg, n) for n in same]
        assert before.direction in (leg.direction, Direction.UNKNOWN)
        assert before.answer in (leg.answer, None)
        assert before.end is None

    def facts(self, tenant: str) -> list:
        by_pbx = {p: [g for g in self.gaps.values() if g.pbx == p] for p in world.PBXS}
        legs = [leg for leg in self.legs.values() if leg.tenant == tenant]
        return edges(legs, self.merges, by_pbx, [self.terms(tenant)])

    def compare(self, at: int) -> None:
        """The running account says what the fold over all facts says."""
        for tenant, account in self.accounts.items():
            fold = Fold(frame(period_of(at, "5min", AMSTERDAM), AMSTERDAM))
            fold.feed([e for e in self.facts(tenant) if e[0] < at])
            assert fold.figures(at) == account.view(at)


def agrees(agent: Agent, truth: object) -> None:
    """After quiet snapshots every level is the truth's."""
    for pbx in world.PBXS:
        assert agent.levels.pbxs[pbx].gap is None
        assert not agent.levels.pbxs[pbx].doubts
    for tenant in ("acme", "globex"):
        assert agent.levels.now(tenant) == truth.levels(tenant)


def live(rnd: Random, *, lossy: bool, breaks: bool, rounds: int = 3, acts: int = 25) -> tuple[Agent, object]:
    agent = Agent()
    truth = world.World(rnd, agent, lossy=lossy, breaks=breaks)
    truth.tick(1_500)
    for _ in range(rounds):
        for _ in range(acts):
            truth.act()
            truth.tick(rnd.choice([1, 50, 300, 2_000, 9_000]))
            if rnd.random() < 0.1:
                agent.compare(truth.at)
        truth.quiet()
        agrees(agent, truth)
        agent.compare(truth.at)
    return agent, truth


def end_everything(agent: Agent, truth: object) -> None:
    for pbx in truth.pbxs.values():
        while pbx.legs:
            truth.hang_up(pbx)
    truth.quiet()
    agrees(agent, truth)
    agent.compare(truth.at)


#: A history is made from a seed: what fails is found again by it, and is not made smaller.
SEEDS = st.integers(0, 2**32)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(SEEDS)
def test_whatever_the_link_does(seed: int) -> None:
    """Lost, late and repeated events, races, broken links, restarts and stalls heal: the levels become the truth's,
    every leg ends, none is there twice at one time, and the account equals the fold over what was stated.
    """
    agent, truth = live(Random(seed), lossy=True, breaks=True)
    end_everything(agent, truth)

    lives: dict[tuple[str, str], list[Leg]] = {}
    for leg in agent.legs.values():
        assert leg.end is not None
        assert (leg.tenant, leg.trunk is None) in {("acme", False), ("globex", False)}
        lives.setdefault((leg.pbx, leg.leg), []).append(leg)
    for rows in lives.values():
        rows.sort(key=lambda leg: leg.start)
        for one, two in itertools.pairwise(rows):
            assert one.end <= two.start
    for gap in agent.gaps.values():
        assert gap.end is not None
        assert gap.start <= gap.end


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(SEEDS)
def test_a_race_is_no_loss(seed: int) -> None:
    """While every event arrives, late or twice but within a second, no snapshot contradicts them: no gap, none missed."""
    agent, truth = live(Random(seed), lossy=False, breaks=False)
    end_everything(agent, truth)

    assert {gap.cause for gap in agent.gaps.values()} == {Cause.NOT_INSTALLED}
    for pbx in agent.levels.pbxs.values():
        assert (pbx.missed_starts, pbx.missed_hangups) == (0, 0)
    assert all(leg.end_known is Known.SEEN for leg in agent.legs.values())


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(SEEDS)
def test_internal_calls_never_count(seed: int) -> None:
    """Whatever is lost or broken, calls between extensions make no leg, no level, no unclassified and no unassigned."""
    rnd, agent = Random(seed), Agent()
    truth = world.World(rnd, agent)
    truth.tick(1_500)
    for _ in range(40):
        pbx = rnd.choice(list(truth.pbxs.values()))
        rnd.choice([truth.internal, truth.answer, truth.hang_up, truth.merge, truth.lose_link, truth.stall])(
            pbx
        )
        truth.tick(rnd.choice([1, 300, 3_000]))
        assert not agent.legs
        assert not agent.merges
        for tenant in ("acme", "globex"):
            assert set(agent.levels.now(tenant).values()) == {0}
    assert not agent.levels.unclassified
    assert not agent.levels.unassigned
