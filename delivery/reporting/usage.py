"""What a usage report states, as values: one tenant, one customer, one partner, the whole month.

Provider and agent report by the same values: the provider makes them from its books,
an agent without a provider from its own record. They are made once (`provider.month`,
`agent.reporting`), kept as a JSON document, and every rendering (HTML, PDF, CSV, XLSX,
mail) says these figures and calculates none of its own.

None means *not known* or *there is none*, never zero. Instants and durations are
milliseconds of UTC; a level's unit is the basis that the contract bills.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from meter.model import Instant


class State(StrEnum):
    """How sure a tenant's figures are."""

    FINAL = "final"  #: sealed after the period's end
    CORRECTED = "corrected"  #: a correction of the final
    OPEN = "open"  #: the final is missing: these are the last interim's figures
    MISSING = "missing"  #: nothing came for this period


@dataclass(frozen=True, slots=True)
class Bounds:
    """A figure that is known to lie between two others; equal where it is exact."""

    at_least: int
    at_most: int


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest level of the billed basis.

    Attributes:
        level: How many at once, >= 0.
        at: When it was first reached; None for a peak of 0.
        ms: How long in all; None: not known.
        source: `seen`, `proved`, `sampled` or `call_log`; None: a peak of 0.
        lower_bound: Time is missing in which it may have been higher.
    """

    level: int
    at: Instant | None
    ms: int | None
    source: str | None
    lower_bound: bool


@dataclass(frozen=True, slots=True)
class Over:
    """Time above the capacity.

    Attributes:
        count: How many overruns; None: not known, because the contract's capacity is not the record's.
        ms: How long in all.
        worst: (start, end, level) of those with the highest level, as far as they are known.
    """

    count: int | None
    ms: int
    worst: tuple[tuple[Instant, Instant, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """Trunk legs of one direction: `legs`, answered time in ms, billable seconds. None: not known."""

    legs: int | None
    answered_ms: int | None
    billable_s: int | None


@dataclass(frozen=True, slots=True)
class Unseen:
    """Time in which one PBX was not seen; `cause` as records name it (`meter.statement.CoverageGap`)."""

    pbx: str
    start: Instant
    end: Instant
    cause: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Where a tenant's figures stand signed.

    Attributes:
        record: The record's id.
        sha256: The hash of its signed bytes.
        revision: 1 for the final, higher for its corrections; 0 for an interim.
        kid: The thumbprint of the key that signed it.
        replaces: The id of the record that it takes the place of; None: of none.
        reason: Why, as whoever corrected wrote it; None: it replaces none.
    """

    record: str
    sha256: str
    revision: int
    kid: str
    replaces: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """One tenant in one period.

    Attributes:
        agent, tenant: Who measured, and the tenant's id there: the key of a tenant.
        name: As people know it.
        state: How sure the figures are. MISSING: every figure is None.
        start, end, timezone: The period, half-open, and where its days are.
        as_of: Up to when the figures go; None: MISSING.
        partner: The id of the partner that gets this month; None: the provider himself.
        customer: The provider's customer number; None: none was given.
        basis: `channels`, `calls` or `answered`.
        peak: The billed peak; None: nothing was seen.
        capacity: Of the contract, else of the record; None: none agreed.
        recorded_capacity: What the agent was configured with, if a contract says something else;
            None: they agree, or there is no contract, or it was configured with none.
        over: Against `capacity`, or where no contract states one, each against the one then in force;
            None: none agreed.
        packages: Sizes that can be bought, ascending.
        package: The smallest that fits the peak; None: none fits, none are known, or no peak is.
        users, users_max: At close and at most; None: not known.
        inbound, outbound, unknown: Traffic by direction, seen from the PBX.
        expected_ms, observed_ms: The coverage.
        gaps: What was not seen: at most 100.
        daily_peaks: (local day as `2026-11-01`, peak; None: nothing seen) of the billed basis.
        level_ms: (level, how long at it), ascending: what the capacity is judged by.
        synchronised: Whether the agent's clock was; None: not known.
        unclassified: Legs that no rule knows and that count in no level.
        proof: The record; None: MISSING.
        capacity_history: (from when, lines; None: none) as the agent was configured, where that is not one
            capacity all through the period, or is none although the contract states one. (): it is
            `recorded_capacity`, else `capacity`.
    """

    agent: str
    tenant: str
    name: str
    state: State
    start: Instant
    end: Instant
    timezone: str
    as_of: Instant | None = None
    partner: str | None = None
    customer: str | None = None
    basis: str = "channels"
    peak: Peak | None = None
    capacity: int | None = None
    recorded_capacity: int | None = None
    over: Over | None = None
    packages: tuple[int, ...] = ()
    package: int | None = None
    users: int | None = None
    users_max: int | None = None
    inbound: Traffic | None = None
    outbound: Traffic | None = None
    unknown: Traffic | None = None
    expected_ms: int | None = None
    observed_ms: int | None = None
    gaps: tuple[Unseen, ...] = ()
    daily_peaks: tuple[tuple[str, int | None], ...] = ()
    level_ms: tuple[tuple[int, int], ...] = ()
    synchronised: bool | None = None
    unclassified: int | None = None
    proof: Proof | None = None
    capacity_history: tuple[tuple[Instant, int | None], ...] = ()

    @property
    def final(self) -> bool:
        """Whether the figures are the whole period's: a final, or a correction of one."""
        return self.state in (State.FINAL, State.CORRECTED)

    @property
    def unsure(self) -> bool:
        """Whether something may have happened that was not seen: a gap, sampling, nothing at all."""
        return bool(self.gaps) or self.peak is None or self.peak.lower_bound


