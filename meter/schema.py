"""The signed record's form, version 1: what stands where, and what makes it uncountable.

Field names are fixed: programs of users and of the provider read them. Fields may
be added (a reader ignores those it does not know), never renamed. Everything is an
integer or a string; an instant is UTC with milliseconds and `Z`; null means *not
known* or *there is none*, never zero. `published()` is the same as JSON Schema and
stands beside this file as `record.schema.json`.

With `meter.statement` this is the only place of meter that knows pydantic. It knows
no key and no signature: see `meter.signature`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from meter import periods
from meter.canonical import canonical_bytes, exact
from meter.statement import (
    Capacity,
    Clock,
    Count,
    Coverage,
    Levels,
    Name,
    Number,
    Part,
    Period,
    Reconciliation,
    RecordId,
    Sampling,
    Sha256,
    Stamp,
    Tenant,
    Text,
    Thumbprint,
    Traffic,
    Unassigned,
    Unclassified,
    Users,
    instant,
)

__all__ = [
    "KEY_CHANGE",
    "MAX_RECORD_BYTES",
    "MINUTE_SERIES",
    "USAGE_SUMMARY",
    "KeyChange",
    "MinuteSeries",
    "Place",
    "Record",
    "Uncountable",
    "UsageSummary",
    "canonical_bytes",
    "instant",
    "place",
    "published",
    "validate",
]

USAGE_SUMMARY: Final = "pbx-meter.usage-summary.v1"
MINUTE_SERIES: Final = "pbx-meter.minute-series.v1"
KEY_CHANGE: Final = "pbx-meter.key-change.v1"

#: A record's payload is never larger.
MAX_RECORD_BYTES: Final = 256 * 1024


class Uncountable(ValueError):  # noqa: N818  # it says what is so
    """The content can't be counted. The message is one short reason and quotes no value."""


class Agent(Part):
    id: Name
    version: Text
    config_sha256: Sha256


class Link(Part):
    """The record of the former chain that a new chain continues from: the receiver's last."""

    chain: Name
    sequence: Number
    sha256: Sha256


class Chain(Part):
    """The numbered chain that a record stands in; null: it continues no other."""

    id: Name
    continues: Link | None


class Replaced(Part):
    id: RecordId
    sha256: Sha256


class Data(Part):
    """What every kind of record holds."""

    definition: Literal["pbx-meter/1"]
    agent: Agent
    chain: Chain
    sequence: Number
    previous_sha256: Sha256 | None
    tenant_sequence: Number | None
    tenant_previous_sha256: Sha256 | None

    @model_validator(mode="after")
    def _linked(self) -> Self:
        if (self.sequence == 1) != (self.previous_sha256 is None):
            raise ValueError("the first record of a chain names none before it, every other does")
        if (self.tenant_sequence in (None, 1)) != (self.tenant_previous_sha256 is None):
            raise ValueError("the first record of a tenant's chain names none before it, every other does")
        return self


class SummaryData(Data):
    """One tenant's figures for one period, or for as much of it as has passed."""

    kind: Literal["interim", "final", "correction"]
    tenant_sequence: Number
    revision: Number
    replaces: Replaced | None
    reason: Text | None
    source: Text | None = None
    as_of: Stamp
    next_by: Stamp | None
    tenant: Tenant
    period: Period
    levels: Levels
    capacity: Capacity
    traffic: Traffic
    users: Users
    coverage: Coverage
    sampling: Annotated[dict[Name, Sampling], Field(max_length=100)]
    reconciliation: Reconciliation
    clock: Clock
    unclassified: Unclassified | None
    unassigned: Unassigned | None

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        if self.kind == "interim":
            if not self.period.start <= self.as_of <= self.period.end:
                raise ValueError("an interim is as of an instant of its period")
        elif self.as_of != self.period.end:
            raise ValueError("it is as of another instant than the end of its period")
        if self.kind == "correction":
            if self.replaces is None or self.reason is None or self.revision == 1:
                raise ValueError("a correction says what it replaces and why, and its revision is 2 or more")
        elif self.replaces is not None:
            raise ValueError("only a correction replaces a record")
        if self.kind == "final" and self.revision != 1:
            raise ValueError("a final is revision 1")
        return self

    @model_validator(mode="after")
    def _time_adds_up(self) -> Self:
        for figures in (self.levels.channels, self.levels.calls, self.levels.answered):
            times = figures.time_at_level_ms
            if times is not None and sum(times.values()) != self.coverage.observed_ms:
                raise ValueError("the time at level does not add up to the observed time")
        return self


#: `[minutes, value]`: so many minutes in a row had this highest value; null: not observed.
Run: TypeAlias = Annotated[list[Count | None], Field(min_length=2, max_length=2)]
#: A local day has at most 25 hours of minutes.
Runs: TypeAlias = Annotated[list[Run], Field(min_length=1, max_length=1500)]


class Minutes(Part):
    channels: Runs
    calls: Runs
    answered: Runs


class SeriesData(Data):
    """The minute maxima of one tenant over one local day, run-length encoded from its start."""

    kind: Literal["minute-series"]
    tenant_sequence: Number
    revision: Number
    tenant: Tenant
    day: Period
    minutes: Minutes

    @model_validator(mode="after")
    def _every_minute(self) -> Self:
        length = instant(self.day.end) - instant(self.day.start)
        for runs in (self.minutes.channels, self.minutes.calls, self.minutes.answered):
            if not all(run[0] for run in runs):
                raise ValueError("a run of no minutes")
            if sum(run[0] or 0 for run in runs) * periods.MINUTE_MS != length:
                raise ValueError("the runs do not add up to the minutes of the day")
        return self


