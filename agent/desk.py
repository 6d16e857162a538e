"""What an operator does with the stored facts and records: list, recompute, export, import, begin anew.

Each function works on the state directory's database, whether the agent runs or not:
SQLite keeps the two apart. None of them talks to a PBX.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent import correcting, keys
from agent.sealing import SUMMARIES, Plan, envelope, facts_of, seal
from agent.store import agreements, corrections, ledger, outbox, records
from agent.store.database import Database
from agent.store.records import Sealed
from agent.upstream import Position
from meter import messages, signature
from meter.canonical import exact
from meter.model import Instant
from meter.periods import Period
from meter.sampled import Sampling
from meter.schema import USAGE_SUMMARY
from meter.signature import PublicKey, Unverified
from meter.summary import Statement, content, state


class Unknown(Exception):  # noqa: N818 - it says what is so
    """What was asked for is not there.

    Args:
        message: What, in one sentence.
        hint: The next thing to type.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One tenant's period, folded again from the ledger.

    Attributes:
        content: The figures as a record states them.
        sealed: The newest sealed summary of the period; None: none yet.
        differences: Where the two differ, as paths; empty also without a sealed one.
    """

    content: dict[str, Any]
    sealed: Sealed | None
    differences: tuple[str, ...]


#: What stands in a record and is no figure of the ledger.
_NOT_FIGURES = frozenset(
    {
        "agent", "chain", "sequence", "previous_sha256", "tenant_sequence", "tenant_previous_sha256",
        "kind", "revision", "replaces", "reason", "source", "next_by",
    }
)  # fmt: skip


def period_named(db: Database, tenant: str, name: str | None) -> Period:
    """Return a tenant's period by its name; the youngest without one.

    Raises:
        Unknown: There is no such tenant or period.
    """
    known = agreements.periods(db, tenant)
    if not known:
        names = ", ".join(agreements.tenants(db)) or "none yet: start the agent first"
        raise Unknown(f"the ledger has no tenant {tenant!r}", hint=f"known tenants: {names}")
    found = known[-1] if name is None else next((p for p in known if p.name == name), None)
    if found is None:
        some = ", ".join(p.name for p in known[-12:])
        raise Unknown(f"{tenant} has no period {name!r}", hint=f"its last periods: {some}")
    return found


def recompute(db: Database, plan: Plan, tenant: str, period: Period) -> Recomputed:
    """Fold a tenant's period again and compare it with what was sealed."""
    statement, sealed = folded(db, plan, tenant, period)
    found = content(statement, evidence=True)
    said = _data(sealed) if sealed is not None else None
    if said is None or sealed is None or sealed.kind == "interim":
        return Recomputed(found, None, ())
    # What the machine said of its clock when it sealed is no figure of the ledger.
    found["clock"]["synchronised"] = said["clock"]["synchronised"]
    return Recomputed(found, sealed, tuple(_differences(said, found, "")))


def folded(
    db: Database, plan: Plan, tenant: str, period: Period, *, series: bool = False
) -> tuple[Statement, Sealed | None]:
    """Fold a tenant's period again, as it was sealed if it was; return its newest record too, at least an interim.

    `series`: whether minute maxima are kept one by one.
    """
    newest = records.newest(db, tenant, (*SUMMARIES, "interim"), period.start)
    final = records.newest(db, tenant, SUMMARIES, period.start) or newest
    said = _data(final) if final is not None else None
    as_of = min(period.end, _last_heard(db, period))
    if final is not None and final.kind in SUMMARIES:
        as_of = period.end
    known_at = None
    if final is not None and said is not None and final.kind in SUMMARIES:
        # As it stood when it was sealed: what was known of gaps, and who stated strays.
        known_at = final.sealed_at
        plan = replace(
            plan,
            default=tenant if said["unclassified"] is not None else None,
            sampling={pbx: _as_stated(how) for pbx, how in said["sampling"].items()},
        )
    facts, tz = facts_of(db, tenant, period.start, as_of, plan, known_at=known_at)
    if final is not None:
        facts, tz = correcting.facts_of_record(db, final, period, (facts, tz))
    return state(facts, period, as_of, tz, series=series), final


def _as_stated(how: dict[str, Any]) -> Sampling:
    """Return how a PBX was watched as a record says it: of how much time was told is as it was then."""
    told = how.get("call_records") or {}
    return Sampling(
        how["method"], how.get("interval_ms"), how.get("peak_from"), source=told.get("source"),
        told_ms=told.get("told_ms", 0),
    )  # fmt: skip


def recompute_each(
    db: Database, plan: Plan, tenants: Iterable[str], period: str | None
) -> dict[str, Recomputed]:
    """Recompute a period, by its name, of each tenant that has it; the youngest of each without a name.

    Raises:
        Unknown: None of them has it.
    """
    found: dict[str, Recomputed] = {}
    missing: Unknown | None = None
    for tenant in tenants:
        try:
            found[tenant] = recompute(db, plan, tenant, period_named(db, tenant, period))
        except Unknown as error:
            missing = error
    if not found:
        raise missing or Unknown("there is no tenant yet", hint="start the agent once: pbx-meter run")
    return found


def corrects(record: Sealed) -> tuple[str, str, str] | None:
    """Return what a correction says of itself: the id of what it replaces, why, and made from what."""
    if record.jws is None or record.kind != "correction":
        return None
    said = exact(signature.unverified_payload(record.jws, signature.TYP_RECORD))["data"]
    return said["replaces"]["id"], said["reason"], said.get("source") or "ledger"


