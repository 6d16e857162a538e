"""A correction: a period's facts under the rules of today, or with its gaps filled, as a new revision.

`draft` reads and decides nothing for good; `seal_draft` seals what was drafted, if the revision
that it replaces is still the newest. The ledger keeps its facts: what a correction lays over them
is kept beside its record, so that it can be recomputed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

from agent import keys
from agent.sealing import SUMMARIES, Halted, Plan, envelope, facts_of, seal
from agent.store import agreements, corrections, ledger, records
from agent.store import told as told_legs
from agent.store.database import Database
from agent.store.records import Sealed
from meter import signature
from meter.amendment import Amendment, amended, filling, without
from meter.canonical import exact
from meter.model import Instant, Leg
from meter.periods import HOUR_MS, Period
from meter.rejudging import rejudged
from meter.sampled import by_call_log, sampled
from meter.schema import USAGE_SUMMARY
from meter.summary import Facts, content, state
from meter.telling import TOLD_BELOW
from meter.tenancy import Tenancy
from meter.witness import Witnessed, judged


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's present rules.

    Attributes:
        tenancy: They themselves.
        trunks: The trunk rules of each PBX.
        others: The tenants that have rules by what the ledger does not keep.
    """

    tenancy: Tenancy
    trunks: dict[str, tuple[str, ...]]
    others: frozenset[str]