class Jwk(Part):
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: Thumbprint  # 32 bytes are 43 characters, as in a thumbprint


class KeyChangeData(Data):
    """The next key of the agent: this record is signed by the old one, the proof by the new one."""

    kind: Literal["key-change"]
    tenant_sequence: None
    tenant_previous_sha256: None
    number: Number
    old_key: Thumbprint
    new_key: Jwk
    proof: Annotated[str, Field(max_length=2000)]


class Envelope(Part):
    """CloudEvents 1.0, JSON format."""

    specversion: Literal["1.0"]
    source: Annotated[str, Field(pattern=r"^/agents/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    subject: Name
    id: RecordId
    time: Stamp
    datacontenttype: Literal["application/json"]


class UsageSummary(Envelope):
    """A record of kind interim, final or correction."""

    type: Literal["pbx-meter.usage-summary.v1"]
    data: SummaryData

    @model_validator(mode="after")
    def _named(self) -> Self:
        data = self.data
        _agree(self, f"{data.tenant.id}/{data.period.name}/{data.kind}/{data.revision}", data.tenant.id)
        return self


class MinuteSeries(Envelope):
    """A record of kind minute-series."""

    type: Literal["pbx-meter.minute-series.v1"]
    data: SeriesData

    @model_validator(mode="after")
    def _named(self) -> Self:
        data = self.data
        _agree(self, f"{data.tenant.id}/{data.day.name}/{data.kind}/{data.revision}", data.tenant.id)
        return self


class KeyChange(Envelope):
    """A record of kind key-change."""

    type: Literal["pbx-meter.key-change.v1"]
    data: KeyChangeData

    @model_validator(mode="after")
    def _named(self) -> Self:
        data = self.data
        _agree(self, f"{data.agent.id}/{data.kind}/{data.number}", data.agent.id)
        return self


Record: TypeAlias = UsageSummary | MinuteSeries | KeyChange

_KINDS: Final[dict[str, type[UsageSummary | MinuteSeries | KeyChange]]] = {
    USAGE_SUMMARY: UsageSummary,
    MINUTE_SERIES: MinuteSeries,
    KEY_CHANGE: KeyChange,
}


def _agree(record: UsageSummary | MinuteSeries | KeyChange, name: str, subject: str) -> None:
    if record.source != f"/agents/{record.data.agent.id}":
        raise ValueError("source and agent are different ones")
    if record.subject != subject:
        raise ValueError("subject and content are about different ones")
    if record.id != name:
        raise ValueError("its id does not say what it contains")


def validate(payload: bytes) -> Record:
    """Return the record that these bytes are.

    Args:
        payload: The JSON text, as it is signed.

    Raises:
        Uncountable: Too large, not exact JSON, of an unknown type, a field that is
            missing or has another form, or figures that contradict each other.
    """
    if len(payload) > MAX_RECORD_BYTES:
        raise Uncountable("larger than 256 KiB")
    try:
        value = exact(payload)
    except ValueError as error:
        raise Uncountable(str(error)) from None
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Uncountable("unknown kind of record")
    try:
        return _KINDS[kind].model_validate(value)
    except ValidationError as error:
        raise Uncountable(_reason(error)) from None


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ".".join(str(step) for step in first["loc"])
    sentence = first["msg"].removeprefix("Value error, ")
    return f"{path}: {sentence}"[:200] if path else sentence[:200]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands, readable even when its content can't be counted.

    Attributes:
        agent: The agent that it says it is of.
        chain, sequence: Its place.
        id: Its id.
        previous_sha256: The record before it, None for the first of a chain.
        continues: For the first record of a new chain, where the former one ended:
            (chain, sequence, SHA-256); else None.
    """

    agent: str
    chain: str
    sequence: int
    id: str
    previous_sha256: str | None
    continues: tuple[str, int, str] | None


class _PlacedData(Part):
    agent: _PlacedAgent
    chain: Chain
    sequence: Number
    previous_sha256: Sha256 | None


class _PlacedAgent(Part):
    id: Name


class _Placed(Part):
    id: RecordId
    data: _PlacedData


def place(payload: bytes) -> Place:
    """Return where a record stands in its chain, whatever else it holds.

    Raises:
        Uncountable: Not even that can be read.
    """
    try:
        placed = _Placed.model_validate(json.loads(payload))
    except ValidationError as error:
        raise Uncountable(_reason(error)) from None
    except (ValueError, RecursionError):
        raise Uncountable("not JSON") from None
    data, former = placed.data, placed.data.chain.continues
    return Place(
        agent=data.agent.id,
        chain=data.chain.id,
        sequence=data.sequence,
        id=placed.id,
        previous_sha256=data.previous_sha256,
        continues=(former.chain, former.sequence, former.sha256) if former else None,
    )


def published() -> str:
    """Return the JSON Schema of a record, as it stands in record.schema.json."""
    schema: dict[str, Any] = TypeAdapter(Annotated[Record, Field(discriminator="type")]).json_schema(
        by_alias=True
    )
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A signed usage record of pbx-meter, version 1",
    }
    return json.dumps(head | schema, indent=2, sort_keys=True) + "\n"
