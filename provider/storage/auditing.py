"""The books are checked against what was signed: every chain, signature, receipt and derived row.

Nothing is changed, and nothing that stands in the books is believed: keys are the one
thing that everything else is held against. What is found is said in words.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from meter import chain as chain_rules
from meter import messages, schema, signature
from meter.schema import KeyChange, Record, Uncountable
from meter.signature import PublicKey, Unverified
from provider.partners import problems
from provider.statements import Audit
from provider.storage import agreeing, deriving, rebuilding
from provider.storage.database import Store
from provider.storage.deriving import Key, Row, Stood
from provider.storage.tables import AnyRow, agents, chains, closings, keys, minute_series, records, summaries


async def audit(database: Store, receiver: PublicKey) -> Audit:
    """See `Books.audit`."""
    checked, found = 0, await database.read(_provider)
    ids = await database.read(rebuilding.agents_of)
    for agent in ids:
        walk = await database.read(_agent, agent, receiver)
        checked += walk.records
        found += [f"agent {agent}: {sentence}" for sentence in walk.found]
    return Audit(len(ids), checked, tuple(found))


@dataclass(slots=True)
class _Walk:
    """The books of one agent, as far as they have been read.

    Attributes:
        agent: Whose they are.
        keys: Its keys by thumbprint.
        receiver: Signed the receipts.
        ends: Of each chain the last number and its hash.
        held: Of each chain how many numbers are there.
        tenants: Of each (chain, tenant) the last tenant number and its hash.
        over: Keys that handed over, as (chain, thumbprint).
        kept: The derived rows that follow.
        records: How many records were read.
        found: What is wrong.
    """

    agent: str
    keys: dict[str, PublicKey]
    receiver: PublicKey
    ends: dict[str, tuple[int, str]] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)
    tenants: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    over: set[tuple[str, str]] = field(default_factory=set)
    kept: dict[Key, Row] = field(default_factory=dict)
    records: int = 0
    found: list[str] = field(default_factory=list)


def _agent(connection: Connection, agent: str, receiver: PublicKey) -> _Walk:
    own = connection.execute(select(keys.c.thumbprint, keys.c.jwk).where(keys.c.agent == agent))
    walk = _Walk(agent, {row.thumbprint: signature.public_key(row.jwk) for row in own}, receiver)
    for row in _taken(connection, agent):
        walk.records += 1
        where = f"number {row.sequence} of chain {row.chain}"
        walk.found += [f"{where}: {sentence}" for sentence in _record(walk, row)]
        walk.found += _link(walk, row)
        walk.ends[row.chain] = (row.sequence, row.sha256)
        walk.held[row.chain] += 1
    walk.found += _derived(connection, walk)
    walk.found += _heads(connection, walk)
    return walk


def _taken(connection: Connection, agent: str) -> Iterator[AnyRow]:
    on = (chains.c.agent == records.c.agent) & (chains.c.id == records.c.chain)
    asked = select(records, chains.c.number).join_from(records, chains, on).where(records.c.agent == agent)
    by = (chains.c.number, records.c.sequence)
    yield from connection.execute(asked.order_by(*by).execution_options(yield_per=500))


def _record(walk: _Walk, row: AnyRow) -> Iterator[str]:
    """Check one record by itself, and learn what it makes."""
    if signature.sha256_hex(row.jws) != row.sha256:
        yield "its hash is not that of its bytes"
    yield from _receipt(walk, row)
    try:
        kid = signature.read_header(row.jws, signature.TYP_RECORD).kid
        payload = signature.verify(row.jws, walk.keys.values(), signature.TYP_RECORD)
        place = schema.place(payload)
    except (Unverified, Uncountable) as error:
        yield str(error)
        return
    says = (place.agent, place.chain, place.sequence, place.id, place.previous_sha256)
    if says != (walk.agent, row.chain, row.sequence, row.id, row.previous_sha256):
        yield "it stands elsewhere than it says itself"
    if (row.chain, kid) in walk.over:
        yield "it is signed by a key that had handed over before"
    if place.continues is not None and place.sequence == 1:
        former, sequence, sha256 = place.continues
        if walk.ends.get(former, (sequence, sha256)) != (sequence, sha256):
            yield f"it does not continue from the last record of chain {former} that is here"
    try:
        record = schema.validate(payload)
    except Uncountable as error:
        if row.status == "counted":
            yield f"it was counted and can't be: {error}"
        return
    yield from _content(walk, row, record, kid)


def _content(walk: _Walk, row: AnyRow, record: Record, kid: str) -> Iterator[str]:
    if isinstance(record, KeyChange):
        if row.status == "counted":
            try:
                new = chain_rules.key_changed_to(record, kid)
            except Unverified as error:
                yield str(error)
            else:
                walk.over.add((row.chain, kid))
                if new.thumbprint not in walk.keys:
                    yield "the key that it brings in is not known"
        return
    number, before = record.data.tenant_sequence, walk.tenants.get((row.chain, record.subject))
    follows = before is not None and number == before[0] + 1  # after a hole there is nothing to compare with
    if follows and before is not None and record.data.tenant_previous_sha256 != before[1]:
        yield f"it names another record of {record.subject} before it than the one that is here"
    walk.tenants[row.chain, record.subject] = (number, row.sha256)
    if row.status == "counted":
        stood = Stood(walk.agent, row.number, row.sequence, row.sha256, row.taken_at)
        deriving.keep(walk.kept, record, stood)


def _receipt(walk: _Walk, row: AnyRow) -> Iterator[str]:
    try:
        receipt = messages.read_receipt(row.receipt, walk.receiver)
    except Unverified as error:
        yield f"its receipt proves nothing: {error}"
        return
    says = (receipt.agent, receipt.chain, receipt.sequence, receipt.id, receipt.sha256)
    says_of_it = (receipt.status, receipt.reason, receipt.taken_at)
    if says != (walk.agent, row.chain, row.sequence, row.id, row.sha256) or says_of_it != (
        row.status,
        row.reason,
        row.taken_at,
    ):
        yield "its receipt speaks of something else"


def _link(walk: _Walk, row: AnyRow) -> Iterator[str]:
    """Check that a record follows the one before it in its chain."""
    last, sha256 = walk.ends.get(row.chain, (0, None))
    if row.sequence == last + 1:
        if row.previous_sha256 != sha256:
            yield f"number {row.sequence} of chain {row.chain}: another record is here before it than it names"
    elif row.sequence == last + 2:
        yield f"number {last + 1} of chain {row.chain} never came"
    else:
        yield f"numbers {last + 1} to {row.sequence - 1} of chain {row.chain} never came"


def _derived(connection: Connection, walk: _Walk) -> Iterator[str]:
    """Compare what is derived with what follows from the records."""
    stored: dict[Key, Row] = {}
    for table in (summaries, minute_series):
        found = connection.execute(select(table).where(table.c.agent == walk.agent)).mappings()
        stored |= {deriving.key(row): row for row in map(dict, found)}
    for key in sorted(walk.kept.keys() | stored.keys(), key=repr):
        name = "/".join(str(part) for part in key[1:] if part is not None)
        if key not in stored:
            yield f"{name}: the derived row is missing"
        elif key not in walk.kept:
            yield f"{name}: there is a derived row, and no counted record for it"
        else:
            made, kept = walk.kept[key], stored[key]
            yield from (
                f"{name}: {column} is {kept[column]} where the record says {made[column]}"
                for column in made
                if made[column] != kept[column]
            )


def _heads(connection: Connection, walk: _Walk) -> Iterator[str]:
    """Check where the books say that chains end, and which one the agent is on."""
    rows = connection.execute(select(chains).where(chains.c.agent == walk.agent).order_by(chains.c.number))
    newest = None
    for row in rows:
        newest = row.id
        if (row.last, row.last_sha256) != walk.ends.get(row.id):
            yield f"chain {row.id}: its end is not that of its last record"
        if row.held != walk.held[row.id]:
            yield f"chain {row.id}: the books count {row.held} records of it, {walk.held[row.id]} are there"
    if connection.scalar(select(agents.c.chain).where(agents.c.id == walk.agent)) != newest:
        yield "it is said to be on another chain than its newest"


def _provider(connection: Connection) -> list[str]:
    """Check what the provider wrote himself."""
    found = problems(agreeing.all_partners(connection), agreeing.all_placements(connection))
    for row in connection.execute(select(closings).execution_options(yield_per=1)):
        if hashlib.sha256(bytes(row.document)).hexdigest() != row.sha256:
            found.append(f"report {row.period} revision {row.revision}: its hash is not that of its bytes")
    return found
