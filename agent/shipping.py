"""Loops that carry what waits: outbox rows through their couriers, sealed records to the provider.

Sending comes after the row and may be repeated. A slow or dead server costs its own
lane's time and nobody else's. Records go in order, one after another: the next one
leaves when the one before has its receipt.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from agent.clock import Clock
from agent.store import outbox, records
from agent.store.database import Store
from agent.store.outbox import Waiting
from agent.upstream import Judged, Position, Standing, Step, Upstream, Verdict, compare
from delivery.courier import Courier, Delivered, Parcel, Refused, TryAgain
from delivery.plan import PLANS, UPSTREAM, wait_s
from meter.signature import PrivateKey

log = structlog.get_logger(__name__)

#: Parcels of one lane that are on their way at once.
AT_ONCE: Final = 4
#: The longest sleep, so that rows that others wrote are found.
LOOK_EVERY_S: Final = 30.0
#: How often an agent that is not enrolled looks whether it is by now.
ENROLMENT_EVERY_S: Final = 2.0


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
    """Carries the rows of one lane.

    Args:
        lane: Its name, which also names its plan.
        courier: Who carries.
        store, clock: Where rows are, and when it is.
    """

    def __init__(self, lane: str, courier: Courier, store: Store, clock: Clock) -> None:
        self.bell = Bell()
        self._lane = lane
        self._courier = courier
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Carry what is due, for ever."""
        while True:
            now = self._clock.now()
            rows = await self._store.read(lambda db: outbox.due(db, self._lane, now, AT_ONCE))  # noqa: B023 - used at once
            if rows:
                async with asyncio.TaskGroup() as group:
                    for row in rows:
                        group.create_task(self._carry(row))
                continue
            due_at = await self._store.read(lambda db: outbox.next_due(db, self._lane))
            wait = LOOK_EVERY_S if due_at is None else (due_at - now) / 1000
            await self.bell.wait(min(max(wait, 0.02), LOOK_EVERY_S))

    async def _carry(self, row: Waiting) -> None:
        parcel = Parcel(row.id, row.lane, row.target, row.body, row.attempts + 1)
        outcome = await self._courier.carry(parcel)
        now = self._clock.now()
        if isinstance(outcome, Delivered):
            await self._store.write(lambda db: outbox.delivered(db, row.row, now))
            log.info("parcel.delivered", lane=row.lane, id=row.id, attempt=parcel.attempt)
            return
        wait = wait_s(PLANS[row.lane], attempt=parcel.attempt, outcome=outcome, random=random.random)
        if wait is None:
            hint = (
                outcome.hint
                if isinstance(outcome, Refused)
                else "mend the cause, then: pbx-meter outbox retry"
            )
            await self._store.write(lambda db: outbox.park(db, row.row, now, outcome.why, hint))
            log.error("parcel.parked", lane=row.lane, id=row.id, why=outcome.why, hint=hint)
            return
        due_at = now + int(wait * 1000)
        await self._store.write(lambda db: outbox.again(db, row.row, due_at, outcome.why))
        if parcel.attempt == 1:
            log.warning("parcel.put_off", lane=row.lane, id=row.id, why=outcome.why)