@dataclass(frozen=True, slots=True)
class Heap:
    """Several tenants taken as one, as volume tiers are counted.

    Attributes:
        tenants: How many.
        missing: How many of them have no final.
        users, users_max: The sum of what is known.
        users_unknown: Of how many tenants the users are not known.
        capacity: The sum of the agreed ones.
        peak: How many were up at once over all of them: at least the highest single tenant, at most
            the highest sum of minute maxima (of the peaks where a series is missing); None: no peak is known.
        peak_unknown: Of how many tenants no peak is known.
        inbound, outbound, unknown: The sums of what is known.
        capacity_unknown: Of how many tenants nothing tells whether a capacity was agreed.
        peak_unsure: Of how many tenants a peak is known, but not all of the period was seen (a gap, sampling,
            no final): if any, `peak.at_most` bounds what was seen, not what was.
        traffic_unsure: Of how many tenants the traffic is not known whole: no final, or nothing was seen.
    """

    tenants: int
    missing: int
    users: int
    users_max: int
    users_unknown: int
    capacity: int
    peak: Bounds | None
    peak_unknown: int
    inbound: Traffic
    outbound: Traffic
    unknown: Traffic
    capacity_unknown: int = 0
    peak_unsure: int = 0
    traffic_unsure: int = 0


@dataclass(frozen=True, slots=True)
class CustomerUsage:
    """A customer with several tenants (on several PBXs, or agents) as one: `of` names them as (agent, tenant)."""

    customer: str
    of: tuple[tuple[str, str], ...]
    heap: Heap


@dataclass(frozen=True, slots=True)
class Brand:
    """In whose name a report is read. `logo`: (media type, bytes), or None."""

    name: str
    colour: str = "#1f4e79"
    sender: str | None = None
    reply_to: str | None = None
    footer: str = ""
    logo: tuple[str, bytes] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that a revision of the report states otherwise than the one before.

    `what` is the dotted name of a field of `TenantUsage`, as in `peak.level`; `before` and `after`
    are its values as text, None: not known. For a heap's figure `agent` is empty, `tenant` is the
    partner's id (empty: the whole), and `what` begins with `heap`, as in `heap.peak.at_most`.
    """

    agent: str
    tenant: str
    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """A period's usage of one partner and everybody below him, or of all (`partner` None: the provider's whole).

    Attributes:
        period: Its name, as in `2026-11`.
        start, end, timezone: The period, half-open, and where its days are.
        revision: 1 for the first; later ones list what they state otherwise.
        made_at: When these figures were put together.
        partner: Whose report; None: the whole.
        name: His name.
        language: `nl`, `en`, `it` or `de`.
        brand: In whose name he reads it.
        tenants: Every tenant, by partner, customer and name.
        partners: (id, name, heap) of every partner below, and of himself, where tenants are.
        customers: Those with more than one tenant.
        heap: All of it as one.
        differences: To the revision `compared`.
        compared: The last revision that was approved, else the one before; None: this is the first.
    """

    period: str
    start: Instant
    end: Instant
    timezone: str
    revision: int
    made_at: Instant
    partner: str | None
    name: str
    language: str
    brand: Brand
    tenants: tuple[TenantUsage, ...]
    partners: tuple[tuple[str, str, Heap], ...]
    customers: tuple[CustomerUsage, ...]
    heap: Heap
    differences: tuple[Difference, ...] = ()
    compared: int | None = None

    @property
    def missing(self) -> tuple[TenantUsage, ...]:
        """The tenants without a final."""
        return tuple(one for one in self.tenants if not one.final)
