"""A whole day on a simulated 3CX, poll after poll: what the connector and the meter make of it is what was true."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC

import pytest

from connectors import office
from connectors.connector import ExtensionList
from connectors.threecx.connector import ThreeCXConnector
from connectors.threecx.settings import Settings
from connectors.threecx.simulated import cycles, day, directory, timeline
from connectors.threecx.simulator import OWNER, SimulatedThreeCX
from meter.events import Event, Snapshot
from meter.levels import Levels
from meter.model import Gap, Instant, Leg, Level, Terms
from meter.periods import Period
from meter.sampled import Sampling
from meter.summary import Facts, state
from meter.telling import SLACK_MS, telling
from meter.tenancy import PbxRules, Tenancy, TenantRules
from meter.witness import judged
from tests.threecx import hurried

DAY_MS = 86_400_000
#: Midnight, some day.
BEGIN: Instant = 1_793_923_200_000
TENANTS = {"main": "GRP0000", "sales": "Sales", "workshop": "GRP0002"}
NUMBERS = {"main": "GRP0000", "sales": "GRP0001", "workshop": "GRP0002"}
RULES = Tenancy(
    [PbxRules("cloud", (), listed="3CX/")],
    [
        *(TenantRules(tenant, departments=(name,)) for tenant, name in TENANTS.items()),
    ],
    b"key",
)


@dataclass(slots=True)
class Metered:
    """What the meter kept of a day."""

    levels: Levels
    legs: dict[int, Leg] = field(default_factory=dict)
    gaps: dict[int, Gap] = field(default_factory=dict)
    told: list[Leg] = field(default_factory=list)
    polls: list[tuple[Instant, Instant]] = field(default_factory=list)

    def take(self, events: Sequence[Event]) -> None:
        """The sink."""
        for event in events:
            assert isinstance(event, Snapshot)
            self.levels.apply("cloud", event)
            self.keep()
            self.polls.append((event.requested_at, event.at))

    def keep(self) -> None:
        """Keep what changed."""
        changes = self.levels.drain()
        self.legs |= changes.legs
        self.gaps |= changes.gaps


def truth(legs: Iterable[timeline.Leg], pbx: SimulatedThreeCX, tenant: str) -> list[timeline.Leg]:
    """A tenant's external legs as they were: by whom they were for, else by the one department of their trunk."""
    trunks = {trunk.number: trunk.departments for trunk in pbx.directory.trunks}

    def of(leg: timeline.Leg) -> str | None:
        alone = trunks[leg.trunk]
        return leg.department or (alone[0] if len(alone) == 1 else None)

    return [leg for leg in legs if not leg.bridge and of(leg) == NUMBERS[tenant]]


#: A life: (call, begin, answer, end).
Life = tuple[object, Instant, Instant | None, Instant]


class Lives:
    """What lives add up to, counted by themselves: intervals in which a channel, a call or an answered call was up."""

    def __init__(self, lives: Sequence[Life]) -> None:
        channels = [(begin, end) for _, begin, _, end in lives]
        spans = {
            Level.CHANNELS: channels,
            Level.CALLS: self._calls([(call, begin, end) for call, begin, _, end in lives]),
            Level.ANSWERED: self._calls(
                [(c, answer, end) for c, _, answer, end in lives if answer is not None]
            ),
        }
        self._begins = {one: sorted(begin for begin, _ in found) for one, found in spans.items()}
        self._ends = {one: sorted(end for _, end in found) for one, found in spans.items()}

    @staticmethod
    def _calls(pieces: Iterable[tuple[object, Instant, Instant]]) -> list[tuple[Instant, Instant]]:
        by_call: dict[object, list[tuple[Instant, Instant]]] = {}
        for call, begin, end in pieces:
            by_call.setdefault(call, []).append((begin, end))
        found = []
        for spans in by_call.values():
            united: list[tuple[Instant, Instant]] = []
            for begin, end in sorted(spans):
                if united and begin <= united[-1][1]:
                    united[-1] = (united[-1][0], max(united[-1][1], end))
                else:
                    united.append((begin, end))
            found += united
        return found

    def between(self, one: Level, first: Instant, last: Instant) -> tuple[int, int]:
        """The lowest and the highest that a level can be said to be in `[first, last]`."""
        begins, ends = self._begins[one], self._ends[one]
        return (
            bisect_right(begins, first) - bisect_right(ends, last),
            bisect_right(begins, last) - bisect_right(ends, first),
        )

    def peaks(self) -> dict[Level, int]:
        """The highest value of each level: one is reached where something begins."""
        return {
            one: max((self.between(one, at, at)[0] for at in self._begins[one]), default=0) for one in Level
        }


