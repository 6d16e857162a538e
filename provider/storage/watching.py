"""What a look at the fleet reads, and what is remembered of it (see `provider.fleet`), in a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, case, delete, insert, select, update
from sqlalchemy.sql.functions import max as highest

from meter.model import Instant
from meter.periods import moment
from provider.books import Arrival, Contradiction
from provider.fleet.findings import Key, Kind
from provider.fleet.looking import CONTRADICTED_MS
from provider.fleet.sights import Contradicted, HeldKey, Sight, Statement
from provider.fleet.telling import Kept, Remembered, Turn
from provider.partners import Placement, in_force
from provider.statements import KeyState
from provider.storage import agreeing, reading
from provider.storage.database import Store
from provider.storage.posting import post
from provider.storage.tables import (
    AnyRow,
    agents,
    chains,
    contradictions,
    findings,
    invitations,
    keys,
    marks,
    records,
    summaries,
)

T = TypeVar("T")

#: Only these mean that two machines report as one; `sequence` is an agent that begins elsewhere.
_CONTRADICTING = ("conflict", "fork")


class StoredFleet:
    """What is known of agents (see `provider.fleet.telling.FleetBooks`) in one database."""

    def __init__(self, database: Store) -> None:
        self._database = database

    async def sights(self, now: Instant) -> Sequence[Sight]:
        """See `FleetBooks.sights`."""
        return await self._database.read(_sights, now)

    async def remembered(self) -> Remembered:
        """See `FleetBooks.remembered`."""
        return await self._database.read(_remembered)

    async def turn(self, rule: Callable[[Remembered], Turn], now: Instant) -> Turn:
        """See `FleetBooks.turn`."""
        return await self._database.write(_turn, rule, now)


def contradicted(connection: Connection, came: Sequence[tuple[Arrival, Contradiction]]) -> None:
    """Remember that records came that contradict the books; their signatures are good, and their agents locked.

    One row of each error an agent, whatever comes: after a quiet time it begins afresh.
    """
    for arrival, ruling in came:
        if ruling.error not in _CONTRADICTING:
            continue
        row = {"agent": arrival.agent, "error": ruling.error, "kid": arrival.kid, "last_at": arrival.at}
        mine = (contradictions.c.agent == arrival.agent) & (contradictions.c.error == ruling.error)
        fresh = contradictions.c.last_at >= arrival.at - CONTRADICTED_MS
        again = update(contradictions).where(mine & fresh).values(row | {"times": contradictions.c.times + 1})
        if connection.execute(again).rowcount == 0:
            connection.execute(delete(contradictions).where(mine))
            connection.execute(insert(contradictions).values(row | {"first_at": arrival.at, "times": 1}))


def _sights(connection: Connection, now: Instant) -> Sequence[Sight]:
    at_end = and_(
        records.c.agent == chains.c.agent, records.c.chain == chains.c.id, records.c.sequence == chains.c.last
    )
    on = and_(chains.c.agent == agents.c.id, chains.c.id == agents.c.chain)
    found = connection.execute(
        select(agents.c.id, records.c.taken_at)
        .join_from(agents, chains, on, isouter=True)
        .join(records, at_end, isouter=True)
        .order_by(agents.c.id)
    ).all()
    enrolled = connection.execute(
        select(invitations.c.agent, highest(invitations.c.used_at).label("at"))
        .where(invitations.c.used_at.is_not(None))
        .group_by(invitations.c.agent)
    )
    enrolled_at = {row.agent: row.at for row in enrolled}
    held = _by_agent(connection.execute(select(keys).order_by(keys.c.agent, keys.c.number.desc())), _key)
    against = _by_agent(connection.execute(select(contradictions).order_by(contradictions.c.error)), _against)
    stated, holes = _statements(connection, now), _holes(connection)
    return [
        Sight(
            agent=row.id,
            enrolled_at=enrolled_at.get(row.id),
            heard_at=row.taken_at,
            keys=tuple(held.get(row.id, ())),
            missing=tuple(holes.get(row.id, ())),
            contradictions=tuple(against.get(row.id, ())),
            statements=tuple(stated.get(row.id, ())),
        )
        for row in found
    ]


def _holes(connection: Connection) -> Mapping[str, Sequence[tuple[str, int, int]]]:
    """Return the numbers that never came; only chains that lack some are gone through."""
    lacking = select(chains.c.agent).where(chains.c.held < chains.c.last).distinct()
    holes: dict[str, Sequence[tuple[str, int, int]]] = {}
    for agent in connection.execute(lacking).scalars().all():
        holes |= reading.missing(connection, agent)
    return holes


def _statements(connection: Connection, now: Instant) -> Mapping[str, Sequence[Statement]]:
    """Return the newest statement about each tenant, by agent."""
    last = (
        select(summaries.c.agent, summaries.c.tenant, highest(summaries.c.as_of).label("as_of"))
        .group_by(summaries.c.agent, summaries.c.tenant)
        .subquery()
    )
    newest = (
        select(summaries)
        .join(
            last,
            and_(*(summaries.c[name] == last.c[name] for name in ("agent", "tenant", "as_of"))),
        )
        # As of the same instant a final knows more than an interim, and the last revision most.
        .order_by(
            summaries.c.agent,
            summaries.c.tenant,
            case((summaries.c.kind == "interim", 0), else_=1),
            summaries.c.revision,
        )
    )
    agreed = agreeing.all_placements(connection)

    @cache
    def on(timezone: str) -> Mapping[tuple[str, ...], Placement]:
        return in_force(agreed, moment(now, _zone(timezone)).date().isoformat())

    rows = {(row.agent, row.tenant): row for row in connection.execute(newest)}
    return _by_agent(
        rows.values(), lambda row: _statement(row, on(row.timezone).get((row.agent, row.tenant)))
    )


def _zone(name: str) -> tzinfo:
    """Return a time zone; one that is not known here, as an agent may state it, is taken for UTC."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def _statement(row: AnyRow, contract: Placement | None) -> Statement:
    basis, capacity = row.basis, row.capacity
    if contract is not None:
        basis = contract.basis or basis
        capacity = capacity if contract.capacity is None else contract.capacity
    return Statement(
        tenant=row.tenant,
        name=row.name,
        interim=row.kind == "interim",
        as_of=row.as_of,
        period_end=row.end,
        next_by=row.next_by,
        taken_at=row.taken_at,
        version=row.version,
        basis=basis,
        peak=getattr(row, f"peak_{basis}"),
        capacity=capacity,
        expected_ms=row.expected_ms - row.uninstalled_ms,
        unseen_ms=row.expected_ms - row.observed_ms - row.uninstalled_ms,
        synchronised=None if row.synchronised is None else bool(row.synchronised),
        unclassified=row.unclassified,
    )


