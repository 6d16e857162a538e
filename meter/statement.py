"""What a summary states: the parts of a record that hold figures, field by field.

`meter.schema` puts them together. Everything is an integer or a string; an instant
is UTC with milliseconds and `Z`; null means *not known* or *there is none*, never zero.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from meter import periods
from meter.canonical import MAX_INTEGER
from meter.model import Instant


def instant(text: str) -> Instant:
    """Read an instant as records write it (`meter.periods.iso` writes it).

    Raises:
        ValueError: There is no such instant.
    """
    return periods.instant(datetime.fromisoformat(text))


def _stamp(text: str) -> str:
    instant(text)
    return text


def _day(text: str) -> str:
    date.fromisoformat(text)  # the pattern has left only that form
    return text


Count: TypeAlias = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Number: TypeAlias = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
#: A name of ours or the operator's: safe in ids, file names and URLs.
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
#: What people wrote: no control characters.
Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Thumbprint: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
Stamp: TypeAlias = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]\.[0-9]{3}Z$"),
    AfterValidator(_stamp),
]
Day: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9][0-9]-[0-9][0-9]$"), AfterValidator(_day)]
PeriodName: TypeAlias = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[0-9][0-9](-[0-9][0-9](T[0-9][0-9]:[0-9][0-9]Z)?)?$")
]
RecordId: TypeAlias = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
Decimal: TypeAlias = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,5})$")]
Basis: TypeAlias = Literal["channels", "calls", "answered"]


class Part(BaseModel):
    """One object of a record: no conversions, unknown fields ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Tenant(Part):
    """Whose figures; the name as people know it."""

    id: Name
    name: Text


class Period(Part):
    """Half-open `[start, end)`."""

    name: PeriodName
    start: Stamp
    end: Stamp
    timezone: Text

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if instant(self.start) >= instant(self.end):
            raise ValueError("it ends before it starts")
        return self


class EvidenceLeg(Part):
    """One leg that was up at the peak, by the PBX's own id: to be looked up in its call records."""

    pbx: Name
    leg: Text
    trunk: Text
    direction: Literal["in", "out", "unknown"]
    since: Stamp


class Evidence(Part):
    """The legs that were up at the peak; the hash is over the full list. Interims list none."""

    total: Count
    sha256: Sha256
    legs: Annotated[list[EvidenceLeg], Field(max_length=200)]


class BusyHour(Part):
    """The local clock hour with the highest mean level, in thousandths."""

    start: Stamp
    mean_milli: Count


class PeakBy(Part):
    """The peak as polls saw it and as the PBX's own call records tell it; `peak` is one of them."""

    polls: Count | None
    call_log: Count | None


class LevelFigures(Part):
    """What one level did in the period. Nothing observed: every figure is null."""

    peak: Count | None
    peak_at: Stamp | None
    peak_ms: Count | None
    peak_source: Literal["seen", "proved", "sampled", "call_log"] | None
    lower_bound: bool
    evidence: Evidence | None
    time_at_level_ms: dict[Decimal, Count] | None
    daily_peaks: Annotated[dict[Day, Count], Field(max_length=100)] | None
    minute_peak_percentiles: Annotated[dict[Decimal, Count | None], Field(max_length=100)] | None
    busy_hour: BusyHour | None
    peak_by: PeakBy | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.peak) != (self.peak_at is not None):
            raise ValueError("a peak above zero has an instant, and only that")
        return self


class Levels(Part):
    """All three levels are always measured; `capacity.basis` says which one is billed."""

    channels: LevelFigures
    calls: LevelFigures
    answered: LevelFigures


class CapacityChange(Part):
    """From this instant on these lines were in force; null: none agreed."""

    start: Annotated[Stamp, Field(alias="from")]
    lines: Count | None


class Overrun(Part):
    """One interval in which the level of the basis was above the capacity."""

    start: Stamp
    end: Stamp
    peak: Count


class Overruns(Part):
    """All of them counted, and the 100 with the highest level."""

    count: Count
    total_ms: Count
    worst: Annotated[list[Overrun], Field(max_length=100)]


class Capacity(Part):
    """What the agent was configured with; the provider's contract decides. Null lines: none agreed."""

    basis: Basis
    lines: Count | None
    history: Annotated[list[CapacityChange], Field(max_length=100)]
    overruns: Overruns | None
    smallest_fitting_package: Count | None


class Flow(Part):
    """Trunk legs in one direction."""

    legs: Count | None
    answered: Count | None
    answered_ms: Count | None
    billable_s: Count | None


class Traffic(Part):
    """Trunk legs by direction, seen from the PBX."""

    inbound: Annotated[Flow, Field(alias="in")]
    outbound: Annotated[Flow, Field(alias="out")]
    unknown: Flow


class PbxUsers(Part):
    """The last good reading of one PBX; the PBX's own licence count stands beside ours."""

    count: Count | None
    read_at: Stamp | None
    source: Text | None
    pbx_own_count: Count | None


class Users(Part):
    """Extensions that exist; `at_close` is null unless every PBX was read in the period."""

    at_close: Count | None
    max: Count | None
    created: Count | None
    removed: Count | None
    failed_reads: Count
    pbxs: Annotated[dict[Name, PbxUsers], Field(max_length=100)]


class CoverageGap(Part):
    """Time in which one PBX was not seen, and why."""

    pbx: Name
    start: Stamp
    end: Stamp
    cause: Literal[
        "agent_down",
        "agent_stalled",
        "pbx_unreachable",
        "link_lost",
        "events_lost",
        "login_refused",
        "clock_step",
        "not_installed",
        "poll_failed",
        "overloaded",
    ]


class CoverageGaps(Part):
    """All gaps counted, their time merged over the PBXs, and at most 100 of them."""

    count: Count
    total_ms: Count
    list: Annotated[list[CoverageGap], Field(max_length=100)]


class Coverage(Part):
    """How much of the time was seen. What was not seen is unknown, not zero."""

    expected_ms: Count
    observed_ms: Count
    gaps: CoverageGaps

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.observed_ms + self.gaps.total_ms != self.expected_ms:
            raise ValueError("observed time and gaps do not add up to the expected time")
        return self


class CallRecords(Part):
    """Which records of the PBX itself tell of calls, and of how much time they tell everything."""

    source: Literal["call_log", "cdr"]
    told_ms: Count


class Sampling(Part):
    """How one PBX was watched. All but `method` only where it was sampled.

    `ahead_ms`: the largest lead of its clock over the agent's, either way. `peak_from`: which of
    polls and call records may set the billed peak. `proven_on`: where this way of watching was
    proved so far.
    """

    method: Literal["events", "polled", "cdr"]
    interval_ms: Number | None = None
    polls: Count | None = None
    missed_polls: Count | None = None
    ahead_ms: int | None = None
    peak_from: Literal["polls", "call_log"] | None = None
    call_records: CallRecords | None = None
    proven_on: Text | None = None


class Reconciliation(Part):
    """What snapshots repaired."""

    snapshots: Count
    missed_starts: Count
    missed_hangups: Count


class Clock(Part):
    """Null: whether the clock is synchronised is not known."""

    synchronised: bool | None
    steps: Count
    largest_step_ms: Count
    repeated_ms: Count


class Unclassified(Part):
    """Legs that no rule knows: they count in no level."""

    legs: Count
    endpoints: Annotated[list[Text], Field(max_length=100)]


class Unassigned(Part):
    """Trunk legs and users that belong to no tenant."""

    legs: Count
    users: Count
