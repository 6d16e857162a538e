"""What one event costs once it is read: levels, figures, and whether a notice is due, as the agent's reader does it.

A leg begins, is answered, and another one ends, so that as many stay up. Between the rounds comes what else
comes in life and is not measured here: a snapshot, which lets go of what is settled, and the commit.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import structlog

from agent import app
from bench.figures import Figure, Scale
from bench.installation import PBX, HandClock, configured
from config.load import load
from meter.events import Event, LegChanged, LegEnded, LegStarted, Sighting, Snapshot
from meter.model import Direction

UP: Final = (10, 100, 1_000, 10_000)
TENANTS: Final = (1, 500)
LEGS: Final = 1_000  # a round
ROUNDS: Final = 25
BEGIN: Final = 1_793_487_600_000


class Traffic:
    """Legs over the trunks of so many tenants, one after the other."""

    def __init__(self, parts: app.Agent, clock: HandClock, trunks: list[str]) -> None:
        self.up: deque[Sighting] = deque()
        self._parts = parts
        self._clock = clock
        self._fresh = self._sightings(trunks)

    def _sightings(self, trunks: list[str]) -> Iterator[Sighting]:
        for number in count(1):
            leg = f"{self._clock.at // 1000}.{number}"
            yield Sighting(leg, leg, trunks[number % len(trunks)], Direction.IN)

    def begin(self, legs: int) -> None:
        """Let legs begin and be answered."""
        take, at = self._parts.sampling.take, self._clock.at
        for _ in range(legs):
            seen = next(self._fresh)
            self.up.append(seen)
            take(PBX, [LegStarted(at, seen)])
            take(PBX, [LegChanged(at, seen.leg, seen.call, answered=True)])

    def turn_over(self, legs: int) -> float:
        """Let legs begin, be answered, and as many of the oldest end; return CPU seconds an event."""
        take, at = self._parts.sampling.take, self._clock.at
        events: list[list[Event]] = []
        for _ in range(legs):
            seen = next(self._fresh)
            self.up.append(seen)
            gone = self.up.popleft()
            events += [
                [LegStarted(at, seen)],
                [LegChanged(at, seen.leg, seen.call, answered=True)],
                [LegEnded(at, gone.leg, gone.call)],
            ]
        gc.collect()
        gc.disable()  # its rounds come when they come, and hit one figure by chance
        began = time.process_time()
        for one in events:
            take(PBX, one)
        spent = time.process_time() - began
        gc.enable()
        return spent / len(events)

    async def settle(self) -> None:
        """Let a second pass, a snapshot agree, and all be committed."""
        self._clock.at += 1_000
        legs = tuple(seen._replace(answered=True, created=self._clock.at) for seen in self.up)
        self._parts.sampling.take(PBX, [Snapshot(self._clock.at, self._clock.at, legs, "run 1")])
        await self._parts.sampling.commit()


async def cost(tenants: int, ups: tuple[int, ...], legs: int) -> list[float]:
    """Return microseconds an event with so many legs up, the best of the rounds."""
    trunks = [f"PJSIP/trunk-{number}" for number in range(tenants)]
    found = []
    for up in ups:
        with tempfile.TemporaryDirectory() as name:
            clock = HandClock(BEGIN)
            async with app.agent(load(configured(Path(name), trunks, capacity=100_000)), clock) as parts:
                parts.sampling.take(PBX, [Snapshot(clock.at, clock.at, (), "run 1")])
                traffic = Traffic(parts, clock, trunks)
                traffic.begin(up)
                best = float("inf")
                for _ in range(ROUNDS):
                    await traffic.settle()
                    best = min(best, traffic.turn_over(legs))
                found.append(1e6 * best)
    return found


def measure(scale: Scale) -> list[Figure]:
    """Return the cost of an event in each setting, and how much the settings differ."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    ups = tuple(scale.of(up, 10) for up in UP)
    found: list[Figure] = []
    for tenants in TENANTS:
        costs = asyncio.run(cost(scale.of(tenants), ups, scale.of(LEGS, 20)))
        found += [
            Figure(f"an event, {up:,} legs up, {tenants} tenants", each, "µs of CPU")
            for up, each in zip(UP, costs, strict=True)
        ]
    values = [one.value or 0.0 for one in found]
    how = "the dearest setting over the cheapest"
    return [
        *found,
        Figure("an event: how far from flat", 100 * (max(values) / min(values) - 1), "%", how, ("<=", 20)),
    ]
