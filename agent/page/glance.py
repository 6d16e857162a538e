"""What the agent says of itself, read once for everybody who looks.

Rules of this file:
- while nothing moves, a reading serves everybody for five seconds; nobody's request folds;
- when something moves it is read again at once, but never more than five times a second, and
  reading takes a fifth of the time at most, however much there is to fold;
- nobody looks: nothing is read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from agent.clock import Clock
from agent.page.today import Today
from agent.status import Rows, Status
from agent.store.database import StoreError
from meter.model import Instant

#: The shortest and the longest time between two readings, in s.
LEAST_S: Final = 0.2
MOST_S: Final = 5.0
#: The rest after a reading is at least so many times as long as it took.
_RESTS: Final = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of everything, and its number; a newer one has a higher number."""

    number: int
    found: dict[str, Any]


class Glance:
    """The last reading.

    Args:
        status: What is read.
        today: The curves, read with it.
        clock: The clock.
        moved: Set by whoever knows that something may have moved.
    """

    def __init__(self, status: Status, today: Today, clock: Clock, moved: asyncio.Event) -> None:
        self._status = status
        self._today = today
        self._clock = clock
        self._last: Reading | None = None
        self._read_at = self._rows_at = 0.0
        self._rest_s = LEAST_S
        self._rows: Rows | None = None
        self._moved = moved
        self._reading = asyncio.Lock()

    async def look(self) -> Reading:
        """Return the last reading, or a fresh one if something moved or it is too old."""
        async with self._reading:
            age_s = _time_s() - self._read_at
            calm = not self._moved.is_set() and age_s < MOST_S
            if self._last is not None and (calm or age_s < self._rest_s):
                return self._last
            self._moved.clear()
            began_s = _time_s()
            self._last = Reading(1 if self._last is None else self._last.number + 1, await self._read())
            self._read_at = _time_s()
            self._rest_s = max(LEAST_S, _RESTS * (self._read_at - began_s))
            return self._last

    async def after(self, number: int) -> Reading:
        """Return a reading newer than a number: as soon as something moves, else after five seconds."""
        while (reading := await self.look()).number == number:
            try:
                async with asyncio.timeout(max(0.01, self._read_at + MOST_S - _time_s())):
                    await self._moved.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, self._read_at + self._rest_s - _time_s()))
        return reading

    async def fresh(self) -> dict[str, Any]:
        """Return everything as it is now, for one who asks once.

        Raises:
            StoreError: The database can't be read.
        """
        return _joined(await self._status.read(self._clock.now()), await self._curves())

    async def _read(self) -> dict[str, Any]:
        now = self._clock.now()
        rows = await self._rows_now(now)
        curves = await self._curves()
        return _joined(self._status.said(now, rows, await self._status.figures(now)), curves)

    async def _rows_now(self, now: Instant) -> Rows:
        """Return the rows of the last five seconds; older ones while the disk fails, which is said elsewhere."""
        if self._rows is None or _time_s() - self._rows_at >= MOST_S:
            try:
                self._rows, self._rows_at = await self._status.rows(now), _time_s()
            except StoreError:
                if self._rows is None:
                    raise
        return self._rows

    async def _curves(self) -> dict[str, dict[str, Any]]:
        try:
            return await self._today.read()
        except StoreError:
            return {}


def _joined(found: dict[str, Any], curves: dict[str, dict[str, Any]]) -> dict[str, Any]:
    for tenant, said in found["tenants"].items():
        said["today"] = curves.get(tenant)
    return found


def _time_s() -> float:
    return asyncio.get_running_loop().time()
