"""What the books hold that bears on records which are to be judged: one look for all of them.

At most one record of each agent at once: so what is found is put down by agent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from meter import signature
from meter.schema import KeyChange, UsageSummary
from provider.books import Arrival, Head, KeyState, Page, key_state
from provider.storage import enrolling
from provider.storage.database import among
from provider.storage.tables import AnyRow, agents, chains, keys, records, summaries


@dataclass(frozen=True, slots=True)
class Owner:
    """What the books hold about one agent: its row, its keys by thumbprint, its chains by id."""

    row: AnyRow
    keys: dict[str, AnyRow] = field(default_factory=dict)
    chains: dict[str, AnyRow] = field(default_factory=dict)


def owners(connection: Connection, ids: list[str]) -> dict[str, Owner]:
    """Lock agents, in the order of their ids, and return what there is of each; unknown ones are left out."""
    rows = connection.execute(
        select(agents).where(agents.c.id.in_(ids)).order_by(agents.c.id).with_for_update()
    )
    found = {row.id: Owner(row) for row in rows}
    for row in connection.execute(select(keys).where(keys.c.agent.in_(ids))):
        found[row.agent].keys[row.thumbprint] = row
    for row in connection.execute(select(chains).where(chains.c.agent.in_(ids))):
        found[row.agent].chains[row.id] = row
    return found


def pages(connection: Connection, arrivals: list[Arrival], found: dict[str, Owner]) -> list[Page]:
    """Return the page of each arrival, in their order."""
    named = _names(connection, arrivals)
    # Below the end of its chain a record may have neighbours, or be there already.
    late = [arrival for arrival in arrivals if arrival.place.sequence <= (_last(arrival, found) or 0)]
    twins = _twins(connection, late)
    near = _near(connection, late)
    about = _about(connection, arrivals)
    given = []
    for arrival in arrivals:
        agent, place = found.get(arrival.agent), arrival.place
        key = agent.keys.get(arrival.kid) if agent else None
        if agent is None or key is None:
            given.append(Page(frozenset(), KeyState.WITHDRAWN))
            continue
        chain = agent.chains.get(place.chain)
        beside = near.get(arrival.agent, {})
        before, after = beside.get(place.sequence - 1), beside.get(place.sequence + 1)
        follows = chain is not None and place.sequence == chain.last + 1
        given.append(
            Page(
                tenants=frozenset(json.loads(agent.row.tenants)),
                key=key_state(KeyState(key.state), key.ends_at, arrival.at),
                receipt=twins.get(arrival.agent),
                occupied=place.sequence in beside or arrival.agent in named,
                head=_head(agent),
                last=chain.last if chain is not None else None,
                before=chain.last_sha256 if chain is not None and follows else _one(before, "sha256"),
                after=_one(after, "previous_sha256"),
                rejoining=bool(agent.row.rejoining),
                **about.get(arrival.agent, {}),
            )
        )
    return given


def _one(row: AnyRow | None, column: str) -> str | None:
    return None if row is None else getattr(row, column)


def _last(arrival: Arrival, found: dict[str, Owner]) -> int | None:
    agent = found.get(arrival.agent)
    chain = agent.chains.get(arrival.place.chain) if agent else None
    return chain.last if chain is not None else None


def _head(agent: Owner) -> Head | None:
    chain = agent.chains.get(agent.row.chain)
    return Head(chain.id, chain.last, chain.last_sha256) if chain is not None else None


def _names(connection: Connection, arrivals: list[Arrival]) -> set[str]:
    """Return the agents in whose chain another record has the arrival's id."""
    ids = [(a.agent, a.place.chain, a.place.id) for a in arrivals]
    which = among(connection, [records.c.agent, records.c.chain, records.c.id], ids)
    return set(connection.execute(select(records.c.agent).where(which)).scalars())


def _twins(connection: Connection, late: list[Arrival]) -> dict[str, str]:
    """Return the receipt of these very bytes by agent."""
    if not late:
        return {}
    which = among(connection, [records.c.agent, records.c.sha256], [(a.agent, a.sha256) for a in late])
    rows = connection.execute(select(records.c.agent, records.c.receipt).where(which))
    return {row.agent: row.receipt for row in rows}


def _near(connection: Connection, late: list[Arrival]) -> dict[str, dict[int, AnyRow]]:
    """Return what stands at the arrival's number, before and after it, by agent and number."""
    near: dict[str, dict[int, AnyRow]] = {}
    if not late:
        return near
    numbers = [(a.agent, a.place.chain, a.place.sequence + by) for a in late for by in (-1, 0, 1)]
    rows = connection.execute(
        select(records.c.agent, records.c.sequence, records.c.sha256, records.c.previous_sha256).where(
            among(connection, [records.c.agent, records.c.chain, records.c.sequence], numbers)
        )
    )
    for row in rows:
        near.setdefault(row.agent, {})[row.sequence] = row
    return near


def _about(connection: Connection, arrivals: list[Arrival]) -> dict[str, dict[str, Any]]:
    """Return what bears on the content, by agent."""
    about: dict[str, dict[str, Any]] = {}
    closed = []
    for arrival in arrivals:
        record = arrival.record
        if isinstance(record, KeyChange):
            about[arrival.agent] = {"new_key_known": _known(connection, record)}
        elif isinstance(record, UsageSummary) and record.data.kind != "interim":
            closed.append((arrival.agent, record))
    of = [(agent, record.data.tenant.id, record.data.period.name) for agent, record in closed]
    revisions: dict[str, list[AnyRow]] = {}
    if closed:
        rows = connection.execute(
            select(summaries.c.agent, summaries.c.revision, summaries.c.sha256)
            .where(among(connection, [summaries.c.agent, summaries.c.tenant, summaries.c.period], of))
            .where(summaries.c.kind != "interim")
            .order_by(summaries.c.revision)
        )
        for row in rows:
            revisions.setdefault(row.agent, []).append(row)
    for agent, record in closed:
        counted, replaces = revisions.get(agent, []), record.data.replaces
        about[agent] = {
            "newest": counted[-1].revision if counted else 0,
            "newest_sha256": counted[-1].sha256 if counted else None,
            "revision_counted": any(row.revision == record.data.revision for row in counted),
            "replaces_refused": replaces is not None and _refused(connection, agent, replaces.sha256),
        }
    return about


def _known(connection: Connection, record: KeyChange) -> bool:
    """Say whether the key that a record brings in is in the books. What is no key is not: judging refuses it."""
    try:
        new_key = signature.public_key(record.data.new_key.model_dump())
    except signature.Unverified:
        return False
    return enrolling.known(connection, new_key.thumbprint) is not None


def _refused(connection: Connection, agent: str, sha256: str) -> bool:
    which = (records.c.agent == agent) & (records.c.sha256 == sha256) & (records.c.status == "refused")
    return connection.execute(select(records.c.id).where(which)).first() is not None
