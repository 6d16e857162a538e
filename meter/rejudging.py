"""The ledger's legs judged again, after the operator's rules had been wrong.

The ledger keeps a leg's endpoint and its call. It keeps no account code, no context and no
dialled number, so only two of the five criteria can be judged again: the leg's own trunk, and
the other legs of its call. A leg whose tenant may have come by one of the others keeps it, unless
its own trunk now names another: that criterion comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from meter.model import Leg
from meter.tenancy import Claims, Judged, Kind, Tenancy

#: Says that nobody claims a leg; no tenant's id is empty.
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """What came of judging legs again.

    Attributes:
        legs: Those that changed, as they are now judged.
        dropped: Those that are an extension's by the present rules: no leg of a ledger.
        kept: How many kept their tenant because a criterion that is not stored may have given it.
        unreadable: How many kept everything because their endpoint is stored as a hash only.
    """

    legs: tuple[Leg, ...]
    dropped: tuple[Leg, ...]
    kept: int
    unreadable: int


def rejudged(
    legs: Iterable[Leg],
    rules: Tenancy,
    trunks: Mapping[str, Sequence[str]],
    others: Collection[str],
) -> Rejudged:
    """Judge legs again.

    Args:
        legs: Legs of every tenant and of none; those of PBXs that have no rules any more stay as they are.
        rules: The present rules.
        trunks: The trunk rules of each PBX.
        others: The tenants that have rules by account code, context, dialled number or department.
    """
    changed: list[Leg] = []
    dropped: list[Leg] = []
    waiting: list[tuple[Leg, Judged]] = []
    claims: dict[tuple[str, str], list[Claims]] = defaultdict(list)
    owners: list[tuple[Leg, Judged, str]] = []
    kept = unreadable = 0
    for leg in sorted(legs, key=lambda leg: (leg.start, leg.row)):
        if leg.pbx not in trunks:
            continue
        judged, name = _judged(leg, rules, trunks[leg.pbx])
        if judged is None:
            unreadable += 1
        elif judged.kind is Kind.EXTENSION:
            dropped.append(leg)
        elif judged.kind is Kind.UNCLASSIFIED:
            changed += _changes(leg, None, None, judged.shown)
        else:
            own = rules.tenant_of(leg.pbx, Claims(name), (Claims(settled=_NOBODY),)) or _NOBODY
            if own == _NOBODY and leg.tenant in others:
                own, kept = str(leg.tenant), kept + 1
            if own == _NOBODY:
                waiting.append((leg, judged))
            else:
                claims[leg.pbx, leg.call].append(Claims(settled=own))
                owners.append((leg, judged, own))
    for leg, judged, own in owners:
        changed += _changes(leg, own, judged.rule, judged.shown)
    for leg, judged in waiting:
        found = rules.tenant_of(leg.pbx, Claims(), claims.get((leg.pbx, leg.call), ()))
        changed += _changes(leg, found, judged.rule, judged.shown)
    return Rejudged(tuple(changed), tuple(dropped), kept, unreadable)


def _changes(leg: Leg, tenant: str | None, trunk: str | None, shown: str) -> list[Leg]:
    endpoint = leg.endpoint if "#" in leg.endpoint else shown
    new = replace(leg, tenant=tenant, trunk=trunk, endpoint=endpoint)
    return [] if (new.tenant, new.trunk) == (leg.tenant, leg.trunk) else [new]


def _judged(leg: Leg, rules: Tenancy, trunks: Sequence[str]) -> tuple[Judged | None, str]:
    """Return what a leg's stored endpoint is, and the name that rules know it by; None: it can't be told."""
    if leg.trunk is not None and rules.lists_trunks(leg.pbx):
        return Judged(Kind.TRUNK, leg.trunk, leg.endpoint), leg.endpoint  # the PBX said so
    if "#" not in leg.endpoint:
        return rules.judge(leg.pbx, leg.endpoint), leg.endpoint
    # The hash is keyed and the same each time: an exact rule's own name meets it again.
    rule = next((rule for rule in trunks if rules.redacted(rule) == leg.endpoint), None)
    if rule is not None:
        return Judged(Kind.TRUNK, rule, leg.endpoint), rule
    if leg.trunk in trunks and leg.trunk is not None:
        return Judged(Kind.TRUNK, leg.trunk, leg.endpoint), leg.endpoint
    return None, leg.endpoint
