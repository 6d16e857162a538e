"""What the ledger left: after a start the agent goes on where its last commit was.

Legs that were up stay up until a snapshot says otherwise, the time in between is a gap,
and periods keep the bounds that they were opened with.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace

from agent.configured import contract, sampling, tenancy
from agent.contracts import Calendar, Contract, same
from agent.store import agreements, ledger, notices, told
from agent.store.database import Database
from agent.store.ledger import Left
from config.model import Config
from meter.account import Account
from meter.capacity import Watch
from meter.levels import Levels
from meter.model import Instant, Known
from meter.sampled import by_call_log
from meter.tenancy import Tenancy
from meter.watched import Changes


@dataclass(frozen=True, slots=True)
class Agreed:
    """The tenants of a configuration: what holds with each, and its figures as the ledger has them."""

    contracts: dict[str, Contract]
    calendars: dict[str, Calendar]
    accounts: dict[str, Account]


@dataclass(frozen=True, slots=True)
class Restored:
    """The live state as the ledger left it.

    Attributes:
        levels, agreed, watches, numbers: What the loops go on with.
        changes: The facts of the start itself, which the ledger has already: the gap until now.
        away_ms: Time between the last instant at which a PBX was heard and now.
    """

    levels: Levels
    agreed: Agreed
    watches: dict[str, Watch]
    numbers: dict[tuple[str, str], int]
    changes: Changes
    away_ms: int


def restore(db: Database, config: Config, now: Instant) -> Restored:
    """Return where the agent goes on: as the last commit left it, under the configuration of today."""
    rules = rules_of(db, config)
    heard = ledger.last_heard(db)
    retire(db, {pbx.name for pbx in config.pbx})
    next_leg, next_gap = ledger.next_rows(db)
    levels = Levels(rules, next_leg=next_leg, next_gap=next_gap)
    for pbx in config.pbx:
        watch(levels, pbx.name, known(db, pbx.name))
    agreed = agree(db, config, rules, now)
    changes = levels.drain()
    ledger.record(db, changes, ())
    return Restored(
        levels,
        agreed,
        watches={
            tenant: replace(Watch(**json.loads(watch)), observed=False)
            for tenant, watch in notices.remembered(db).items()
        },
        numbers=notices.numbers(db),
        changes=changes,
        away_ms=0 if heard is None else max(0, now - heard),
    )


def rules_of(db: Database, config: Config) -> Tenancy:
    """Return the operator's rules, with the key that numbers are made unreadable by; the first time it is made."""
    key = ledger.fact(db, "redaction_key")
    if key is None:
        key = secrets.token_hex(32)
        ledger.keep_fact(db, "redaction_key", key)
    return tenancy(config, bytes.fromhex(key))


def known(db: Database, pbx: str) -> Left | None:
    """Return how the ledger left a PBX; None: it knows it only from now on."""
    left = ledger.left(db, pbx)
    if left is None:
        ledger.know(db, pbx)
    return left


def watch(levels: Levels, pbx: str, left: Left | None) -> None:
    """Begin to follow a PBX, or go on with one as the ledger left it."""
    if left is None:
        levels.watch(pbx)
    else:
        levels.restore(
            pbx,
            legs=left.legs,
            names=left.names,
            gap=left.gap,
            heard_at=left.heard_at,
            booted=left.booted,
        )


def agree(db: Database, config: Config, rules: Tenancy, now: Instant) -> Agreed:
    """Write down what the configuration says of the tenants, and return it with their figures."""
    by_log = by_call_log(sampling(config))
    found = Agreed({}, {}, {})
    for tenant in config.tenant:
        agreed = contract(tenant, rules)
        calendar = Calendar(agreed, agreements.last_period(db, tenant.id), now)
        found.contracts[tenant.id] = agreed = _agree(db, agreed, now)
        found.calendars[tenant.id] = calendar
        opened = calendar.opened(now)
        for period in opened:
            agreements.open_period(db, tenant.id, period)
        calendar.keep(opened)
        found.accounts[tenant.id] = account(db, agreed, calendar, now, by_log)
    _dismiss(db, set(found.contracts), now)
    return found


def retire(db: Database, configured: set[str]) -> None:
    """End the legs of PBXs that are followed no longer where they were last heard."""
    changes = Changes()
    for pbx in ledger.pbxs(db):
        left = ledger.left(db, pbx) if pbx not in configured else None
        for leg in left.legs if left is not None else ():
            end = max(leg.start, leg.answer or 0, left.heard_at if left else 0)
            changes.legs[leg.row] = replace(leg, end=end, end_known=Known.GAP)
    ledger.record(db, changes, ())


def _dismiss(db: Database, configured: set[str], now: Instant) -> None:
    """Write down which tenants are configured no longer: from now on nothing is observed of them."""
    for tenant in agreements.tenants(db):
        last = agreements.terms(db, tenant)[-1]
        if tenant not in configured and last.pbxs:
            agreements.agree(db, replace(last, at=now, lines=None, pbxs=()))


def _agree(db: Database, agreed: Contract, now: Instant) -> Contract:
    """Date a contract's terms, and write them down if they are new."""
    known = agreements.terms(db, agreed.tenant)
    if known and same(known[-1], agreed.terms):
        return replace(agreed, terms=known[-1])
    terms = replace(agreed.terms, at=now)
    agreements.agree(db, terms)
    return replace(agreed, terms=terms)


def account(
    db: Database, agreed: Contract, calendar: Calendar, now: Instant, by_log: Collection[str]
) -> Account:
    """Return a tenant's running figures as the ledger has them.

    Args:
        db: The database.
        agreed: The tenant's contract.
        calendar: Its periods, opened up to now.
        now: The present instant.
        by_log: The PBXs whose own call records set the peak.
    """
    start = calendar.at(now).start
    polled = ledger.legs(db, agreed.tenant, start, now + 1)
    legs = told.laid_over(db, polled, by_log, agreed.tenant, (start, now + 1))
    since = min((leg.start for leg in legs), default=start)
    found = Account(calendar.frame_at, now)
    for terms in agreements.terms(db, agreed.tenant):
        found.agree(terms)
    gaps = ledger.gaps(db, agreed.terms.pbxs, min(since, start), now + 1)
    found.take(
        legs,
        [gap for of_pbx in gaps.values() for gap in of_pbx],
        ledger.merges(db, agreed.terms.pbxs, since, now + 1),
    )
    return found
