"""What the books say when they are read. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select, true
from sqlalchemy.sql.functions import count
from sqlalchemy.sql.functions import max as highest

from meter.model import Instant
from provider.statements import AgentRow, Head, KeyState, RecordRow, SeriesRow, SummaryRow
from provider.storage.database import among
from provider.storage.tables import agents, chains, invitations, keys, minute_series, records, summaries

#: SQLite takes 32,766 values in a statement.
_AT_ONCE: Final = 500
_STATES: Final = {"interim": "open", "final": "final", "correction": "corrected"}
_SERIES: Final = [
    column for column in minute_series.c if column.name not in ("chain", "sequence")
]  # where it stands decides only which one is kept


def head(connection: Connection, agent: str) -> Head | None:
    """See `Books.head`."""
    return _heads(connection, agents.c.id == agent).get(agent)


def all_agents(connection: Connection) -> Sequence[AgentRow]:
    """See `Books.agents`."""
    own: dict[str, list[tuple[str, KeyState]]] = {}
    ends: dict[str, list[tuple[str, Instant]]] = {}
    for key in connection.execute(select(keys).order_by(keys.c.agent, keys.c.number.desc())):
        own.setdefault(key.agent, []).append((key.thumbprint, KeyState(key.state)))
        if key.ends_at is not None:
            ends.setdefault(key.agent, []).append((key.thumbprint, key.ends_at))
    heads, gone = _heads(connection), missing(connection)
    since = _enrolled(connection)
    found = connection.execute(
        select(
            agents.c.id,
            agents.c.tenants,
            count(records.c.id).filter(records.c.status == "counted").label("counted"),
            count(records.c.id).filter(records.c.status == "refused").label("refused"),
            highest(records.c.taken_at).label("taken_at"),
        )
        .join_from(agents, records, records.c.agent == agents.c.id, isouter=True)
        .group_by(agents.c.id)
        .order_by(agents.c.id)
    )
    return [
        AgentRow(
            agent=row.id,
            tenants=tuple(json.loads(row.tenants)),
            keys=tuple(own.get(row.id, ())),
            head=heads.get(row.id),
            missing=tuple(gone.get(row.id, ())),
            counted=row.counted,
            refused=row.refused,
            taken_at=row.taken_at,
            enrolled_at=min(since.get(row.id, {}).values(), default=None),
            ends=tuple(ends.get(row.id, ())),
            since=tuple(since.get(row.id, {}).items()),
        )
        for row in found
    ]


def _enrolled(connection: Connection) -> Mapping[str, Mapping[str, Instant]]:
    """Return when an invitation was used first, by the agent that it is for and each tenant that it names."""
    used = select(invitations.c.agent, invitations.c.tenants, invitations.c.used_at)
    found: dict[str, dict[str, Instant]] = {}
    asked = used.where(invitations.c.used_at.is_not(None)).order_by(invitations.c.used_at)
    for row in connection.execute(asked):
        tenants = found.setdefault(row.agent, {})
        for tenant in json.loads(row.tenants):
            tenants.setdefault(tenant, row.used_at)
    return found


def missing(connection: Connection, agent: str | None = None) -> Mapping[str, list[tuple[str, int, int]]]:
    """Return the numbers that never came, by agent, as (chain, first, last)."""
    before = (
        func.lag(records.c.sequence, 1, 0)
        .over(partition_by=(records.c.agent, records.c.chain), order_by=records.c.sequence)
        .label("before")
    )
    each = select(records.c.agent, records.c.chain, records.c.sequence, before)
    if agent is not None:
        each = each.where(records.c.agent == agent)
    placed = each.subquery()
    holes: dict[str, list[tuple[str, int, int]]] = {}
    for row in connection.execute(
        select(placed)
        .where(placed.c.sequence > placed.c.before + 1)
        .order_by(placed.c.agent, placed.c.chain, placed.c.sequence)
    ):
        holes.setdefault(row.agent, []).append((row.chain, row.before + 1, row.sequence - 1))
    return holes


def newest(
    connection: Connection, agent: str | None, tenant: str | None, period: str | None, *, every: bool
) -> Sequence[SummaryRow]:
    """See `Books.summaries`."""
    place = func.row_number().over(
        partition_by=(summaries.c.agent, summaries.c.tenant, summaries.c.period),
        order_by=(case((summaries.c.kind == "interim", 1), else_=0), summaries.c.revision.desc()),
    )
    asked = [
        column == value
        for column, value in (
            (summaries.c.agent, agent),
            (summaries.c.tenant, tenant),
            (summaries.c.period, period),
        )
        if value is not None
    ]
    ranked = select(summaries, place.label("place")).where(*asked).subquery()
    kept: ColumnElement[bool] = ranked.c.place == 1
    if every:
        kept |= ranked.c.kind != "interim"
    return _summaries(
        connection,
        select(*(ranked.c[column.name] for column in summaries.c))
        .where(kept)
        .order_by(ranked.c.agent, ranked.c.tenant, ranked.c.period, ranked.c.revision.desc()),
    )


def interims(connection: Connection, period: str | None) -> Sequence[SummaryRow]:
    """See `Books.interims`."""
    asked = select(summaries).where(summaries.c.kind == "interim")
    if period is not None:
        asked = asked.where(summaries.c.period == period)
    return _summaries(connection, asked.order_by(summaries.c.agent, summaries.c.tenant, summaries.c.start))


def series(
    connection: Connection, start: Instant, end: Instant, of: Sequence[tuple[str, str]] | None
) -> Sequence[SeriesRow]:
    """See `Books.series`."""
    by = (minute_series.c.agent, minute_series.c.tenant, minute_series.c.start)
    asked = select(*_SERIES).where(minute_series.c.start < end, minute_series.c.end > start).order_by(*by)
    found: list[SeriesRow] = []
    for some in _pieces(of):
        these = (
            true() if of is None else among(connection, [minute_series.c.agent, minute_series.c.tenant], some)
        )
        found += [SeriesRow(**row) for row in connection.execute(asked.where(these)).mappings()]
    return found


def taken(connection: Connection, agent: str) -> Sequence[RecordRow]:
    """See `Books.records`."""
    rows = connection.execute(
        select(
            records.c.chain,
            records.c.sequence,
            records.c.id,
            records.c.sha256,
            records.c.status,
            records.c.reason,
            records.c.jws.label("token"),
            records.c.receipt,
            records.c.taken_at,
        )
        .join_from(records, chains, and_(chains.c.agent == records.c.agent, chains.c.id == records.c.chain))
        .where(records.c.agent == agent)
        .order_by(chains.c.number, records.c.sequence)
    ).mappings()
    return [RecordRow(**row) for row in rows]


def signed(connection: Connection, of: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
    """See `Books.signed`."""
    found: dict[tuple[str, str], str] = {}
    for some in _pieces(of):
        which = among(connection, [records.c.agent, records.c.sha256], some)
        for row in connection.execute(select(records.c.agent, records.c.sha256, records.c.jws).where(which)):
            found[row.agent, row.sha256] = row.jws
    return found


def _pieces(of: Sequence[tuple[str, str]] | None) -> Iterator[Sequence[tuple[str, str]]]:
    """Yield what is asked for in pieces that a statement can hold; None: all at once."""
    if of is None:
        yield ()
        return
    for first in range(0, len(of), _AT_ONCE):
        yield of[first : first + _AT_ONCE]


def _heads(connection: Connection, *which: ColumnElement[bool]) -> dict[str, Head]:
    on = and_(chains.c.agent == agents.c.id, chains.c.id == agents.c.chain)
    found = select(agents.c.id, chains.c.id.label("chain"), chains.c.last, chains.c.last_sha256)
    rows = connection.execute(found.join_from(agents, chains, on).where(*which))
    return {row.id: Head(row.chain, row.last, row.last_sha256) for row in rows}


def _summaries(connection: Connection, query: Select[Any]) -> Sequence[SummaryRow]:
    rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        row["state"] = _STATES[row.pop("kind")]
    return [SummaryRow(**row) for row in rows]
