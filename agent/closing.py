"""Due periods, hours and days become sealed records.

What is due is derived from what is stored, never from a timer having fired: an agent
that was off over the end of the month closes it at its next start. Folding happens
over a read transaction and takes the time it takes; sealing is one short write
transaction that takes the next number, signs and stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from agent.clock import Clock
from agent.contracts import Calendar, Contract
from agent.keys import KeyTrouble
from agent.sealing import Plan, envelope, facts_of, seal
from agent.store import agreements, records
from agent.store.database import Database, Store, StoreError
from meter import periods
from meter.model import Instant
from meter.periods import HOUR_MS, Period, iso
from meter.presence import FOREVER
from meter.schema import MINUTE_SERIES, USAGE_SUMMARY
from meter.signature import PrivateKey
from meter.summary import Statement, content, series_content, state

log = structlog.get_logger(__name__)

#: A clock that is known to be unsynchronised is not believed if it moved, or was off, for longer.
MOVED_MS: Final = HOUR_MS
AWAY_MS: Final = 24 * HOUR_MS
#: A snapshot is asked for at most so often (facts: lists no more often than every 30 s).
PROOF_EVERY_MS: Final = 30_000
#: Nothing is sealed for so long after a start, unless the receiver's position is known: a
#: restored copy must not seal before it was found out.
PATIENCE_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Due:
    """A record that is to be sealed.

    Attributes:
        kind: `final`, `interim` or `minute-series`.
        tenant: Whose.
        period: The billing period, or the local day of a minute-series.
        as_of: Up to when it states.
        revision: Its number in its id.
    """

    kind: str
    tenant: str
    period: Period
    as_of: Instant
    revision: int = 1


class Closing:
    """Seals what is due.

    Args:
        plan: How and when.
        contracts, calendars: The tenants of the configuration.
        store, clock, key: What to seal with; `key` is asked anew each time, in the transaction that seals.
        synchronised: Whether the machine's clock is; None: it does not say.
        sealed: Called after records were sealed.
        known_up_to: Up to when a configured tenant's facts can't change any more, for all that is known.
        resnapshot: Asks the PBXs for a snapshot, which may prove what a final waits for.
        away_ms: Time between the last stored instant and the start.

    Attributes:
        position_known: Whether the receiver's position was compared since the start, or
            there is none to ask.
        held: Why nothing is sealed now; None: it is.
        away_ms: How long nothing was heard of any PBX before the start.
    """

    def __init__(
        self,
        plan: Plan,
        contracts: Mapping[str, Contract],
        calendars: Mapping[str, Calendar],
        store: Store,
        clock: Clock,
        key: Callable[[Database], PrivateKey],
        synchronised: Callable[[], bool | None],
        sealed: Callable[[], None] = lambda: None,
        known_up_to: Callable[[str], Instant] = lambda _: FOREVER,
        resnapshot: Callable[[], None] = lambda: None,
        *,
        away_ms: int = 0,
    ) -> None:
        self.position_known = False
        self.held: str | None = None
        self._plan = plan
        self._contracts = contracts
        self._calendars = calendars
        self._store = store
        self._clock = clock
        self._key = key
        self._synchronised = synchronised
        self._sealed = sealed
        self._known_up_to = known_up_to
        self._resnapshot = resnapshot
        self.away_ms = away_ms
        self._failed: set[str] = set()
        self._unproved = False  # a final waits until the facts of its period can't change any more
        self._asked_at = -PROOF_EVERY_MS
        self._started_at = clock.boot()

    async def seal_due(self, known_at: Instant | None = None) -> int:
        """Seal everything that is due, and return how many records that were.

        Args:
            known_at: Up to when everything that is known is in the ledger; None: up to now.
                Records are sealed as of then: what is told in the meantime is not in them, so
                that they can be recomputed to the last figure.

        Raises:
            StoreError: The disk failed; what was sealed before stays.
        """
        now = self._clock.now() if known_at is None else known_at
        await self._open_periods(now)
        self.held = await self._reason_to_wait()
        if self.held is not None:
            return 0
        due = await self._store.read(lambda db: self._due(db, now))
        self._ask_for_proof()
        doubt = self._clock_doubt()
        if doubt is not None and any(record.kind == "final" for record in due):
            self.held = doubt
            due = [record for record in due if record.kind != "final"]
        count = 0
        for record in due:
            sealed = await self._seal_one(record, now)
            count += sealed
        if count:
            self._sealed()
        return count

    async def _seal_one(self, due: Due, now: Instant) -> bool:
        """Seal one record. One that can't be sealed is said once, and does not stop the others."""
        name = f"{due.tenant}/{due.period.name}/{due.kind}/{due.revision}"
        try:
            statement = await self._store.fold(lambda db: self._state(db, due, now))
            said = self._say(due, statement, now)
            sealed = await self._store.write(lambda db: self._seal(db, due, said, now))
        except (StoreError, KeyTrouble):
            raise
        except Exception:
            self.held = f"{name} can't be sealed: the log says why; please report it"
            if name not in self._failed:
                log.exception("record.not_sealed", id=name)
            self._failed.add(name)
            return False
        if sealed:
            log.info("record.sealed", id=name, as_of=iso(due.as_of))
        return sealed

    def _ask_for_proof(self) -> None:
        """Ask for a snapshot if a final waits for one: no list is asked for more often than every 30 s."""
        if self._unproved and self._clock.boot() - self._asked_at >= PROOF_EVERY_MS:
            self._asked_at = self._clock.boot()
            self._resnapshot()

    async def _open_periods(self, now: Instant) -> None:
        opened = {tenant: calendar.opened(now) for tenant, calendar in self._calendars.items()}
        if not any(opened.values()):
            return

        def work(db: Database) -> None:
            for tenant, found in opened.items():
                for period in found:
                    agreements.open_period(db, tenant, period)

        await self._store.write(work)
        for tenant, found in opened.items():
            self._calendars[tenant].keep(found)

    async def _reason_to_wait(self) -> str | None:
        if self._clock.stands_still:
            return (
                "the wall clock is behind what was stored already: nothing is sealed until it has passed that"
            )
        if not self.position_known and self._clock.boot() - self._started_at < PATIENCE_MS:
            return "waiting for the receiver's position"
        chain = await self._store.read(records.chain)
        return chain.halted if chain is not None else None

    def _clock_doubt(self) -> str | None:
        """Return why a final is held back on account of the clock, or None (the definition, section 10)."""
        if self._synchronised() is not False:
            return None
        moved = self._clock.moved_ms > MOVED_MS
        if not moved and self.away_ms <= AWAY_MS:
            return None
        return "finals wait until the clock is synchronised: timedatectl set-ntp true; timedatectl timesync-status"

    # --- what is due -------------------------------------------------------------------

    def _due(self, db: Database, now: Instant) -> list[Due]:
        found: list[Due] = []
        self._unproved = False
        for tenant in agreements.tenants(db):
            found += self._finals(db, tenant, now)
            found += self._series(db, tenant, now)
        for tenant in self._contracts:
            found += self._interims(db, tenant, now)
        return found

    def _finals(self, db: Database, tenant: str, now: Instant) -> list[Due]:
        due = [
            Due("final", tenant, period, period.end)
            for period in agreements.unclosed(db, tenant, now - self._plan.grace_ms)
        ]
        known = self._known_up_to(tenant) if tenant in self._contracts else FOREVER
        proved = [final for final in due if final.as_of <= known]
        self._unproved = self._unproved or len(proved) < len(due)
        return proved

    def _interims(self, db: Database, tenant: str, now: Instant) -> list[Due]:
        every = self._plan.interim_ms
        period = self._calendars[tenant].at(now)
        last = records.newest(db, tenant, ("interim",), period.start)
        slot = max(now - now % every, period.start)
        if now <= period.start or (last is not None and last.sealed_at >= slot):
            return []
        return [Due("interim", tenant, period, now, 1 if last is None else last.revision + 1)]

    def _series(self, db: Database, tenant: str, now: Instant) -> list[Due]:
        agreed = agreements.terms(db, tenant)
        tz = ZoneInfo(agreed[-1].timezone)
        contract = self._contracts.get(tenant)
        known = agreements.periods(db, tenant)
        if not known:
            return []
        last = records.last_of(db, tenant, "minute-series")
        first = max(agreed[0].at, known[0].start)
        start = first if last is None or last.period_start is None else _after(last.period_start, tz)
        until = now - self._plan.grace_ms
        until = min(until, known[-1].end if contract is None else self._known_up_to(tenant))
        return [
            Due("minute-series", tenant, day, day.end)
            for day in periods.days(start, until, tz)
            # After a move to the west a day of the last one's name comes again: it had its series.
            if day.end <= until and (last is None or last.period is None or day.name > last.period)
        ]

    # --- one record ----------------------------------------------------------------------

    def _state(self, db: Database, due: Due, now: Instant) -> Statement:
        facts, tz = facts_of(db, due.tenant, due.period.start, due.as_of, self._plan, known_at=now)
        return state(facts, due.period, due.as_of, tz, series=due.kind == "minute-series")

    def _say(self, due: Due, statement: Statement, now: Instant) -> dict[str, Any]:
        """Return the record but for its place in the chain."""
        if due.kind == "minute-series":
            data = series_content(statement) | {"kind": due.kind, "revision": due.revision}
        else:
            data = content(statement, evidence=due.kind == "final")
            data["clock"]["synchronised"] = self._synchronised()
            next_by = None
            if due.kind == "interim":
                next_by = iso(now - now % self._plan.interim_ms + self._plan.interim_ms)
            data |= {
                "kind": due.kind,
                "revision": due.revision,
                "replaces": None,
                "reason": None,
                "next_by": next_by,
            }
        return envelope(
            MINUTE_SERIES if due.kind == "minute-series" else USAGE_SUMMARY,
            dict(self._plan.agent),
            due.tenant,
            f"{due.tenant}/{due.period.name}/{due.kind}/{due.revision}",
            now,
            data,
        )

    def _seal(self, db: Database, due: Due, said: dict[str, Any], now: Instant) -> bool:
        chain = records.chain(db)
        if chain is not None and chain.halted is not None:
            return False  # it was halted while this was folded
        seal(
            db,
            self._plan,
            said,
            key=self._key(db),
            kind=due.kind,
            tenant=due.tenant,
            period=due.period,
            revision=due.revision,
            now=now,
        )
        return True


def _after(day_start: Instant, tz: tzinfo) -> Instant:
    return periods.period_of(day_start + HOUR_MS, "day", tz).end
