"""Due periods, hours and days become sealed records.

What is due is derived from what is stored, never from a timer having fired: an agent
that was off over the end of the month closes it at its next start. Folding happens
over a read transaction and takes the time it takes; sealing is one short write
transaction that takes the next number, signs and stores.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from agent.clock import Clock
from agent.contracts import Calendar, Contract
from agent.keys import KeyTrouble
from agent.store import agreements, ledger, readings, records
from agent.store.database import Database, Store, StoreError
from meter import periods, signature
from meter.canonical import canonical_bytes
from meter.model import Gap, Instant
from meter.periods import HOUR_MS, Period, iso
from meter.presence import FOREVER
from meter.schema import MINUTE_SERIES, USAGE_SUMMARY, validate
from meter.signature import PrivateKey
from meter.summary import Facts, Statement, content, series_content, state

log = structlog.get_logger(__name__)

#: A clock that is known to be unsynchronised is not believed if it moved, or was off, for longer.
MOVED_MS: Final = HOUR_MS
AWAY_MS: Final = 24 * HOUR_MS
#: Nothing is sealed for so long after a start, unless the receiver's position is known: a
#: restored copy must not seal before it was found out.
PATIENCE_MS: Final = 10_000

SUMMARIES: Final = ("final", "correction")


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


@dataclass(frozen=True, slots=True)
class Plan:
    """How and when this agent seals.

    Attributes:
        agent: `{"id", "version", "config_sha256"}`, as every record states it.
        grace_ms: How long after a period its final waits.
        interim_ms: How often the open period is stated.
        methods: How each PBX is watched.
        default: The tenant that states unclassified and unassigned legs: the default
            one, or the only one; None: nobody.
    """

    agent: Mapping[str, str]
    grace_ms: int
    interim_ms: int
    methods: Mapping[str, str]
    default: str | None


class Halted(Exception):  # noqa: N818 - it says what is so
    """The chain takes no more records; the message says why and what to type."""


class Closing:
    """Seals what is due.

    Args:
        plan: How and when.
        contracts, calendars: The tenants of the configuration.
        store, clock, key: What to seal with; `key` is asked anew each time, in the transaction that seals.
        synchronised: Whether the machine's clock is; None: it does not say.
        sealed: Called after records were sealed.
        known_up_to: Up to when a configured tenant's facts can't change any more, for all that is known.
        away_ms: Time between the last stored instant and the start.

    Attributes:
        position_known: Whether the receiver's position was compared since the start, or
            there is none to ask.
        held: Why nothing is sealed now; None: it is.
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
        self._away_ms = away_ms
        self._failed: set[str] = set()
        self._started_at = clock.boot()

    async def seal_due(self) -> int:
        """Seal everything that is due now, and return how many records that were.

        Raises:
            StoreError: The disk failed; what was sealed before stays.
        """
        now = self._clock.now()
        await self._open_periods(now)
        self.held = await self._reason_to_wait()
        if self.held is not None:
            return 0
        due = await self._store.read(lambda db: self._due(db, now))
        doubt = self._clock_doubt()
        if doubt is not None and any(record.kind == "final" for record in due):
            self.held = doubt
            due = [record for record in due if record.kind != "final"]
        count = 0
        for record in due:
            sealed = await self._seal_one(record)
            count += sealed
        if count:
            self._sealed()
        return count

    async def _seal_one(self, due: Due) -> bool:
        """Seal one record. One that can't be sealed is said once, and does not stop the others."""
        name = f"{due.tenant}/{due.period.name}/{due.kind}/{due.revision}"
        try:
            statement = await self._store.fold(lambda db: self._state(db, due))
            said = self._say(due, statement)
            sealed = await self._store.write(lambda db: self._seal(db, due, said))
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
        if not moved and self._away_ms <= AWAY_MS:
            return None
        return "finals wait until the clock is synchronised: timedatectl set-ntp true; timedatectl timesync-status"

    # --- what is due -------------------------------------------------------------------

    def _due(self, db: Database, now: Instant) -> list[Due]:
        found: list[Due] = []
        for tenant in agreements.tenants(db):
            found += self._finals(db, tenant, now)
            found += self._series(db, tenant, now)
        for tenant in self._contracts:
            found += self._interims(db, tenant, now)
        return found

    def _finals(self, db: Database, tenant: str, now: Instant) -> list[Due]:
        return [
            Due("final", tenant, period, period.end)
            for period in agreements.unclosed(db, tenant, now - self._plan.grace_ms)
            if tenant not in self._contracts or self._known_up_to(tenant) >= period.end
        ]

    def _interims(self, db: Database, tenant: str, now: Instant) -> list[Due]:
        every = self._plan.interim_ms
        period = self._calendars[tenant].at(now)
        last = records.newest(db, tenant, ("interim",), period.start)
        slot = max(now - now % every, period.start)
        if now == period.start or (last is not None and last.sealed_at >= slot):
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
        if contract is None:
            until = min(until, known[-1].end)
        return [
            Due("minute-series", tenant, day, day.end)
            for day in periods.days(start, until, tz)
            # After a move to the west a day may have begun within the last one: it had its series.
            if day.end <= until and (last is None or day.start >= start)
        ]

    # --- one record ----------------------------------------------------------------------

    def _state(self, db: Database, due: Due) -> Statement:
        facts, tz = facts_of(db, due.tenant, due.period.start, due.as_of, self._plan)
        return state(facts, due.period, due.as_of, tz, series=due.kind == "minute-series")

    def _say(self, due: Due, statement: Statement) -> dict[str, Any]:
        """Return the record but for its place in the chain."""
        now = self._clock.now()
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

    def _seal(self, db: Database, due: Due, said: dict[str, Any]) -> bool:
        chain = records.chain(db)
        if chain is not None and chain.halted is not None:
            return False  # it was halted while this was folded
        seal(
            db,
            said,
            key=self._key(db),
            kind=due.kind,
            tenant=due.tenant,
            period=due.period,
            revision=due.revision,
            now=self._clock.now(),
        )
        return True