def true_lives(legs: Iterable[timeline.Leg]) -> Lives:
    """What was true."""
    return Lives(
        [((leg.run, leg.call), leg.start, leg.answer, leg.end) for leg in legs if leg.end is not None]
    )


def metered_lives(legs: Iterable[Leg], tenant: str) -> Lives:
    """What the polls made of it."""
    return Lives(
        [
            (leg.call, leg.start, leg.answer, leg.end)
            for leg in legs
            if leg.tenant == tenant and leg.end is not None
        ]
    )


def figures(legs: Iterable[Leg], tenant: str, gaps: Iterable[Gap]) -> dict[Level, int | None]:
    """The peaks that a record would state."""
    terms = Terms(tenant, 0, None, Level.CHANNELS, ("cloud",))
    facts = Facts(
        tenant, tenant, [leg for leg in legs if leg.tenant == tenant], [], {"cloud": list(gaps)}, [terms], [],
        sampling={"cloud": Sampling("polled", 2000, "call_log")},
    )  # fmt: skip
    found = state(facts, Period("day", BEGIN, BEGIN + DAY_MS), BEGIN + DAY_MS, UTC).figures.levels
    return {one: None if one_level.peak is None else one_level.peak.level for one, one_level in found.items()}


#: Each department's own lines, phones and services: to whom a call belongs is then the same in
#: every phase of it, whichever a poll happens to see.
OFFICES = {
    "main": office.Office(("10000", "10001"), ("100", "101", "102", "103", "10016")),
    "sales": office.Office(("10200",), ("200", "201", "202", "203")),
    "workshop": office.Office(("10020",), ("300", "301", "302", "303")),
}
SERVICES = (
    *(service for service in directory.SERVICES if service.number not in {"8003", "8010", "8020", "8203"}),
    *(
        directory.Service(f"8{place}{kind_number}", f"Service {place}{kind_number}", kind, NUMBERS[tenant])
        for place, tenant in enumerate(TENANTS)
        for kind_number, kind in (
            ("03", directory.Kind.QUEUE),
            ("10", directory.Kind.IVR),
            ("20", directory.Kind.RING_GROUP),
        )
    ),
)
TRUNKS = tuple(
    replace(trunk, departments=(NUMBERS[tenant],))
    for trunk in directory.TRUNKS
    for tenant in (next((t for t, own in OFFICES.items() if trunk.number in own.trunks), "main"),)
)
_VIA = {"queue": "03", "doubled": "03", "ivr": "10", "ring_group": "20"}


