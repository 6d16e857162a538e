"""The only real clock of the agent: meter time, and what the wall clock did to it.

Meter time is the wall clock's UTC, but it never goes back: after a backward step it
stands still until the wall clock has passed it. A step is a jump of the wall clock
against CLOCK_BOOTTIME, which also runs while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from meter.model import Instant

#: Jumps up to here are slewing and rounding, in ms.
STEP_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock was set.

    Attributes:
        before: Meter time just before it was noticed; what is later was not measured evenly.
        at: Meter time after it.
        by_ms: How far, forward > 0.
    """

    before: Instant
    at: Instant
    by_ms: int

    @property
    def repeated_ms(self) -> int:
        """How much time a backward step makes the wall clock say twice."""
        return max(0, -self.by_ms)


class Clock:
    """Reads the clock.

    Args:
        ahead_ms: Added to the wall clock: the demo lives a little in the future.
    """

    def __init__(self, *, ahead_ms: int = 0) -> None:
        self._ahead_ms = ahead_ms
        self._offset = self.wall() - self.boot()
        self._last = self.wall()
        self._steps: list[Step] = []
        self._first_offset = self._offset

    def wall(self) -> Instant:
        """Return the wall clock's UTC, which may jump."""
        return time.time_ns() // 1_000_000 + self._ahead_ms

    def boot(self) -> int:
        """Return milliseconds since the machine started, sleep included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def now(self) -> Instant:
        """Return meter time. It never goes back."""
        wall = self.wall()
        offset = wall - self.boot()
        before = self._last
        self._last = max(before, wall)
        if abs(offset - self._offset) > STEP_MS:
            self._steps.append(Step(before, self._last, offset - self._offset))
        self._offset = offset
        return self._last

    def not_before(self, at: Instant) -> None:
        """Take it that meter time has reached `at` already: it stands in the ledger."""
        self._last = max(self._last, at)

    @property
    def moved_ms(self) -> int:
        """How far the wall clock has moved against CLOCK_BOOTTIME since the start."""
        return abs(self.wall() - self.boot() - self._first_offset)

    def steps(self) -> list[Step]:
        """Return the steps that were noticed since the last call."""
        steps, self._steps = self._steps, []
        return steps

    @property
    def stands_still(self) -> bool:
        """Whether the wall clock is earlier than meter time, so that nothing may be sealed."""
        return self.wall() < self._last

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