def envelope(
    type_: str, agent: dict[str, str], subject: str, id_: str, now: Instant, data: dict[str, Any]
) -> dict[str, Any]:
    """Return a CloudEvent around a record's data."""
    return {
        "specversion": "1.0",
        "type": type_,
        "source": f"/agents/{agent['id']}",
        "subject": subject,
        "id": id_,
        "time": iso(now),
        "datacontenttype": "application/json",
        "data": {"agent": agent, **data},
    }


def seal(
    db: Database,
    said: dict[str, Any],
    *,
    key: PrivateKey,
    kind: str,
    tenant: str | None,
    period: Period | None,
    revision: int,
    now: Instant,
) -> records.Sealed:
    """Give a record the next place in the chain, sign it and store it. To be called in a write transaction.

    Raises:
        Halted: Nothing may be sealed in this chain any more.
    """
    chain = records.chain(db) or records.begin_chain(db, new_chain_id(), None)
    if chain.halted is not None:
        raise Halted(chain.halted)
    head = records.head(db, chain.number)
    own = records.tenant_head(db, chain.number, tenant) if tenant is not None else None
    said["data"] |= {
        "chain": {"id": chain.id, "continues": chain.continues},
        "sequence": head.sequence,
        "previous_sha256": head.previous_sha256,
        "tenant_sequence": own.sequence if own else None,
        "tenant_previous_sha256": own.previous_sha256 if own else None,
    }
    payload = canonical_bytes(said)
    validate(payload)  # what we would not take ourselves is a bug here, and must not get a number
    jws = signature.sign(payload, key, signature.TYP_RECORD)
    sealed = records.Sealed(
        chain=chain.number,
        sequence=head.sequence,
        id=said["id"],
        kind=kind,
        tenant=tenant,
        tenant_sequence=own.sequence if own else None,
        period=period.name if period else None,
        period_start=period.start if period else None,
        revision=revision,
        sealed_at=now,
        sha256=signature.sha256_hex(jws),
        jws=jws,
    )
    records.seal(db, sealed)
    return sealed


def new_chain_id() -> str:
    """Return an id that no other chain has."""
    return f"c-{secrets.token_hex(8)}"


def facts_of(
    db: Database,
    tenant: str,
    start: Instant,
    end: Instant,
    plan: Plan | None = None,
    *,
    known_at: Instant | None = None,
) -> tuple[Facts, tzinfo]:
    """Return everything that the ledger knows of a tenant and `[start, end)`, and the tenant's zone.

    Args:
        db: The database.
        tenant: Whose facts.
        start: The first instant.
        end: The instant up to which they are told.
        plan: How this agent seals: how PBXs are watched, and who states strays.
        known_at: Take gaps as they were known then: one that ended later was still running.
    """
    agreed = [t for t in agreements.terms(db, tenant) if t.at < end] or agreements.terms(db, tenant)[:1]
    last = agreed[-1]
    pbxs = list(dict.fromkeys(pbx for t in agreed for pbx in t.pbxs))
    legs = ledger.legs(db, tenant, start, end)
    since = min((leg.start for leg in legs), default=start)
    gaps = ledger.gaps(db, pbxs, min(since, start), end)
    if known_at is not None:
        gaps = {pbx: [_as_known(gap, known_at) for gap in found] for pbx, found in gaps.items()}
    states_strays = plan is not None and tenant == plan.default
    stray_readings = readings.readings(db, None, start, end) if states_strays else []
    latest = {r.pbx: r.count for r in stray_readings if r.count is not None}
    facts = Facts(
        tenant=tenant,
        name=last.name or tenant,
        legs=legs,
        merges=ledger.merges(db, pbxs, since, end),
        gaps=gaps,
        terms=agreed,
        user_pbxs=last.user_pbxs,
        readings=readings.readings(db, tenant, start, end),
        reconciled=ledger.reconciled(db, pbxs, start, end),
        steps=ledger.steps(db, start, end),
        methods=plan.methods if plan is not None else {},
        strays=ledger.legs(db, None, start, end) if states_strays else None,
        stray_users=sum(latest.values()),
    )
    return facts, ZoneInfo(last.timezone)


def _as_known(gap: Gap, at: Instant) -> Gap:
    return replace(gap, end=None) if gap.end is not None and gap.end > at else gap


def _after(day_start: Instant, tz: tzinfo) -> Instant:
    return periods.period_of(day_start + HOUR_MS, "day", tz).end
