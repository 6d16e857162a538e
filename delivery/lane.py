"""A loop that carries what waits in an outbox, several parcels at once: for agent and provider alike.

Sending comes after the row and may be repeated. A slow or dead target costs its own time
and nobody else's. What became of a parcel is written down before it is looked at again;
as long as that can't be done nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from delivery.courier import Courier, Delivered, Outcome, Parcel, Refused, TryAgain
from delivery.plan import PLANS, wait_s
from meter.model import Instant

log = structlog.get_logger(__name__)

#: Parcels of one lane that are on their way at once, in all and to one target: a dead
#: target must not take all the places.
AT_ONCE: Final = 8
AT_ONCE_TO_ONE: Final = 2
#: Rows that are looked at, at most, to find some that may leave.
LOOK_AT: Final = 64
#: The longest sleep, so that rows that others wrote are found.
LOOK_EVERY_S: Final = 30.0
#: How soon a disk that failed is tried again.
DISK_AGAIN_S: Final = 2.0


class OutboxUnusable(Exception):  # noqa: N818  # it says what is so
    """The outbox can't be read or written now. `hint`: what to do, if it does not pass by itself."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Row:
    """An outbox row that is due: the parcel as it goes now, and what the outbox knows it by."""

    key: Hashable
    parcel: Parcel


class Outbox(Protocol):
    """Rows of one lane. Every method may raise `OutboxUnusable`."""

    async def due(self, now: Instant, most: int) -> Sequence[Row]:
        """Return rows that are due, the longest due first."""
        ...

    async def next_due(self, now: Instant) -> Instant | None:
        """Return when the next row is due that is not due yet; None: not known, or none waits."""
        ...

    async def delivered(self, row: Row, at: Instant) -> None:
        """Settle a row: the other side has it."""
        ...

    async def again(self, row: Row, due_at: Instant, why: str) -> None:
        """Put a row off."""
        ...

    async def park(self, row: Row, at: Instant, why: str, hint: str) -> None:
        """Set a row aside: it will never be taken as it is. It is shown, and kept."""
        ...


class Bell:
    """Wakes a loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits, now or at its next wait."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class Lane:
    """Carries the rows of one lane, several at once, so that a slow one costs its own time only.

    Args:
        lane: Its name, which also names its plan.
        courier: Who carries.
        outbox: Where its rows are.
        now: When it is.
        retry: What an operator types to let parked rows go again.
    """

    def __init__(
        self, lane: str, courier: Courier, outbox: Outbox, now: Callable[[], Instant], retry: str
    ) -> None:
        self.bell = Bell()
        self._lane = lane
        self._courier = courier
        self._outbox = outbox
        self._now = now
        self._retry = retry
        self._away: dict[Hashable, str] = {}  # rows that are being carried, with their targets
        #: What became of rows and could not be written down: never to be carried again before it is.
        self._unwritten: dict[Hashable, Callable[[], Awaitable[None]]] = {}

    async def run(self) -> None:
        """Carry what is due, for ever."""
        said = ""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    wait = await self._send_out(group)
                except OutboxUnusable as error:
                    if str(error) != said:
                        log.error("lane.hindered", lane=self._lane, error=str(error), hint=error.hint)  # noqa: TRY400 - no bug
                    said, wait = str(error), DISK_AGAIN_S
                else:
                    said = ""
                await self.bell.wait(min(max(wait, 0.02), LOOK_EVERY_S))

    async def _send_out(self, group: asyncio.TaskGroup) -> float:
        """Begin to carry what may leave now; return in how many seconds something more may."""
        await self._write_outcomes()
        now = self._now()
        for row in await self._outbox.due(now, LOOK_AT):
            if self._may_leave(row):
                self._away[row.key] = row.parcel.target
                group.create_task(self._carry(row))
        due_at = await self._outbox.next_due(now)
        return LOOK_EVERY_S if due_at is None else (due_at - now) / 1000

    def _may_leave(self, row: Row) -> bool:
        targets = list(self._away.values())
        return (
            row.key not in self._away
            and row.key not in self._unwritten
            and len(targets) < AT_ONCE
            and (targets.count(row.parcel.target) < AT_ONCE_TO_ONE)
        )

    async def _carry(self, row: Row) -> None:
        try:
            outcome = await self._courier.carry(row.parcel)
        except Exception:
            log.exception("parcel.courier_failed", lane=self._lane, id=row.parcel.id)
            outcome = TryAgain("the courier failed: the log says why; please report it")
        self._unwritten[row.key] = self._settled(row, outcome)
        del self._away[row.key]
        self.bell.ring()

    async def _write_outcomes(self) -> None:
        """Write down what became of rows. A disk that fails keeps them here, and nothing is sent twice."""
        for key, settle in list(self._unwritten.items()):
            await settle()
            del self._unwritten[key]

    def _settled(self, row: Row, outcome: Outcome) -> Callable[[], Awaitable[None]]:
        """Log what became of a row, and return how to write it down."""
        now, parcel = self._now(), row.parcel
        if isinstance(outcome, Delivered):
            log.info("parcel.delivered", lane=self._lane, id=parcel.id, attempt=parcel.attempt)
            return lambda: self._outbox.delivered(row, now)
        why = outcome.why
        wait = wait_s(PLANS[self._lane], attempt=parcel.attempt, outcome=outcome, random=random.random)
        if wait is None:
            hint = f"mend the cause, then: {self._retry}"
            if isinstance(outcome, Refused) and outcome.hint:
                hint = f"{outcome.hint}; then: {self._retry}"
            log.error("parcel.parked", lane=self._lane, id=parcel.id, why=why, hint=hint)
            return lambda: self._outbox.park(row, now, why, hint)
        if parcel.attempt == 1:
            log.warning("parcel.put_off", lane=self._lane, id=parcel.id, why=why)
        due_at = now + int(wait * 1000)
        return lambda: self._outbox.again(row, due_at, why)
