"""Loops that carry what waits: outbox rows through their couriers, sealed records to the provider.

Sending comes after the row and may be repeated. A slow or dead server costs its own
lane's time and nobody else's. Records go in order, one after another: the next one
leaves when the one before has its receipt.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

import structlog

from agent.clock import Clock
from agent.store import outbox, records
from agent.store.database import Database, Store, StoreError
from agent.upstream import Judged, Position, Standing, Step, Upstream, Verdict, compare
from delivery import lane
from delivery.courier import Courier, Parcel, TryAgain
from delivery.lane import LOOK_EVERY_S, Bell, OutboxUnusable, Row
from delivery.plan import UPSTREAM, wait_s
from meter.model import Instant
from meter.signature import PrivateKey

log = structlog.get_logger(__name__)

#: How often an agent that is not enrolled looks whether it is by now.
ENROLMENT_EVERY_S: Final = 2.0

T = TypeVar("T")


class Lane(lane.Lane):
    """Carries the rows of one lane of the agent's outbox.

    Args:
        name: The lane's name.
        courier: Who carries.
        store: Where its rows are.
        clock: When it is.
    """

    def __init__(self, name: str, courier: Courier, store: Store, clock: Clock) -> None:
        super().__init__(name, courier, _Outbox(name, store), clock.now, "pbx-meter outbox retry")


class _Outbox:
    """The rows of one lane in the store (see `delivery.lane.Outbox`)."""

    def __init__(self, lane: str, store: Store) -> None:
        self._lane = lane
        self._store = store

    async def due(self, now: Instant, most: int) -> list[Row]:
        """See `Outbox.due`."""
        rows = await self._read(lambda db: outbox.due(db, self._lane, now, most))
        return [
            Row(row.row, Parcel(row.id, row.lane, row.target, row.body, row.attempts + 1)) for row in rows
        ]

    async def next_due(self, now: Instant) -> Instant | None:
        """See `Outbox.next_due`."""
        return await self._read(lambda db: outbox.next_due(db, self._lane, now))

    async def delivered(self, row: Row, at: Instant) -> None:
        """See `Outbox.delivered`."""
        await self._write(lambda db, number: outbox.delivered(db, number, at), row)

    async def again(self, row: Row, due_at: Instant, why: str) -> None:
        """See `Outbox.again`."""
        await self._write(lambda db, number: outbox.again(db, number, due_at, why), row)

    async def park(self, row: Row, at: Instant, why: str, hint: str) -> None:
        """See `Outbox.park`."""
        await self._write(lambda db, number: outbox.park(db, number, at, why, hint), row)

    async def _read(self, work: Callable[[Database], T]) -> T:
        try:
            return await self._store.read(work)
        except StoreError as error:
            raise OutboxUnusable(str(error), error.hint) from error

    async def _write(self, work: Callable[[Database, int], None], row: Row) -> None:
        number = cast("int", row.key)
        try:
            await self._store.write(lambda db: work(db, number))
        except StoreError as error:
            raise OutboxUnusable(str(error), error.hint) from error


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
        self._passing: str | None = None

    @property
    def passes(self) -> bool:
        """Whether the trouble passes by itself: the network, or a receiver that is busy."""
        return self.trouble is not None and self.trouble == self._passing

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
        self.trouble, self._passing = said, None if judged.hint else said
        outcome = TryAgain(judged.why, judged.not_before_s)
        wait = wait_s(UPSTREAM, attempt=max(1, self._attempt), outcome=outcome, random=random.random)
        await self._clock.sleep(LOOK_EVERY_S if wait is None else wait)
