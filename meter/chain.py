"""What a file of signed records proves, found without asking anybody.

Give it the compact JWS of one record, of an agent's whole chain, or of one tenant's
records alone, in the order in which they were sealed, and the agent's public key.
It checks every signature, follows changes of key, and checks that the numbers have
no holes and that each record names the one before. It promises "tamper-evident"
and no more: see `Verdict.lines`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

from meter import messages, signature
from meter.schema import KeyChange, Record, Uncountable, validate
from meter.signature import PublicKey, Unverified

#: As many problems are named one by one; more are counted.
_NAMED: Final = 20

#: Of each number: its SHA-256, and the one it names as before it.
_Links: TypeAlias = dict[int, tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        good: Nothing contradicts the proof.
        records: How many different records were verified.
        problems: What is wrong, one sentence each, in the order of the file.
        proved: What the records prove, one sentence each; empty unless `good`.
        not_proved: What nobody can conclude from them.
    """

    good: bool
    records: int
    problems: tuple[str, ...]
    proved: tuple[str, ...]
    not_proved: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The verdict as a person reads it."""
        if not self.good:
            more = len(self.problems) - _NAMED
            return (
                f"NOT PROVED: {_many(len(self.problems), 'problem')}.",
                *(f"  - {problem}" for problem in self.problems[:_NAMED]),
                *((f"  - and {more} more",) if more > 0 else ()),
            )
        return (
            "PROVED (tamper-evident, no more):",
            *(f"  - {sentence}" for sentence in self.proved),
            "NOT PROVED by this:",
            *(f"  - {sentence}" for sentence in self.not_proved),
        )


@dataclass(slots=True)
class _Walk:
    """The chains as far as they have been read.

    Attributes:
        keys: Those that may sign, by thumbprint.
        agents, tenants: The agent's chains by id, a tenant's by (chain, tenant).
        continued: Where a chain says it continues: (chain, number, SHA-256).
        changes: (chain, number, old key, new key) of every change of key.
        signers: Which key signed each number of a chain.
        names: The agents met.
    """

    keys: dict[str, PublicKey]
    problems: list[str] = field(default_factory=list)
    agents: dict[str, _Links] = field(default_factory=dict)
    tenants: dict[tuple[str, str], _Links] = field(default_factory=dict)
    continued: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    changes: list[tuple[str, int, str, str]] = field(default_factory=list)
    signers: dict[str, dict[int, str]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


def examine(lines: Iterable[str], keys: Iterable[PublicKey]) -> Verdict:
    """Examine records, one compact JWS a line; empty lines are skipped.

    Args:
        lines: In the order in which they were sealed. The same bytes twice count once.
        keys: The agent's first public key; later ones are learned from key-change
            records, or given too where those are not in the file.

    Returns:
        The verdict. Any text at all gives one; nothing is raised.
    """
    walk = _Walk({key.thumbprint: key for key in keys})
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        token = line.strip()
        if token and token not in seen:
            seen.add(token)
            _read(walk, token, f"line {number}")
    if not seen:
        walk.problems.append("there is no record in it")
    alone = len(walk.tenants) == 1 and any(_holes(chain) for chain in walk.agents.values())
    if not alone:
        for name, chain in walk.agents.items():
            _check_links(walk, f"chain {name}", chain)
    for (_, tenant), chain in walk.tenants.items():
        _check_links(walk, f"tenant {tenant}", chain)
    _check_continued(walk)
    _check_changes(walk)
    good = not walk.problems
    return Verdict(
        good=good,
        records=len(seen) if good else sum(len(chain) for chain in walk.agents.values()),
        problems=tuple(walk.problems),
        proved=tuple(_proved(walk, len(seen), alone=alone)) if good else (),
        not_proved=_NOT_PROVED,
    )


def _read(walk: _Walk, token: str, where: str) -> None:
    """Verify one record and put it in its places."""
    try:
        kid = signature.read_header(token, signature.TYP_RECORD).kid
        record = validate(signature.verify(token, walk.keys.values(), signature.TYP_RECORD))
    except (Unverified, Uncountable) as error:
        walk.problems.append(f"{where}: {error}")
        return
    data, sha256 = record.data, signature.sha256_hex(token)
    walk.names.add(data.agent.id)
    chain, former = data.chain.id, data.chain.continues
    if former and data.sequence == 1:
        walk.continued[chain] = (former.chain, former.sequence, former.sha256)
    if not _put(walk.agents.setdefault(chain, {}), data.sequence, sha256, data.previous_sha256):
        walk.problems.append(f"{where}: another record has number {data.sequence} of chain {chain}: a fork")
        return
    walk.signers.setdefault(chain, {})[data.sequence] = kid
    if isinstance(record, KeyChange):
        _follow(walk, record, kid, where)
    elif not _put(
        walk.tenants.setdefault((chain, record.subject), {}),
        record.data.tenant_sequence,
        sha256,
        data.tenant_previous_sha256,
    ):
        walk.problems.append(f"{where}: another record of {record.subject} has the same number: a fork")


def _follow(walk: _Walk, record: KeyChange, kid: str, where: str) -> None:
    """Learn the key that signs from the next record on."""
    data = record.data
    try:
        new = key_changed_to(record, kid)
    except Unverified as error:
        walk.problems.append(f"{where}: {error}")
        return
    walk.keys[new.thumbprint] = new
    walk.changes.append((data.chain.id, data.sequence, kid, new.thumbprint))


def key_changed_to(record: Record, kid: str) -> PublicKey:
    """Return the key that a key-change record, signed by the key `kid`, brings in.

    Raises:
        Unverified: It is no key change, names another old key than its signer, or the
            new key does not consent to it.
    """
    if not isinstance(record, KeyChange):
        raise Unverified("not a key change")
    data = record.data
    new = signature.public_key(data.new_key.model_dump())
    if data.old_key != kid or new.thumbprint == kid:
        raise Unverified("a key change that does not lead from its own signer's key to another")
    messages.check_key_proof(
        data.proof,
        agent=data.agent.id,
        chain=data.chain.id,
        sequence=data.sequence,
        old=kid,
        new=new,
    )
    return new


def _put(chain: _Links, sequence: int, sha256: str, previous: str | None) -> bool:
    return chain.setdefault(sequence, (sha256, previous)) == (sha256, previous)


def _holes(chain: _Links) -> list[tuple[int, int]]:
    """Return the missing numbers between the first and the last, as inclusive ranges."""
    numbers = sorted(chain)
    return [(one + 1, two - 1) for one, two in pairwise(numbers) if two > one + 1]


def _check_links(walk: _Walk, name: str, chain: _Links) -> None:
    walk.problems.extend(
        f"{name}: number {first} is missing"
        if first == last
        else f"{name}: numbers {first} to {last} are missing"
        for first, last in _holes(chain)
    )
    walk.problems.extend(
        f"{name}: number {sequence} names another record before it than the one that is here"
        for sequence, (_, previous) in sorted(chain.items())
        if sequence - 1 in chain and previous != chain[sequence - 1][0]
    )


def _check_continued(walk: _Walk) -> None:
    """A new chain leaves the former one at its last record."""
    for chain, (former, sequence, sha256) in walk.continued.items():
        records = walk.agents.get(former, {})
        if sequence in records and records[sequence][0] != sha256:
            walk.problems.append(f"chain {chain}: it continues from another record of chain {former}")
        if any(number > sequence for number in records):
            walk.problems.append(f"chain {former}: it goes on after chain {chain} took its place")


def _check_changes(walk: _Walk) -> None:
    """After a change of key the old key signs nothing, and the new one nothing before."""
    for chain, changed_at, old, new in walk.changes:
        for sequence, kid in walk.signers[chain].items():
            if (kid == old and sequence > changed_at) or (kid == new and sequence <= changed_at):
                walk.problems.append(f"chain {chain}: number {sequence} is signed by a key out of its time")


def _proved(walk: _Walk, records: int, *, alone: bool) -> list[str]:
    signers = sorted({kid for chain in walk.signers.values() for kid in chain.values()})
    subject = "this record" if records == 1 else f"all {records} records"
    proved = [
        f"{subject} of agent {', '.join(sorted(walk.names))} can only come from the holder of {', '.join(signers)}",
        "not one byte was altered since",
    ]
    proved += [
        f"key {old} handed over to key {new}, with the consent of both" for _, _, old, new in walk.changes
    ]
    if not alone:
        proved += [_span(f"chain {name}", chain) for name, chain in walk.agents.items()]
    proved += [_span(f"tenant {tenant}", chain) for (_, tenant), chain in walk.tenants.items()]
    return proved


def _span(name: str, chain: _Links) -> str:
    first, last = min(chain), max(chain)
    if first == last:
        return f"{name}: this is number {first}"
    since = " from the very first" if first == 1 else ""
    return f"{name}: numbers {first} to {last} are complete{since}, and each names the one before"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_NOT_PROVED: Final = (
    "that whoever owns the machine fed it the truth",
    "that the configured capacity is the contract's: the provider's contract decides",
    "that there are no records after the last one here, or before the first one",
    "who holds the key: compare its thumbprint with `pbx-meter keys show` on the agent",
)