@dataclass(frozen=True, slots=True)
class CallRecords:
    """The call records of one PBX.

    Attributes:
        pbx: Whose.
        legs: What they tell.
        told: From when to when they tell of anything.
        sha256: Of the file that they came in.
    """

    pbx: str
    legs: Sequence[Witnessed]
    told: tuple[Instant, Instant]
    sha256: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a correction would say.

    Attributes:
        tenant, period: Whose, and of when.
        newest: The revision that it replaces.
        before, after: The figures, as records state them; before None: its text was let go.
        amendment: What it lays over the ledger.
        source: Where its facts come from, as the record says it.
        notes: What the operator must know before he seals.
        told_at: When call records last told of the period; None: never.
    """

    tenant: str
    period: Period
    newest: Sealed
    before: dict[str, Any] | None
    after: dict[str, Any]
    amendment: Amendment
    source: str
    notes: tuple[str, ...]
    told_at: Instant | None = None

    @property
    def differences(self) -> list[tuple[str, Any, Any]]:
        """Figure by figure where the two differ: (path, old, new)."""
        return list(_differences(self.before or {}, self.after, ""))


#: A running agent's clock may be so far ahead of a new one: it counts by the boot clock from its start.
_BEHIND_MS: Final = 1_000

#: A correction waits at most so long for the records of calls that were up at the close, in ms.
_WAIT_FOR_RECORDS_MS: Final = 24 * HOUR_MS

#: What makes two revisions differ without a figure being another one.
_NO_FIGURES: Final = frozenset({"agent", "chain", "clock"})


def draft(
    db: Database, plan: Plan, tenant: str, period: Period, rules: Rules, told: CallRecords | None
) -> Draft | None:
    """Return what a correction of a period would say; None: it has no sealed summary yet."""
    newest = records.newest(db, tenant, SUMMARIES, period.start)
    if newest is None:
        return None
    facts = facts_of(db, tenant, period.start, period.end, plan)
    amendment, notes = _amendment(db, facts[0], newest, period, rules, told)
    source = "ledger, judged again"
    if told is not None:
        source = f"ledger, judged again; call records of {told.pbx}, sha256 {told.sha256}"
    elif amendment.filled:
        source = "ledger, judged again; call records of an earlier correction"
    return _drafted(db, facts, period, newest, amendment, source, notes)


def told_late(db: Database, plan: Plan, tenant: str, period: Period) -> Draft | None:
    """Return what a closed period says now that call records told of calls that were up at its close.

    None: nothing was told since it was sealed, or no figure differs.
    """
    newest = records.newest(db, tenant, SUMMARIES, period.start)
    if newest is None or newest.jws is None:
        return None
    told_at = told_legs.told_at(db, tenant, period.start, period.end)
    if told_at is None or told_at < newest.sealed_at:
        return None
    facts = facts_of(db, tenant, period.start, period.end, plan)
    found = _drafted(db, facts, period, newest, corrections.of(db, newest), "call records of the PBX")
    return found if found.differences else None


def awaits_records(db: Database, plan: Plan, period: Period, now: Instant) -> bool:
    """Return whether call records of a closed period are yet to come; after a day none are waited for.

    A call that was up at its close is still up, or what was told does not reach the close.
    """
    pbxs = sampled(plan.sampling)
    return now < period.end + _WAIT_FOR_RECORDS_MS and (
        told_legs.still_up(db, pbxs, period.end)
        or any((told_legs.told_until(db, pbx) or period.end) < period.end for pbx in pbxs)
    )


def _drafted(
    db: Database,
    facts: tuple[Facts, tzinfo],
    period: Period,
    newest: Sealed,
    amendment: Amendment,
    source: str,
    notes: Sequence[str] = (),
) -> Draft:
    found, tz = facts
    before = None
    after = content(state(laid_over(db, found, amendment, period), period, period.end, tz), evidence=True)
    if newest.jws is not None:
        before = exact(signature.unverified_payload(newest.jws, signature.TYP_RECORD))["data"]
        after["clock"]["synchronised"] = before["clock"]["synchronised"]
    told_at = told_legs.told_at(db, found.tenant, period.start, period.end)
    return Draft(found.tenant, period, newest, before, after, amendment, source, tuple(notes), told_at)


def laid_over(db: Database, facts: Facts, amendment: Amendment, period: Period) -> Facts:
    """Return facts with an amendment over them, and with the merges of the legs that came with it."""
    if amendment.legs:
        since = min(period.start, *(leg.start for leg in amendment.legs))
        oldest = min((leg.start for leg in facts.legs), default=period.start)
        if since < oldest:
            facts = replace(facts, merges=ledger.merges(db, facts.gaps, since, period.end))
    return amended(facts, amendment)


def _amendment(
    db: Database,
    facts: Facts,
    newest: Sealed,
    period: Period,
    rules: Rules,
    told: CallRecords | None,
) -> tuple[Amendment, list[str]]:
    own = _every_leg(db, facts, period)
    known = {leg.row: leg for leg in own}
    earlier = corrections.of(db, newest)
    legs = {leg.row: leg for leg in own}
    # What call records told an earlier correction stays told; whose it is, is judged again.
    for leg in earlier.legs if earlier.filled else ():
        found = known.get(leg.row)
        if found is not None:
            leg = replace(leg, tenant=found.tenant, trunk=found.trunk, endpoint=found.endpoint)  # noqa: PLW2901 - its life only
        legs[leg.row] = leg
    filled = earlier.filled
    notes: list[str] = []
    if told is not None:
        first = min(0, *(row for row in legs if row > TOLD_BELOW), 0)
        # Told before: the same file again, or one that goes on, adds nothing twice.
        left = [piece for gap in facts.gaps.get(told.pbx, ()) for piece in without(gap, filled)]
        found_legs = [
            replace(leg, row=first - number) for number, leg in enumerate(_judged(told, rules.tenancy), 1)
        ]
        more = filling([leg for leg in legs.values() if leg.pbx == told.pbx], found_legs, left, told.told)
        legs |= {leg.row: leg for leg in more.legs}
        filled = tuple(sorted({*filled, *more.filled}))
        notes += _told(more.legs, more.filled, more.doubtful)
    again = rejudged(
        (leg for leg in legs.values() if leg.row >= 1 or leg.row < TOLD_BELOW),
        rules.tenancy,
        rules.trunks,
        rules.others,
    )
    legs |= {leg.row: leg for leg in again.legs}
    for leg in again.dropped:
        del legs[leg.row]
    notes += _judged_again(again.kept, again.unreadable)
    states_strays = facts.strays is not None

    def concerns(leg: Leg | None) -> bool:
        if leg is None:
            return False
        return leg.tenant == facts.tenant or (leg.tenant is None and states_strays)

    changed = {row: leg for row, leg in legs.items() if leg != known.get(row)}
    notes += _neighbours(facts.tenant, known, changed)
    return Amendment(
        legs=tuple(leg for row, leg in sorted(changed.items()) if concerns(leg) or concerns(known.get(row))),
        dropped=tuple(sorted(leg.row for leg in again.dropped if concerns(leg))),
        filled=filled,
    ), notes


def _every_leg(db: Database, facts: Facts, period: Period) -> list[Leg]:
    span = (period.start, period.end)
    by_log = by_call_log(facts.sampling)
    return [
        leg
        for tenant in (*agreements.tenants(db), None)
        for leg in told_legs.laid_over(db, ledger.legs(db, tenant, *span), by_log, tenant, span)
        if leg.pbx in facts.gaps
    ]


def _judged(told: CallRecords, rules: Tenancy) -> list[Leg]:
    found = (judged(leg, told.pbx, rules) for leg in told.legs)
    return [leg for leg in found if leg is not None]


def _told(legs: Sequence[Leg], filled: Sequence[tuple[str, Instant, Instant]], doubtful: int) -> list[str]:
    seconds = sum(end - start for _, start, end in filled) // 1000
    notes = [
        f"call records fill {seconds} s of gaps and tell of {len(legs)} legs in them; they count whole seconds"
    ]
    if doubtful:
        notes.append(
            f"{doubtful} legs of the call records contradict what was seen outside the gaps: left out"
        )
    return notes


def _judged_again(kept: int, unreadable: int) -> list[str]:
    notes = ["judged again by trunk and other legs of the call; account code, context and DID are not stored"]
    if kept:
        notes.append(f"{kept} legs keep their tenant: it may have come by what is not stored")
    if unreadable:
        notes.append(f"{unreadable} legs keep everything: their endpoint is stored as a hash only")
    return notes


def _neighbours(tenant: str, known: dict[int, Leg], changed: dict[int, Leg]) -> list[str]:
    touched = Counter(
        name
        for row, leg in changed.items()
        for name in {leg.tenant, known[row].tenant if row in known else None}
        if name not in (tenant, None)
    )
    return [
        f"{name}: {count} legs change too; correct that tenant's period as well"
        for name, count in sorted(touched.items(), key=str)
    ]


def seal_draft(
    db: Database, plan: Plan, state_dir: Path, found: Draft, reason: str, now: Instant
) -> Sealed | None:
    """Seal a drafted correction; None: another revision was sealed, or calls were told, in the meantime.

    Raises:
        Halted: Nothing may be sealed in this chain, or by this clock.
    """
    if now + _BEHIND_MS < ledger.last_stored(db):
        raise Halted("the wall clock is behind what was stored already; set it right, then try again")
    newest = records.newest(db, found.tenant, SUMMARIES, found.period.start)
    if newest is None or newest.sha256 != found.newest.sha256:
        return None
    if told_legs.told_at(db, found.tenant, found.period.start, found.period.end) != found.told_at:
        return None  # calls were told since it was drafted: they are not in it
    revision = newest.revision + 1
    said = envelope(
        USAGE_SUMMARY, dict(plan.agent), found.tenant,
        f"{found.tenant}/{found.period.name}/correction/{revision}", now,
        found.after | {
            "kind": "correction",
            "revision": revision,
            "replaces": {"id": newest.id, "sha256": newest.sha256},
            "reason": reason,
            "source": found.source,
            "next_by": None,
        },
    )  # fmt: skip
    sealed = seal(db, plan, said, key=keys.current(db, state_dir), kind="correction", tenant=found.tenant,
                  period=found.period, revision=revision, now=now)  # fmt: skip
    corrections.keep(db, sealed, found.amendment)
    return sealed


def facts_of_record(
    db: Database, record: Sealed, period: Period, facts: tuple[Facts, tzinfo]
) -> tuple[Facts, tzinfo]:
    """Return a period's facts as a sealed record took them."""
    return laid_over(db, facts[0], corrections.of(db, record), period), facts[1]


def _differences(old: Any, new: Any, path: str) -> Iterable[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()) if path else new:
            if path or name not in _NO_FIGURES:
                yield from _differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old != new:
        yield path, old, new