def _key(row: AnyRow) -> HeldKey:
    return HeldKey(row.thumbprint, KeyState(row.state), row.ends_at)


def _against(row: AnyRow) -> Contradicted:
    return Contradicted(row.error, row.first_at, row.last_at, row.times)


def _by_agent(rows: Any, value: Callable[[AnyRow], T]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(row.agent, []).append(value(row))
    return found


def _remembered(connection: Connection) -> Remembered:
    told_at = connection.execute(select(marks.c.value).where(marks.c.name == "fleet")).scalar_one()
    kept = {
        Key(Kind(row.kind), row.agent, row.tenant): Kept(
            row.name, row.since, row.seen_at, row.told_at, row.gone_at
        )
        for row in connection.execute(select(findings))
    }
    return Remembered(kept, told_at or None)


def _turn(connection: Connection, rule: Callable[[Remembered], Turn], now: Instant) -> Turn:
    # One look at a time: who is second sees what the first told.
    connection.execute(select(marks).where(marks.c.name == "fleet").with_for_update())
    before = _remembered(connection)
    turn = rule(before)
    if turn.kept != before.kept:
        connection.execute(delete(findings))
        if turn.kept:
            connection.execute(insert(findings), [_row(key, kept) for key, kept in turn.kept.items()])
    if turn.told_at != before.told_at:
        connection.execute(update(marks).where(marks.c.name == "fleet").values(value=turn.told_at or 0))
    post(connection, turn.letters, now)
    return turn


def _row(key: Key, kept: Kept) -> dict[str, object]:
    return {
        "kind": key.kind.value,
        "agent": key.agent,
        "tenant": key.tenant,
        "name": kept.name,
        "since": kept.since,
        "seen_at": kept.seen_at,
        "told_at": kept.told_at,
        "gone_at": kept.gone_at,
    }
