"""One record's way into the chain: the facts it is made from, its envelope, its place, its signature.

`seal` is the only way a record comes into being, whoever asks for it: the loop
(agent.closing) or an operator (agent.desk).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from agent.store import agreements, ledger, outbox, readings, records, told
from agent.store.database import Database
from meter import signature
from meter.canonical import canonical_bytes
from meter.model import Gap, Instant, Leg
from meter.periods import Period, iso
from meter.sampled import Sampling, by_call_log, sampled
from meter.schema import validate
from meter.signature import PrivateKey
from meter.summary import Facts

#: The kinds of record that a bill is made from.
SUMMARIES: Final = ("final", "correction")


@dataclass(frozen=True, slots=True)
class Plan:
    """How and when this agent seals.

    Attributes:
        agent: `{"id", "version", "config_sha256"}`, as every record states it.
        grace_ms: How long after a period its final waits.
        interim_ms: How often the open period is stated.
        sampling: How each PBX is watched.
        default: The tenant that states unclassified and unassigned legs: the default
            one, or the only one; None: nobody.
        statements: Returns the outbox rows by which a sealed record is told to people. It
            raises nothing: what can't be told must not keep a record from being sealed.
    """

    agent: Mapping[str, str]
    grace_ms: int
    interim_ms: int
    sampling: Mapping[str, Sampling]
    default: str | None
    statements: Callable[[records.Sealed], Iterable[tuple[str, str, str, bytes]]] = lambda _: ()


class Halted(Exception):  # noqa: N818 - it says what is so
    """The chain takes no more records; the message says why and what to type."""


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
    plan: Plan,
    said: dict[str, Any],
    *,
    key: PrivateKey,
    kind: str,
    tenant: str | None,
    period: Period | None,
    revision: int,
    now: Instant,
) -> records.Sealed:
    """Give a record the next place in the chain, sign it and store it, with the rows of what is told of it.

    To be called in a write transaction: the record and its rows are there together, or not at all.

    Raises:
        Halted: Nothing may be sealed in this chain any more.
    """
    chain = records.chain(db) or records.begin_chain(db, records.new_chain_id(), None)
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
    outbox.enqueue(db, plan.statements(sealed), now)
    return sealed


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
        known_at: Take gaps and call records as they were known then: a gap that ended later was
            still running, a call that was told later was not told.
    """
    sampling = {} if plan is None else plan.sampling
    agreed = [t for t in agreements.terms(db, tenant) if t.at < end] or agreements.terms(db, tenant)[:1]
    last = agreed[-1]
    pbxs = list(dict.fromkeys(pbx for t in agreed for pbx in t.pbxs))
    legs, compared = _legs(db, tenant, (start, end), sampling, known_at)
    since = min((leg.start for leg in (*legs, *(compared or ()))), default=start)
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
        sampling={
            pbx: _sampled(db, pbx, start, end, sampling[pbx], known_at) for pbx in pbxs if pbx in sampling
        },
        compared=compared,
        strays=_legs(db, None, (start, end), sampling, known_at)[0] if states_strays else None,
        stray_users=sum(latest.values()),
    )
    return facts, ZoneInfo(last.timezone)


def _legs(
    db: Database,
    tenant: str | None,
    span: tuple[Instant, Instant],
    sampling: Mapping[str, Sampling],
    known_at: Instant | None,
) -> tuple[list[Leg], list[Leg] | None]:
    """Return a tenant's legs as they set the peak, and as the other of polls and call records has them."""
    seen = ledger.legs(db, tenant, *span)
    unsure, by_log = sampled(sampling), by_call_log(sampling)
    if not unsure:
        return seen, None
    legs = told.laid_over(db, seen, by_log, tenant, span, known_at)
    polled = [
        pbx
        for pbx in unsure
        if sampling[pbx].method == "polled"
        and (told.covered(db, pbx, *span) if sampling[pbx].told_ms is None else sampling[pbx].source)
    ]
    if not polled:
        return legs, None
    others = [pbx for pbx in unsure if (pbx in by_log) is not (pbx in polled)]
    return legs, told.laid_over(db, seen, others, tenant, span, known_at)


def _sampled(
    db: Database, pbx: str, start: Instant, end: Instant, how: Sampling, known_at: Instant | None
) -> Sampling:
    """Return how one PBX was watched over a stretch of time."""
    if not how.sampled:
        return how
    polls, missed, ahead_ms = ledger.polls(db, pbx, start, end)
    if how.told_ms is not None:
        return replace(how, polls=polls, missed=missed, ahead_ms=ahead_ms)
    if known_at is not None:
        end = min(end, known_at)
    stretches = told.covered(db, pbx, start, end)
    return replace(
        how,
        polls=polls,
        missed=missed,
        ahead_ms=ahead_ms,
        source=stretches[-1][0] if stretches else None,
        told_ms=sum(last - first for _, first, last in stretches),
    )


def _as_known(gap: Gap, at: Instant) -> Gap:
    return replace(gap, end=None) if gap.end is not None and gap.end >= at else gap
