"""What is derived is made again from the signed records, agent by agent, beside what is being taken."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, delete, insert, select, update

from meter import signature
from meter.schema import Uncountable, validate
from meter.signature import Unverified
from provider.storage import deriving, enrolling
from provider.storage.deriving import Key, Stood
from provider.storage.tables import AnyRow, agents, chains, marks, minute_series, records, summaries


def is_stale(connection: Connection) -> bool:
    """Say whether the derived rows are of another build than this one."""
    made_by = select(marks.c.value).where(marks.c.name == "derived")
    return connection.execute(made_by).scalar_one_or_none() != deriving.VERSION


def is_fresh(connection: Connection) -> None:
    """Remember that they are of this build."""
    connection.execute(update(marks).where(marks.c.name == "derived").values(value=deriving.VERSION))


def agents_of(connection: Connection) -> list[str]:
    """Return the ids of all agents."""
    return list(connection.execute(select(agents.c.id).order_by(agents.c.id)).scalars())


def rebuild(connection: Connection, agent: str) -> int:
    """Make the derived rows of one agent again; return how many there are."""
    enrolling.lock(connection, agent)
    for chain, last, sha256, held in ends(connection, agent):
        connection.execute(
            update(chains)
            .where(chains.c.agent == agent, chains.c.id == chain)
            .values(last=last, last_sha256=sha256, held=held)
        )
    rows = list(derived(connection, agent).values())
    for table, name in ((summaries, "period"), (minute_series, "day")):
        connection.execute(delete(table).where(table.c.agent == agent))
        if made := [row for row in rows if name in row]:
            connection.execute(insert(table), made)
    return len(rows)


def derived(connection: Connection, agent: str) -> dict[Key, deriving.Row]:
    """Return the rows that the counted records of an agent make."""
    kept: dict[Key, deriving.Row] = {}
    for row in counted(connection, agent):
        try:
            payload = signature.unverified_payload(row.jws, signature.TYP_RECORD)
            record = validate(payload)
        except (Unverified, Uncountable):
            continue  # whether the bytes are what was signed is for the audit to say
        deriving.keep(kept, record, Stood(agent, row.number, row.sequence, row.sha256, row.taken_at))
    return kept


def counted(connection: Connection, agent: str) -> Iterator[AnyRow]:
    """Yield what was counted of an agent, in the order of its chains: the chain's number, and the record."""
    rows = connection.execute(
        select(chains.c.number, records.c.sequence, records.c.sha256, records.c.jws, records.c.taken_at)
        .join_from(records, chains, (chains.c.agent == records.c.agent) & (chains.c.id == records.c.chain))
        .where(records.c.agent == agent, records.c.status == "counted")
        .order_by(chains.c.number, records.c.sequence)
        .execution_options(yield_per=500)
    )
    yield from rows


def ends(connection: Connection, agent: str) -> list[tuple[str, int, str, int]]:
    """Return the last record of each chain of an agent, and how many there are: (chain, number, hash, how many)."""
    rows = connection.execute(
        select(records.c.chain, records.c.sequence, records.c.sha256)
        .where(records.c.agent == agent)
        .order_by(records.c.chain, records.c.sequence)
        .execution_options(yield_per=5000)
    )
    last: dict[str, tuple[str, int, str, int]] = {}
    for row in rows:
        held = last[row.chain][3] + 1 if row.chain in last else 1
        last[row.chain] = (row.chain, row.sequence, row.sha256, held)
    return list(last.values())