class Shipping:
    """Carries sealed records to the provider, in order.

    Args:
        enrolled: Gives the provider's receiver; None: this agent is not enrolled there yet.
        store, clock: Where records are, and when it is.
        key: The key that signs.
        position_known: Called once the receiver's position was compared.

    Attributes:
        trouble: What hinders now, as one sentence with the next thing to do; None: nothing.
    """

    def __init__(
        self,
        enrolled: Callable[[], Awaitable[Upstream | None]],
        store: Store,
        clock: Clock,
        key: Callable[[], PrivateKey],
        position_known: Callable[[], None],
    ) -> None:
        self.bell = Bell()
        self.trouble: str | None = None
        self._enrolled = enrolled
        self._store = store
        self._clock = clock
        self._key = key
        self._position_known = position_known
        self._cursor: tuple[int, int] | None = None  # chain and sequence of the next record to send
        self._attempt = 0

    async def run(self) -> None:
        """Compare positions, then send what has no receipt, for ever."""
        while (upstream := await self._enrolled()) is None:
            self.trouble = "not enrolled at the provider: ask for an invitation, then type: pbx-meter enrol"
            self._position_known()  # there is nobody to ask yet
            await self.bell.wait(ENROLMENT_EVERY_S)
        self.trouble = None
        while not await self._compare(upstream):
            self._attempt += 1
        self._attempt = 0
        while True:
            if not await self._send_next(upstream):
                await self.bell.wait(LOOK_EVERY_S)

    async def _compare(self, upstream: Upstream) -> bool:
        answer = await upstream.position(self._key())
        if not isinstance(answer, Position):
            await self._put_off(answer)
            return False
        chain = await self._store.read(records.chain)
        standing = Standing.AGREED
        if chain is not None:
            held = await self._store.read(lambda db: records.hashes(db, chain.number))
            continues = chain.continues
            standing = compare(
                answer,
                chain=chain.id,
                last_sequence=max(held, default=0),
                continues=None
                if continues is None
                else (continues["chain"], continues["sequence"], continues["sha256"]),
                sha256_at=held.get,
            )
        elif answer.chain is not None:
            standing = Standing.AHEAD
        if standing is not Standing.AGREED:
            await self._halt(
                "the receiver has records that this agent does not have: this looks like a restored copy. "
                "Make sure that no other machine reports as this agent, then type: pbx-meter chain new"
            )
        self._position_known()
        return True

    async def _send_next(self, upstream: Upstream) -> bool:
        """Send one record; return whether another may follow at once."""
        chain = await self._store.read(records.chain)
        if chain is None or chain.halted is not None:
            self.trouble = chain.halted if chain else None
            return False
        if self._cursor is None or self._cursor[0] != chain.number:
            first = await self._store.read(lambda db: records.first_without_receipt(db, chain.number))
            self._cursor = (chain.number, first)
        number, sequence = self._cursor
        found = await self._store.read(lambda db: records.waiting(db, number, sequence, 1))
        if not found:
            return False
        jws = found[0].jws
        if jws is None:
            await self._halt(
                f"the receiver asks for record {sequence}, which is kept no longer. "
                "Ask the provider for a fresh invitation, then type: pbx-meter enrol"
            )
            return False
        return await self._understand(await upstream.post(jws), number, sequence)

    async def _understand(self, judged: Judged, number: int, sequence: int) -> bool:
        match judged.step:
            case Step.GO_ON:
                await self._keep_receipt(judged, number, sequence)
                self._cursor, self._attempt, self.trouble = (number, sequence + 1), 0, None
                return True
            case Step.SEND_FROM if judged.expected is not None:
                return await self._send_from(judged.expected, number, sequence)
            case Step.STOP_SEALING:
                await self._halt(f"{judged.why}. {judged.hint}")
                return False
            case _:
                self._attempt += 1
                await self._put_off(judged)
                return True

    async def _send_from(self, expected: int, number: int, sequence: int) -> bool:
        last = (await self._store.read(lambda db: records.head(db, number))).sequence - 1
        if expected == sequence or not 1 <= expected <= last + 1:
            await self._halt(
                f"the receiver expects record {expected}, this agent has 1 to {last}: one of the two was "
                "restored from an older copy. Ask the provider, then type: pbx-meter chain new"
            )
            return False
        log.warning("upstream.sends_again", from_sequence=expected)
        self._cursor = (number, expected)
        return True

    async def _keep_receipt(self, judged: Judged, number: int, sequence: int) -> None:
        receipt = judged.receipt_jws or ""
        status = "counted" if judged.verdict is Verdict.COUNTED else "refused"
        why = None if judged.receipt is None else judged.receipt.reason
        await self._store.write(lambda db: records.receipted(db, number, sequence, receipt, status, why))
        if status == "refused":
            log.error("record.refused", sequence=sequence, why=why, hint=judged.hint)

    async def _halt(self, why: str) -> None:
        self.trouble = why
        await self._store.write(lambda db: records.halt(db, why))
        log.error("chain.halted", why=why)

    async def _put_off(self, judged: Judged) -> None:
        said = f"{judged.why}. {judged.hint}" if judged.hint else judged.why
        if said != self.trouble:
            log.warning("upstream.trouble", why=judged.why, hint=judged.hint)
        self.trouble = said
        outcome = TryAgain(judged.why, judged.not_before_s)
        wait = wait_s(UPSTREAM, attempt=max(1, self._attempt), outcome=outcome, random=random.random)
        await self._clock.sleep(LOOK_EVERY_S if wait is None else wait)
