"""What the books show of agents and their records: values for lists, reports and the closing of a month.

None: not known, or there is none; never zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, cast

from meter.model import Instant


class KeyState(StrEnum):
    """What a key of an agent may still do."""

    ACTIVE = "active"  #: signs new records
    SUPERSEDED = "superseded"  #: a newer key has signed: vouches for older records only
    WITHDRAWN = "withdrawn"  #: vouches for nothing any more


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of the chain that an agent is on."""

    chain: str
    sequence: int
    sha256: str


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent, as the provider's operator sees it.

    Attributes:
        keys: (thumbprint, state) of every key, the newest first.
        missing: Numbers of its chains that never came: (chain, first, last).
        taken_at: When the last record came; None: none yet.
        enrolled_at: When it was enrolled first.
        ends: (thumbprint, from when on it is withdrawn) of the keys whose end is planned.
        since: (tenant, when an invitation that names it was used first), as far as that is known.
    """

    agent: str
    tenants: tuple[str, ...]
    keys: tuple[tuple[str, KeyState], ...]
    head: Head | None
    missing: tuple[tuple[str, int, int], ...]
    counted: int
    refused: int
    taken_at: Instant | None
    enrolled_at: Instant | None
    ends: tuple[tuple[str, Instant], ...] = ()
    since: tuple[tuple[str, Instant], ...] = ()


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """What one record states about a tenant and a period. None: not known.

    Attributes:
        agent, tenant: Who measured, and the tenant's id there: the key of a tenant.
        period: Its name, as in `2026-11`.
        state: `open` (an interim), `final`, or `corrected`.
        revision: 1 for a final, higher for corrections; of an interim its number.
        id, sha256: The record.
        chain, sequence: Where it stands: the number of its chain among the agent's, its number there.
        name: The tenant as people know it.
        start, end, timezone: The period, half-open, and where its days are.
        as_of: Up to when the figures go.
        next_by: By when the next interim is promised; None: it is none.
        version: The agent's.
        basis: The level that is billed, as the agent was configured: `channels`, `calls`, `answered`.
        capacity: As the agent was configured; None: none agreed.
        package: The smallest configured one that fits.
        overruns, over_ms: How often and how long above that capacity.
        peak_*: Of each level the peak, when it was reached first, how long it lasted, and how it is
            known: `seen`, `proved`, `sampled`, `call_log`.
        peak_*_lower_bound: 1: it may have been higher.
        users, users_max, failed_reads: At close, at most, readings that failed.
        in_*, out_*, unknown_*: Traffic by direction, seen from the PBX.
        expected_ms, observed_ms, gaps: Coverage, and the number of gaps.
        synchronised: 1 or 0; whether the agent's clock was.
        unclassified, unassigned: Legs that no rule knows, and trunk legs that are no tenant's.
        taken_at: When the record came.
        uninstalled_ms: Of what was not observed, the time before the installation.
    """

    agent: str
    tenant: str
    period: str
    state: str
    revision: int
    id: str
    sha256: str
    chain: int
    sequence: int
    name: str
    start: Instant
    end: Instant
    timezone: str
    as_of: Instant
    next_by: Instant | None
    version: str
    basis: str
    capacity: int | None
    package: int | None
    overruns: int | None
    over_ms: int | None
    peak_channels: int | None
    peak_channels_at: Instant | None
    peak_channels_ms: int | None
    peak_channels_source: str | None
    peak_channels_lower_bound: int
    peak_calls: int | None
    peak_calls_at: Instant | None
    peak_calls_ms: int | None
    peak_calls_source: str | None
    peak_calls_lower_bound: int
    peak_answered: int | None
    peak_answered_at: Instant | None
    peak_answered_ms: int | None
    peak_answered_source: str | None
    peak_answered_lower_bound: int
    users: int | None
    users_max: int | None
    failed_reads: int
    in_legs: int | None
    in_answered: int | None
    in_answered_ms: int | None
    in_billable_s: int | None
    out_legs: int | None
    out_answered: int | None
    out_answered_ms: int | None
    out_billable_s: int | None
    unknown_legs: int | None
    unknown_answered: int | None
    unknown_answered_ms: int | None
    unknown_billable_s: int | None
    expected_ms: int
    observed_ms: int
    gaps: int
    synchronised: int | None
    unclassified: int | None
    unassigned: int | None
    taken_at: Instant
    uninstalled_ms: int = 0


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """The minute maxima of one tenant over one local day, of every level as the record holds them.

    Attributes:
        day: As in `2026-11-01`; `[start, end)` are its bounds.
        channels, calls, answered: JSON: `[minutes, value]` after one another from the start; null: not observed.
    """

    agent: str
    tenant: str
    day: str
    revision: int
    sha256: str
    start: Instant
    end: Instant
    timezone: str
    channels: str = field(repr=False)
    calls: str = field(repr=False)
    answered: str = field(repr=False)

    def runs(self, level: Literal["channels", "calls", "answered"]) -> Sequence[tuple[int, int | None]]:
        """Return (minutes, highest value) of one level, after one another from the day's start."""
        return cast("Sequence[tuple[int, int | None]]", json.loads(getattr(self, level)))


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One record, as it was taken."""

    chain: str
    sequence: int
    id: str
    sha256: str
    status: str
    reason: str | None
    token: str = field(repr=False)
    receipt: str = field(repr=False)
    taken_at: Instant


@dataclass(frozen=True, slots=True)
class Audit:
    """What a check of the whole books found.

    Attributes:
        agents, records: How many were read.
        found: What is wrong or missing, one sentence each; empty: all is as it was signed.
    """

    agents: int
    records: int
    found: tuple[str, ...]