def _data(record: Sealed) -> dict[str, Any] | None:
    if record.jws is None:
        return None
    payload = exact(signature.unverified_payload(record.jws, signature.TYP_RECORD))
    data: dict[str, Any] = payload["data"]
    return {name: value for name, value in data.items() if name not in _NOT_FIGURES}


def _last_heard(db: Database, period: Period) -> Instant:
    return max(period.start, ledger.last_heard(db) or period.start)


def _differences(sealed: Any, found: Any, path: str) -> Iterable[str]:
    if isinstance(sealed, dict) and isinstance(found, dict):
        for name in sorted(sealed.keys() | found.keys()):
            yield from _differences(sealed.get(name), found.get(name), f"{path}.{name}" if path else name)
    elif sealed != found:
        yield f"{path}: sealed {sealed!r}, recomputed {found!r}"


def replace_refused(db: Database, plan: Plan, state_dir: Path, record_id: str, now: Instant) -> Sealed:
    """Seal a correction in the place of a summary that the receiver refused, from the ledger as it is now.

    Raises:
        Unknown: There is no such record, or it was not refused.
        Halted: Nothing may be sealed in this chain any more.
    """
    chain = records.chain(db)
    found = next((r for r in records.every(db) if r.id == record_id), None) if chain else None
    if found is None or found.tenant is None or found.period is None or found.kind not in SUMMARIES:
        raise Unknown(f"there is no summary {record_id!r}", hint="pbx-meter summaries")
    if found.status != "refused":
        raise Unknown(f"{record_id} was not refused: it is {found.status or 'not receipted yet'}",
                      hint="pbx-meter summaries")  # fmt: skip
    period = period_named(db, found.tenant, found.period)
    newest = records.newest(db, found.tenant, SUMMARIES, period.start) or found
    facts, tz = facts_of(db, found.tenant, period.start, period.end, plan)
    facts, tz = correcting.facts_of_record(db, newest, period, (facts, tz))
    revision = newest.revision + 1
    data = content(state(facts, period, period.end, tz), evidence=True) | {
        "kind": "correction",
        "revision": revision,
        "replaces": {"id": newest.id, "sha256": newest.sha256},
        "reason": f"the receiver refused it: {found.why or 'no reason given'}"[:200],
        "source": "ledger",
        "next_by": None,
    }
    said = envelope(
        USAGE_SUMMARY, dict(plan.agent), found.tenant,
        f"{found.tenant}/{period.name}/correction/{revision}", now, data,
    )  # fmt: skip
    sealed = seal(db, plan, said, key=keys.current(db, state_dir), kind="correction", tenant=found.tenant,
                  period=period, revision=revision, now=now)  # fmt: skip
    corrections.keep(db, sealed, corrections.of(db, newest))
    return sealed


def change_key(db: Database, plan: Plan, state_dir: Path, now: Instant) -> PublicKey:
    """Seal the record by which a new key follows the present one. Call `keys.current` once it is stored.

    Raises:
        Halted: Nothing may be sealed in this chain any more.
    """
    old, new = keys.current(db, state_dir), keys.begin_change(state_dir)
    chain = records.chain(db) or records.begin_chain(db, records.new_chain_id(), None)
    head = records.head(db, chain.number)
    number = 1 + sum(r.kind == "key-change" for r in records.every(db))
    said = keys.change_record(
        agent=dict(plan.agent),
        chain={"id": chain.id, "continues": chain.continues},
        sequence=head.sequence,
        previous_sha256=head.previous_sha256,
        number=number,
        old=old,
        new=new,
        now=now,
    )
    seal(db, plan, said, key=old, kind="key-change", tenant=None, period=None, revision=number, now=now)
    ledger.keep_fact(db, keys.FACT, new.public.thumbprint)
    return new.public


def new_chain(db: Database, position: Position | None) -> records.Chain:
    """Begin a new chain that names where the receiver's books end; nothing is known of them without a position."""
    continues = None
    if position is not None and position.chain is not None:
        continues = {"chain": position.chain, "sequence": position.sequence, "sha256": position.sha256}
    return records.begin_chain(db, records.new_chain_id(), continues)


def take_receipts(db: Database, lines: Iterable[str], receiver: PublicKey) -> tuple[int, list[str]]:
    """Keep receipts that came by file; return how many, and what was wrong with the others."""
    chains = [c.number for c in records.chains(db)]
    by_hash = {r.sha256: r for number in chains for r in records.every(db, number=number)}
    kept, wrong = 0, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            receipt = messages.read_receipt(line.strip(), receiver)
        except Unverified as error:
            wrong.append(f"line {number}: {error}")
            continue
        record = by_hash.get(receipt.sha256)
        if record is None:
            wrong.append(f"line {number}: the receipt of a record that is not this agent's")
            continue
        records.receipted(db, record.chain, record.sequence, line.strip(), receipt.status, receipt.reason)
        kept += 1
    return kept, wrong


def retry_parked(db: Database, now: Instant) -> int:
    """Let every parked row go again; return how many."""
    return outbox.retry(db, now)


def parked(db: Database) -> list[outbox.Parked]:
    """Return the parked rows."""
    return outbox.parked(db)