def plan(pbx: SimulatedThreeCX, calls: int) -> None:
    """Write down three offices' day."""
    for place, own in enumerate(OFFICES.values()):
        for one in office.day(replace(own, calls=calls // 3), seed=7 + place):
            way = day.way(one)
            cycles.begin(
                pbx.exchange, way, at=BEGIN + round(one.at_s * 1000), trunk=one.trunk, out=one.out or one.trunk,
                extension=one.extension, other=one.other, via=f"8{place}{_VIA[way]}" if way in _VIA else "",
                ring_s=one.ring_s, talk_s=one.talk_s,
            )  # fmt: skip


async def crowd(pbx: SimulatedThreeCX) -> None:
    """In the midst of the morning, thirty calls of a second on each office's line, all of them between two polls."""
    await asyncio.sleep(36_000)
    polls = sum(path.endswith("ActiveCalls") for path in pbx.received)
    await pbx.asked("GET */ActiveCalls", polls + 1)
    for own in OFFICES.values():
        for _ in range(30):
            cycles.begin(
                pbx.exchange, "inbound", at=pbx.exchange.now() + 300, trunk=own.trunks[0],
                extension=own.extensions[0], ring_s=0.2, talk_s=0.8,
            )  # fmt: skip


async def live(calls: int, poll_s: float) -> tuple[Metered, SimulatedThreeCX, ExtensionList]:
    """Let a day pass."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    def now() -> Instant:
        return BEGIN + round((loop.time() - began) * 1000)

    metered = Metered(Levels(RULES))
    metered.levels.watch("cloud")
    async with SimulatedThreeCX(now, services=SERVICES, trunks=TRUNKS) as pbx:
        plan(pbx, calls)
        settings = Settings(url=pbx.url, username=OWNER.client_id, secret=OWNER.secret, poll_s=poll_s)
        connector = ThreeCXConnector("cloud", settings, now)

        async def tell() -> ExtensionList:
            since: Instant | None = None
            users = None
            while now() < BEGIN + DAY_MS + 3_600_000:
                await asyncio.sleep(3_600)
                found = await connector.read_calls(since)
                users = await connector.read_extensions()
                assert found is not None
                since = found.end
                metered.told += [
                    leg for one in found.legs if (leg := judged(one, "cloud", RULES)) is not None
                ]
            assert users is not None
            return users

        async with asyncio.TaskGroup() as group:
            serving = group.create_task(connector.serve(metered.take))
            group.create_task(crowd(pbx))
            users = await tell()
            serving.cancel()
        pbx.exchange.advance()
    return metered, pbx, users


@pytest.mark.parametrize(
    ("calls", "poll_s"),
    [(2_600, 10.0), pytest.param(5_000, 2.0, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])],
)
def test_a_day_is_metered_as_it_was(calls: int, poll_s: float) -> None:
    """Each poll's levels are the truth at its instant, and with the call log the peaks of the day are the truth's.

    Every life cycle that the facts know goes on at the same time, and a crowd of calls of a second
    that no poll sees: it is the call log that knows the day's highest level.
    """
    metered, pbx, users = hurried.run(live(calls, poll_s))
    legs = pbx.exchange.legs
    assert len({(leg.run, leg.call) for leg in legs}) >= 2_000
    (gap,) = metered.gaps.values()
    assert gap.start == 0
    assert gap.end is not None
    assert gap.end < BEGIN + 10_000
    told = {leg.leg: leg for leg in metered.told}.values()
    numbered = [replace(leg, row=-number) for number, leg in enumerate(told, 1)]
    beside = telling(
        [leg for leg in metered.legs.values() if leg.end is not None],
        numbered,
        round(3 * poll_s * 1000),
        SLACK_MS["call_log"],
    )
    both = [*beside.legs, *(leg for leg in metered.legs.values() if leg.row not in beside.seen_as)]
    for tenant in TENANTS:
        true = true_lives(truth(legs, pbx, tenant))
        seen = metered_lives(metered.legs.values(), tenant)
        wrong = [
            (came_at, one, seen.between(one, came_at, came_at)[0], true.between(one, asked_at, came_at))
            for asked_at, came_at in metered.polls
            for one in Level
            if not (bounds := true.between(one, asked_at, came_at))[0]
            <= seen.between(one, came_at, came_at)[0]
            <= bounds[1]
        ]
        assert wrong == []
        by_polls, by_log = figures(metered.legs.values(), tenant, [gap]), figures(both, tenant, [gap])
        print(f"{tenant}: peaks by polls {by_polls}, by call log {by_log}, true {true.peaks()}")
        assert by_polls == seen.peaks()
        assert all((by_polls[one] or 0) < true.peaks()[one] for one in Level)
        assert by_log == true.peaks()
    assert len(users.extensions) == len(
        [user for user in pbx.directory.users if not user.number.startswith("HD")]
    )
    assert pbx.dropped == []
