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
from agent.store.database import Database, Store, StoreError
from agent.store.outbox import Waiting
from agent.upstream import Judged, Position, Standing, Step, Upstream, Verdict, compare
from delivery.courier import Courier, Delivered, Outcome, Parcel, Refused, TryAgain
from delivery.plan import PLANS, UPSTREAM, wait_s
from meter.signature import PrivateKey

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
    """Carries the rows of one lane, several at once, so that a slow one costs its own time only.

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
        self._away: dict[int, str] = {}  # rows that are being carried, with their targets
        #: What became of rows and could not be written down: never to be carried again before it is.
        self._unwritten: dict[int, Callable[[Database], None]] = {}

    async def run(self) -> None:
        """Carry what is due, for ever."""
        said = ""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    wait = await self._send_out(group)
                except StoreError as error:
                    if str(error) != said:
                        log.error("lane.hindered", lane=self._lane, error=str(error), hint=error.hint)  # noqa: TRY400 - no bug
                    said, wait = str(error), DISK_AGAIN_S
                else:
                    said = ""
                await self.bell.wait(min(max(wait, 0.02), LOOK_EVERY_S))

    async def _send_out(self, group: asyncio.TaskGroup) -> float:
        """Begin to carry what may leave now; return in how many seconds something more may."""
        await self._write_outcomes()
        now = self._clock.now()
        for row in await self._store.read(lambda db: outbox.due(db, self._lane, now, LOOK_AT)):
            if self._may_leave(row):
                self._away[row.row] = row.target
                group.create_task(self._carry(row))
        due_at = await self._store.read(lambda db: outbox.next_due(db, self._lane, now))
        return LOOK_EVERY_S if due_at is None else (due_at - now) / 1000

    def _may_leave(self, row: Waiting) -> bool:
        targets = list(self._away.values())
        return (
            row.row not in self._away
            and row.row not in self._unwritten
            and len(targets) < AT_ONCE
            and (targets.count(row.target) < AT_ONCE_TO_ONE)
        )

    async def _carry(self, row: Waiting) -> None:
        parcel = Parcel(row.id, row.lane, row.target, row.body, row.attempts + 1)
        try:
            outcome = await self._courier.carry(parcel)
        except Exception:
            log.exception("parcel.courier_failed", lane=row.lane, id=row.id)
            outcome = TryAgain("the courier failed: the log says why; please report it")
        self._unwritten[row.row] = self._settled(parcel, row, outcome)
        del self._away[row.row]
        self.bell.ring()

    async def _write_outcomes(self) -> None:
        """Write down what became of rows. A disk that fails keeps them here, and nothing is sent twice."""
        for row, settle in list(self._unwritten.items()):
            await self._store.write(settle)
            del self._unwritten[row]

    def _settled(self, parcel: Parcel, row: Waiting, outcome: Outcome) -> Callable[[Database], None]:
        """Log what became of a row, and return how to write it down."""
        now = self._clock.now()
        if isinstance(outcome, Delivered):
            log.info("parcel.delivered", lane=row.lane, id=row.id, attempt=parcel.attempt)
            return lambda db: outbox.delivered(db, row.row, now)
        why = outcome.why
        wait = wait_s(PLANS[row.lane], attempt=parcel.attempt, outcome=outcome, random=random.random)
        if wait is None:
            hint = "mend the cause, then: pbx-meter outbox retry"
            if isinstance(outcome, Refused) and outcome.hint:
                hint = f"{outcome.hint}; then: pbx-meter outbox retry"
            log.error("parcel.parked", lane=row.lane, id=row.id, why=why, hint=hint)
            return lambda db: outbox.park(db, row.row, now, why, hint)
        if parcel.attempt == 1:
            log.warning("parcel.put_off", lane=row.lane, id=row.id, why=why)
        due_at = now + int(wait * 1000)
        return lambda db: outbox.again(db, row.row, due_at, why)


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
        upstream = await self._receiver()
        while not await self._compare(upstream):
            self._attempt += 1
            upstream = await self._receiver()
        self._attempt, self.trouble = 0, None
        while True:
            if not await self._send_next(upstream):
                await self.bell.wait(LOOK_EVERY_S)
            if self.trouble is not None:
                upstream = await self._receiver()

    async def _receiver(self) -> Upstream:
        """Return the provider's receiver as enrolled now: an enrolment afresh may be what ends a trouble."""
        while (upstream := await self._enrolled()) is None:
            self.trouble = "not enrolled at the provider: ask for an invitation, then type: pbx-meter enrol"
            self._position_known()  # there is nobody to ask yet
            await self.bell.wait(ENROLMENT_EVERY_S)
        return upstream

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
            self.trouble = None  # nothing waits, so nothing hinders
            return False
        jws = found[0].jws
        if jws is None:
            return self._hold(f"the receiver asks for record {sequence}, which is kept no longer")
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
        if expected == sequence:
            return self._hold(f"the receiver asks for record {sequence} and does not take it")
        if not 1 <= expected <= last + 1:
            await self._halt(
                f"the receiver expects record {expected}, this agent has 1 to {last}: one of the two was "
                "restored from an older copy. Ask the provider, then type: pbx-meter chain new"
            )
            return False
        log.warning("upstream.sends_again", from_sequence=expected)
        self._cursor = (number, expected)
        return True

    def _hold(self, why: str) -> bool:
        """Send nothing until something changes; sealing goes on."""
        said = f"{why}. Ask the provider for a fresh invitation, then type: pbx-meter enrol"
        if said != self.trouble:
            log.error("upstream.held", why=said)
        self.trouble, self._cursor = said, None
        return False

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
