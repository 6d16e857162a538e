"""Loop: connector events -> meter -> ledger.

`take` is the sink of every connector: it runs inside the reader of the PBX link,
so it only computes, and nothing can make it wait. `commit` writes what came in, at
least every second, at once when a notice is due. While the disk fails, counting goes
on in memory and nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from agent.alerting import Alerting, Alerts
from agent.clock import Clock
from agent.contracts import Calendar, Contract
from agent.store.database import Database, Store, StoreError
from agent.store.ledger import Heard
from agent.unwritten import Unwritten
from meter.account import Account
from meter.events import Event, Snapshot
from meter.fold import Figures
from meter.levels import Levels
from meter.model import Cause, Instant
from meter.presence import FOREVER
from meter.watched import Changes

log = structlog.get_logger(__name__)

#: The longest time between two commits, in s.
COMMIT_EVERY_S: Final = 1.0
#: How often the time is minded, in s.
BEAT_S: Final = 0.5
#: The event loop stood still if it did not turn for so long, in ms.
STALL_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Handover:
    """What one `Sampling` leaves to the next one of the same agent, when the configuration changes.

    Attributes:
        unwritten: Rows that are not written yet.
        repairs: What snapshots repaired so far, by PBX.
        distrust_before: Snapshots that were asked for earlier are not believed.
    """

    unwritten: Unwritten
    repairs: dict[str, tuple[int, int]]
    distrust_before: Instant


class Sampling:
    """The meter of one agent, live.

    Args:
        levels: The live state of all PBXs.
        contracts: Every tenant of the configuration, by id.
        accounts: Each tenant's running figures.
        calendars: Each tenant's periods.
        store: Where facts go.
        clock: The clock.

    Attributes:
        alerting: Who judges the levels; set once, before the first event.
        resnapshot: Asks every connector for a fresh snapshot; set once, likewise.
        wake_lanes: Tells the lanes that rows wait for them; set once, likewise.
        after_the_fact: PBXs whose calls are known only when they have ended; set once, likewise.
        disk: What is wrong with the disk now; None: nothing.
        turned_at: Meter time when the loops last turned: what is known reaches up to here.
        tried_at: When the last commit ended, well or not, in ms of `Clock.boot`.
    """

    def __init__(
        self,
        levels: Levels,
        contracts: Mapping[str, Contract],
        accounts: Mapping[str, Account],
        calendars: Mapping[str, Calendar],
        store: Store,
        clock: Clock,
    ) -> None:
        self.levels = levels
        self.contracts = contracts
        self.accounts = dict(accounts)
        self.calendars = calendars
        self.alerting: Alerting | None = None
        self.resnapshot: Callable[[], None] = lambda: None
        self.wake_lanes: Callable[[], None] = lambda: None
        self.after_the_fact: frozenset[str] = frozenset()
        self.disk: StoreError | None = None
        self._store = store
        self._clock = clock
        self._unwritten = Unwritten()
        self._repairs: dict[str, tuple[int, int]] = {}
        self._wake = asyncio.Event()
        self._committing = asyncio.Lock()
        self._turned = clock.boot()
        self.turned_at = clock.now()
        self.tried_at = self._turned
        self._distrust_before: Instant = 0  # snapshots asked for earlier may have been stale when read
        self._tenants_on: dict[str, list[str]] = {pbx: [] for pbx in levels.pbxs}
        for contract in contracts.values():
            for pbx in contract.terms.pbxs:
                self._tenants_on[pbx].append(contract.tenant)

    def begin(self, changes: Changes) -> None:
        """Take over what was restored: the facts of the start, and what is settled already."""
        self._give(changes, self.accounts)
        for account in self.accounts.values():
            account.settle(self.turned_at)

    def hand_over(self) -> Handover:
        """Return what no commit has written, for the one that goes on over the same levels. Inside `still`."""
        self.mind_time()
        self._spread()
        if self.alerting is not None:
            self._unwritten.alerts.absorb(self.alerting.drain())
        left = Handover(self._unwritten, self._repairs, self._distrust_before)
        self._unwritten = Unwritten()
        return left

    def go_on(self, left: Handover) -> None:
        """Go on where another one stopped: what it left is not in this one's accounts yet."""
        self._unwritten = left.unwritten
        self._repairs, self._distrust_before = left.repairs, left.distrust_before
        self._give(self._unwritten.changes, self.accounts)
        self._spread()
        for tenant, account in self.accounts.items():
            account.settle(self._agreed_at(tenant))

    # --- from the connectors ---------------------------------------------------------

    def take(self, pbx: str, events: Sequence[Event]) -> None:
        """Take events of one PBX. Plain and quick: see the module's rules."""
        self.mind_time()
        snapshot = False
        for event in events:
            if isinstance(event, Snapshot):
                if event.requested_at < self._distrust_before:
                    continue
                snapshot = True
            self.levels.apply(pbx, event)
        touched = self._spread()
        if snapshot:
            touched.update(self._tenants_on[pbx])
            self._settle(pbx)
        self._judge(touched)
        if snapshot:
            self._say_repairs(pbx)

    def _say_repairs(self, pbx: str) -> None:
        """Log what a snapshot had to repair."""
        watched = self.levels.pbxs[pbx]
        counted = (watched.missed_starts, watched.missed_hangups)
        before = self._repairs.get(pbx, (0, 0))
        if counted != before:
            starts, hangups = (now - then for now, then in zip(counted, before, strict=True))
            log.warning("snapshot.repaired", pbx=pbx, missed_starts=starts, missed_hangups=hangups)
        self._repairs[pbx] = counted

    def lost(self, pbx: str, at: Instant, cause: Cause) -> None:
        """Open a gap: the link to a PBX is lost, which was last heard at `at`."""
        self.levels.lose(pbx, at, cause)
        self._spread()

    def mind_time(self) -> None:
        """Notice that the event loop stood still, or that the wall clock was set."""
        boot, before = self._clock.boot(), self.turned_at
        now = self._clock.now()
        stalled = boot - self._turned > STALL_MS
        self._turned, self.turned_at = boot, now
        steps = self._clock.steps()
        for step in steps:
            log.warning("clock.stepped", by_ms=step.by_ms)
            self._unwritten.steps.append(step)
        forward = next((step for step in steps if step.by_ms > 0), None)
        if stalled:
            log.warning("agent.stalled", for_ms=now - before)
            self._lose_all(before, now, Cause.AGENT_STALLED)
        elif forward is not None:
            self._lose_all(forward.before, now, Cause.CLOCK_STEP)

    def _lose_all(self, at: Instant, now: Instant, cause: Cause) -> None:
        for pbx in self.levels.pbxs:
            self.levels.lose(pbx, at, cause)
        self._distrust_before = now
        self._spread()
        if self.alerting is not None:
            self._judge(set(self.alerting.restless()))  # a gap that is short calms nothing either
        self.resnapshot()

    def _spread(self) -> set[str]:
        """Give new facts to the accounts and to the next commit; return whose levels moved."""
        changes = self.levels.drain()
        if not changes:
            return set()
        self._unwritten.changes.absorb(changes)
        return self._give(changes, self.accounts)

    def _give(self, changes: Changes, accounts: Mapping[str, Account]) -> set[str]:
        """Give facts to those accounts that they concern; return whose levels moved."""
        touched: set[str] = set()
        for row, former in changes.moved.items():
            if former in accounts:
                accounts[former].drop(row)
                touched.add(former)
        for leg in changes.legs.values():
            account = accounts.get(leg.tenant) if leg.tenant is not None else None
            if account is not None and leg.tenant is not None:
                account.take((leg,), (), ())
                touched.add(leg.tenant)
        for gap in changes.gaps.values():
            for tenant in accounts.keys() & self._tenants_on[gap.pbx]:
                accounts[tenant].take((), (gap,), ())
        for merge, owners in zip(changes.merges, changes.merged, strict=True):
            for tenant in owners & accounts.keys():
                accounts[tenant].take((), (), (merge,))
                touched.add(tenant)
        return touched

    def _settle(self, pbx: str) -> None:
        for tenant in self._tenants_on[pbx]:
            self.accounts[tenant].settle(self._agreed_at(tenant))

    def _agreed_at(self, tenant: str) -> Instant:
        return min(self.levels.pbxs[name].agreed_at for name in self.contracts[tenant].terms.pbxs)

    async def reload(self, tenants: Collection[str], load: Callable[[Database, str], Account]) -> None:
        """Take tenants' figures anew from the ledger, after something was told of what is past.

        Args:
            tenants: Whose.
            load: Makes a tenant's account from the ledger.
        """
        async with self._committing:
            fresh = await self._store.read(lambda db: {tenant: load(db, tenant) for tenant in tenants})
            self._give(self._unwritten.changes, fresh)  # and what is not written yet
            for tenant, account in fresh.items():
                account.settle(self._agreed_at(tenant))
            self.accounts.update(fresh)

    def judge_late(
        self, tenant: str, figures: Figures, told_since: Instant, told_at: Instant | None = None
    ) -> None:
        """Judge what was told after the fact, as `Alerting.judge_late`: a notice that is late says so."""
        if self.alerting is None:
            return
        self.alerting.judge_late(tenant, figures, self.turned_at, told_since, told_at)
        if self.alerting.has_news:
            self._wake.set()

    # --- levels and figures ----------------------------------------------------------

    def observed(self, tenant: str) -> bool:
        """Return whether all PBXs of a tenant are observed now. One that only tells afterwards never is."""
        return all(
            self.levels.pbxs[pbx].gap is None and pbx not in self.after_the_fact
            for pbx in self.contracts[tenant].terms.pbxs
        )

    def view(self, tenant: str, at: Instant) -> Figures:
        """Return a tenant's figures of the period that contains `at`, up to it."""
        return self.accounts[tenant].view(at)

    async def views(self, at: Instant) -> dict[str, Figures]:
        """Return every tenant's figures up to an instant, without keeping the event loop.

        While a PBX is not seen, what came since from the tenant's other PBXs is folded anew
        each time: with many legs that takes its time, so it is done in a thread, over copies.
        """
        for calendar in self.calendars.values():
            calendar.at(at)  # opened here, so that the thread only looks
        twins = {tenant: account.copy() for tenant, account in self.accounts.items()}
        return await asyncio.to_thread(lambda: {tenant: twin.view(at) for tenant, twin in twins.items()})

    def _judge(self, tenants: set[str]) -> None:
        if self.alerting is None:
            return
        for tenant in tenants:
            contract = self.contracts.get(tenant)
            if contract is None:
                continue  # it is not configured any more; its legs end as they were
            now = self.turned_at
            self.alerting.judge(
                tenant,
                self.calendars[tenant].at(now).name,
                now,
                self.levels.now(tenant)[contract.terms.basis],
                observed=self.observed(tenant),
            )
        if self.alerting.has_news:
            self._wake.set()

    # --- to the ledger ---------------------------------------------------------------

    async def run(self) -> None:
        """Commit what comes in, until cancelled; then once more."""
        try:
            while True:
                try:
                    async with asyncio.timeout(COMMIT_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                self.mind_time()
                if self.alerting is not None:
                    self._judge(set(self.alerting.restless()))
                await self.commit()
        finally:
            if self.alerting is not None:
                self.alerting.keep_watches()
            await self.commit()

    async def commit(self) -> None:
        """Write everything that is new, and up to when each PBX was heard. Failing, keep it all.

        One commit at a time, and each to its end: whoever is cancelled in it leaves it running.
        """
        await asyncio.shield(self._commit())

    async def _commit(self) -> None:
        async with self._committing:
            await self._write()

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Write everything that is new, and nothing more until the end of the block.

        Raises:
            StoreError: It can't be written.
        """
        async with self._committing:
            await self._write()
            if self.disk is not None:
                raise self.disk
            yield

    async def _write(self) -> None:
        if self.alerting is not None:
            self._unwritten.alerts.absorb(self.alerting.drain())
        unwritten, self._unwritten = self._unwritten, Unwritten()
        now = self.turned_at
        heard = [Heard(p.name, now, p.booted) for p in self.levels.pbxs.values() if p.gap is None]
        try:
            await self._store.write(lambda db: unwritten.write(db, heard, now))
        except BaseException as error:
            unwritten.absorb(self._unwritten)
            self._unwritten = unwritten
            if not isinstance(error, StoreError):
                raise
            self._disk_fails(error)
        else:
            self._disk_works(unwritten.alerts)
        finally:
            self.tried_at = self._clock.boot()

    def _disk_fails(self, error: StoreError) -> None:
        if str(error) != str(self.disk):
            log.error("ledger.commit_failed", error=str(error), hint=error.hint)
        self.disk = error

    def _disk_works(self, alerts: Alerts) -> None:
        if self.disk is not None:
            log.info("ledger.commit_works_again")
        self.disk = None
        if alerts.rows:
            self.wake_lanes()
        for notice in alerts.notices:
            log.info("notice.written", id=notice.id, kind=notice.kind.value, level=notice.level)

    def known_up_to(self, tenant: str) -> Instant:
        """Return up to when nothing about a tenant can change any more, for all that is known now.

        A PBX that is not seen has said what it had to say. What the ledger does not hold yet is not
        known: a gap that was just noticed must be there before a record is made from it.
        """
        if self.disk is not None or self._unwritten.changes or self._committing.locked():
            return 0
        pbxs = (self.levels.pbxs[name] for name in self.contracts[tenant].terms.pbxs)
        return min((FOREVER if pbx.gap is not None else pbx.agreed_at for pbx in pbxs), default=FOREVER)
