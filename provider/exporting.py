"""The month's usage as metering events, which invoicing programs take: pure, from reports alone.

One CloudEvent per tenant and meter, with an id that the same figure always has: to send the
same export twice adds nothing. A figure that a later revision of the report states otherwise is
a new event, which names the one that it replaces and says the difference to it. The whole
history is given each time, so the sum of `difference` is the figure of today, whatever was
sent before: also where the receiving program never forgets an event.

What is not known makes no event: neither a tenant without a final, nor a figure that is None.
Names are left out; who it is, is the provider's customer number, else agent and tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from delivery.reporting.usage import Report, State, TenantUsage, Traffic
from meter.canonical import canonical_bytes
from meter.periods import iso

#: Names the shape of `data`, with the meter's name put in; a change of meaning is a new version.
EVENT_TYPE: Final = "pbx-meter.usage.{meter}.v1"


@dataclass(frozen=True, slots=True)
class Meter:
    """A figure that can be billed.

    Attributes:
        name: As event types and other programs' meters have it.
        unit: Of its values; None: the tenant's basis (`channels`, `calls` or `answered`).
        read: Returns the value, an integer >= 0; None: not known.
    """

    name: str
    unit: str | None
    read: Callable[[TenantUsage], int | None]


def _billable_s(flow: Traffic | None) -> int | None:
    return None if flow is None else flow.billable_s


#: Every meter, in the order in which a tenant's events come.
METERS: Final = (
    Meter("peak", None, lambda usage: None if usage.peak is None else usage.peak.level),
    Meter("overrun_ms", "ms", lambda usage: None if usage.over is None else usage.over.ms),
    Meter("users_at_close", "users", lambda usage: usage.users),
    Meter("users_max", "users", lambda usage: usage.users_max),
    Meter("inbound_s", "s", lambda usage: _billable_s(usage.inbound)),
    Meter("outbound_s", "s", lambda usage: _billable_s(usage.outbound)),
    Meter("unknown_s", "s", lambda usage: _billable_s(usage.unknown)),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One figure of one tenant, or that it is not his any more.

    Attributes:
        id: `{agent}/{tenant}/{period}/{meter}/{revision}`, with `/withdrawn` after it where a
            figure is taken back from a customer or a unit that it does not belong to any more.
        subject: The customer number, else `{agent}/{tenant}`.
        meter: The meter's name.
        unit: Of the values.
        value: What is so now, >= 0.
        difference: What it adds to all that was said before; below zero where it was too much.
        replaces: The id of the event that it stands in place of; None: nothing was said before.
        revision: Of the report that says so first.
        usage: What it was read from.
    """

    id: str
    subject: str
    meter: str
    unit: str
    value: int
    difference: int
    replaces: str | None
    revision: int
    usage: TenantUsage


def events(revisions: Sequence[Report], only: Collection[tuple[str, str]] | None = None) -> list[Event]:
    """Return all that a period's reports have said so far, in the order in which it was said.

    Args:
        revisions: The whole report's revisions of one period, the first one first.
        only: The tenants to tell of, as (agent, tenant); None: of all.
    """
    last: dict[tuple[str, str, str], Event] = {}
    said: list[Event] = []
    for report in revisions:
        for usage in report.tenants:
            if usage.state not in (State.FINAL, State.CORRECTED):
                continue
            if only is not None and (usage.agent, usage.tenant) not in only:
                continue
            for meter in METERS:
                key = usage.agent, usage.tenant, meter.name
                for event in _news(report, usage, meter, last.get(key)):
                    said.append(event)
                    last[key] = event
    return said


def _news(report: Report, usage: TenantUsage, meter: Meter, before: Event | None) -> Iterator[Event]:
    """Yield what a revision says of a figure that was not said before."""
    value = meter.read(usage)
    if value is None:
        return
    id_ = f"{usage.agent}/{usage.tenant}/{report.period}/{meter.name}/{report.revision}"
    subject = usage.customer or f"{usage.agent}/{usage.tenant}"
    unit = meter.unit or usage.basis
    replaces, counted = None, 0
    if before is not None:
        if (before.subject, before.unit) != (subject, unit):
            yield Event(
                id=f"{id_}/withdrawn", subject=before.subject, meter=meter.name, unit=before.unit, value=0,
                difference=-before.value, replaces=before.id, revision=report.revision, usage=before.usage,
            )  # fmt: skip
        elif before.value == value:
            return
        else:
            counted = before.value
        replaces = before.id
    yield Event(
        id=id_, subject=subject, meter=meter.name, unit=unit, value=value, difference=value - counted,
        replaces=replaces, revision=report.revision, usage=usage,
    )  # fmt: skip


def cloudevent(event: Event) -> dict[str, Any]:
    """Return an event as a CloudEvents 1.0 object in its JSON format.

    `time` is the last millisecond of the period: its end, being half-open, is already the next
    one's. `source` is the agent that measured, as in its own records.
    """
    usage = event.usage
    proof = usage.proof
    return {
        "specversion": "1.0",
        "type": EVENT_TYPE.format(meter=event.meter),
        "source": f"/agents/{usage.agent}",
        "id": event.id,
        "subject": event.subject,
        "time": iso(usage.end - 1),
        "datacontenttype": "application/json",
        "data": {
            "meter": event.meter,
            "unit": event.unit,
            "value": event.value,
            "difference": event.difference,
            "revision": event.revision,
            "replaces": event.replaces,
            "agent": usage.agent,
            "tenant": usage.tenant,
            "customer": usage.customer,
            "partner": usage.partner,
            "period": {"start": iso(usage.start), "end": iso(usage.end), "timezone": usage.timezone},
            "expected_ms": usage.expected_ms,
            "observed_ms": usage.observed_ms,
            "record": None
            if proof is None
            else {"id": proof.record, "revision": proof.revision, "sha256": proof.sha256},
        },
    }


def lines(told: Sequence[Event]) -> Iterator[str]:
    """Yield each event as one line of JSON. The same event is always the same line."""
    for event in told:
        yield canonical_bytes(cloudevent(event)).decode()


def unsaid(report: Report) -> Iterator[tuple[TenantUsage, str]]:
    """Yield, in words, what makes no event although the tenant had the period: a final first, then figures."""
    for usage in report.missing:
        why = "its last interim is not billed" if usage.state is State.OPEN else "nothing came from it"
        yield usage, f"no final: {why}"
    for usage in report.tenants:
        unknown = [meter.name for meter in METERS if meter.read(usage) is None]
        if unknown and usage.state in (State.FINAL, State.CORRECTED):
            yield usage, f"not known: {', '.join(unknown)}"
