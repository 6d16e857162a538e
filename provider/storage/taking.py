"""Records of several agents are taken together, in one transaction: one look at the books, one way to write.

Rules of this file:
- At most one record of each agent at once: what one changes, no other of them looks at.
- The agents are locked first, in the order of their ids. From then on their books
  belong to nobody else.
- Nothing is decided here: rules come in, rows go out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, true, update

from meter.schema import MinuteSeries, UsageSummary
from provider.books import Arrival, Contradiction, KeyState, Page, Ruling, Taken
from provider.storage import deriving, enrolling, watching
from provider.storage.database import among
from provider.storage.deriving import Stood
from provider.storage.pages import Owner, owners, pages
from provider.storage.tables import agents, chains, keys, minute_series, records, summaries

Rule: TypeAlias = Callable[[Page], Ruling]


def take(connection: Connection, arrivals: Sequence[tuple[Arrival, Rule]]) -> list[Ruling | Exception]:
    """Judge arrivals of different agents, and write what follows.

    Returns:
        What became of each, in their order. A rule that fails does so for its own arrival alone.
    """
    found = owners(connection, sorted(arrival.agent for arrival, _ in arrivals))
    bearing = pages(connection, [arrival for arrival, _ in arrivals], found)
    outcomes: list[Ruling | Exception] = []
    taken: list[tuple[Arrival, Taken]] = []
    for (arrival, rule), page in zip(arrivals, bearing, strict=True):
        try:
            ruling = rule(page)
        except Exception as error:  # noqa: BLE001  # a failing rule is told to whoever gave it
            outcomes.append(error)
            continue
        outcomes.append(ruling)
        if isinstance(ruling, Taken):
            taken.append((arrival, ruling))
    if taken:
        _write(connection, taken, found)
    watching.contradicted(
        connection,
        [
            (arrival, outcome)
            for (arrival, _), outcome in zip(arrivals, outcomes, strict=True)
            if isinstance(outcome, Contradiction)
        ],
    )
    return outcomes


def _write(connection: Connection, taken: list[tuple[Arrival, Taken]], found: dict[str, Owner]) -> None:
    opened, grown, entered = [], [], []
    counted: list[tuple[UsageSummary | MinuteSeries, Stood]] = []
    for arrival, ruling in taken:
        agent, place = found[arrival.agent], arrival.place
        chain = agent.chains.get(place.chain)
        number = chain.number if chain is not None else len(agent.chains) + 1
        if chain is None:
            opened.append(_opened(arrival, number))
        else:
            late = place.sequence < chain.last
            end = (chain.last, chain.last_sha256) if late else (place.sequence, arrival.sha256)
            grown.append({"of": arrival.agent, "to": place.chain, "n": end[0], "h": end[1]})
        entered.append(_entered(arrival, ruling))
        _turn(connection, arrival, ruling, agent, opens=chain is None)
        if ruling.reason is None and isinstance(arrival.record, UsageSummary | MinuteSeries):
            counted.append(
                (arrival.record, Stood(arrival.agent, number, place.sequence, arrival.sha256, arrival.at))
            )
    _insert(connection, chains, opened)
    if grown:
        one = (chains.c.agent == bindparam("of")) & (chains.c.id == bindparam("to"))
        ends = (
            update(chains)
            .where(one)
            .values(last=bindparam("n"), last_sha256=bindparam("h"), held=chains.c.held + 1)
        )
        connection.execute(ends, grown)
    _insert(connection, records, entered)
    rows = [row for record, stood in counted for row in deriving.rows(record, stood)]
    # Finals and corrections are judged to be the only ones of their key; of the others one stays.
    _insert(connection, summaries, [row for row in rows if row.get("kind") in ("final", "correction")])
    _contend(connection, summaries, [row for row in rows if row.get("kind") == "interim"])
    _contend(connection, minute_series, [row for row in rows if "day" in row])


def _opened(arrival: Arrival, number: int) -> dict[str, Any]:
    place = arrival.place
    return {
        "agent": arrival.agent,
        "id": place.chain,
        "number": number,
        "starts_after": place.sequence - 1,
        "continues": json.dumps(place.continues) if place.continues else None,
        "last": place.sequence,
        "last_sha256": arrival.sha256,
        "held": 1,
    }


def _entered(arrival: Arrival, taken: Taken) -> dict[str, Any]:
    place = arrival.place
    return {
        "agent": arrival.agent,
        "chain": place.chain,
        "sequence": place.sequence,
        "id": place.id,
        "sha256": arrival.sha256,
        "previous_sha256": place.previous_sha256,
        "status": "counted" if taken.reason is None else "refused",
        "reason": taken.reason,
        "jws": arrival.token,
        "receipt": taken.receipt,
        "taken_at": arrival.at,
    }


def _turn(connection: Connection, arrival: Arrival, taken: Taken, agent: Owner, *, opens: bool) -> None:
    """Write what a record changes of its agent: the chain it is on, and which keys may still sign."""
    if opens or agent.row.rejoining:
        values: dict[str, Any] = {"rejoining": 0} | ({"chain": arrival.place.chain} if opens else {})
        connection.execute(update(agents).where(agents.c.id == arrival.agent).values(values))
    # A key ends when a newer one has signed, or when it has itself handed over.
    signer = agent.keys[arrival.kid]
    ended = [
        key.thumbprint
        for key in agent.keys.values()
        if key.state == KeyState.ACTIVE
        and (key.number < signer.number or (key is signer and taken.new_key is not None))
    ]
    if ended:
        over = update(keys).where(keys.c.thumbprint.in_(ended)).values(state=KeyState.SUPERSEDED.value)
        connection.execute(over)
    if taken.new_key is not None:
        enrolling.know(connection, arrival.agent, taken.new_key)


def _contend(connection: Connection, table: Table, rows: list[deriving.Row]) -> None:
    """Keep the rows that outrank what is kept under their keys: interims, or series."""
    if not rows:
        return
    identity = [table.c.agent, table.c.tenant, table.c.day if table is minute_series else table.c.period]
    contenders = table.c.kind == "interim" if table is summaries else true()
    ranks = [table.c[name] for name in deriving.RANKS if name in table.c]
    found = select(*identity, *ranks).where(
        among(connection, identity, [tuple(row[c.name] for c in identity) for row in rows])
    )
    kept = {
        deriving.key(row): row for row in map(dict, connection.execute(found.where(contenders)).mappings())
    }
    winners = [row for row in rows if _stays(row, kept.get(deriving.key(row)))]
    beaten = [row for row in winners if deriving.key(row) in kept]
    if beaten:
        of = [column == bindparam(f"{column.name}_is") for column in identity]
        these = [{f"{column.name}_is": row[column.name] for column in identity} for row in beaten]
        connection.execute(delete(table).where(contenders, *of), these)
    _insert(connection, table, winners)


def _stays(row: deriving.Row, kept: Mapping[str, Any] | None) -> bool:
    return kept is None or deriving.outranks(row, kept)


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)
