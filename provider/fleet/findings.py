"""What can be found in a fleet, and what makes a finding the same one as yesterday's. Values, pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from meter.model import Instant


class Kind(StrEnum):
    """What can be found, the worst first."""

    CONTRADICTED = "contradicted"  #: two machines report as one, or one was restored from a copy
    KEYLESS = "keyless"  #: no key of it is good: nothing it sends is taken
    SILENT = "silent"  #: it sends nothing
    UNREPORTED = "unreported"  #: it sends, but nothing about a tenant whose period is open
    HOLE = "hole"  #: numbers of its chain never came
    KEY_ENDS = "key_ends"  #: its key is about to be withdrawn
    CLOCK = "clock"  #: its clock is not synchronised, or ahead
    OVER = "over"  #: a tenant's peak is above its capacity
    COVERAGE = "coverage"  #: too much of a period was not seen
    NEAR = "near"  #: a tenant's peak is close to its capacity
    UNCLASSIFIED = "unclassified"  #: legs that no rule knows
    OLD = "old"  #: an old version of the program


#: What goes without saying beside something worse of the same tenant, or of its agent.
_IMPLIED_BY: Final[Mapping[Kind, tuple[Kind, ...]]] = {
    Kind.KEY_ENDS: (Kind.KEYLESS,),
    Kind.SILENT: (Kind.KEYLESS,),
    Kind.UNREPORTED: (Kind.KEYLESS, Kind.SILENT),
    Kind.NEAR: (Kind.OVER,),
}


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What makes a finding the same one as yesterday's. `tenant` is "" where it is about the agent."""

    kind: Kind
    agent: str
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs a hand.

    Attributes:
        key: Kind, agent and tenant.
        name: The tenant's as people know it; "" where it is about the agent.
        since: Since when, as far as the books tell; None: they don't.
        weight: How bad among findings of its kind: the higher, the worse.
        figures: What its sentence says, by name; durations and instants in ms.
    """

    key: Key
    name: str = ""
    since: Instant | None = None
    weight: int = 0
    figures: Mapping[str, int | str] = field(default_factory=dict)


def implied(key: Key, others: Container[Key]) -> bool:
    """Tell whether a finding goes without saying beside others."""
    worse = _IMPLIED_BY.get(key.kind, ())
    return any(Key(kind, key.agent, tenant) in others for kind in worse for tenant in {key.tenant, ""})


def shown(found: Iterable[Finding]) -> list[Finding]:
    """Return findings without those that go without saying beside others."""
    every = list(found)
    keys = {finding.key for finding in every}
    return [finding for finding in every if not implied(finding.key, keys)]
