"""The month's usage as metering events, which invoicing programs take: pure, from reports alone.

One CloudEvent per tenant and meter, with an id that the same figure always has: to send the
same export twice adds nothing. A figure that a later revision of the report states otherwise is
a new event, which names the one that it replaces and says the difference to it. A figure that
it does not state any more, or states of somebody else, is taken back by an event of its own.
The whole history is given each time, so the sum of `difference` is the figure of today, whatever
was sent before: also where the receiving program never forgets an event.

What is not known makes no event: neither a tenant without a final, nor a figure that is None.
Names are left out; who it is, is the provider's customer number, else agent and tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    """One figure of one tenant, or that it does not stand any more.

    Attributes:
        id: `{agent}/{tenant}/{period}/{meter}/{revision}`, with `/withdrawn` after it where a
            figure is taken back: it is not known any more, or it belongs to another partner,
            customer or unit now, or to a tenant that is in somebody else's report.
        subject: The customer number, else `{agent}/{tenant}`.
        meter: The meter's name.
        unit: Of the values.
        value: What is so now, >= 0.
        difference: What it adds to all that was said before; below zero where it was too much.
        replaces: The id of the event that it stands in place of; None: nothing of it stood before.
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


def events(revisions: Sequence[Report]) -> list[Event]:
    """Return all that a period's reports have said so far, in the order in which it was said.

    Args:
        revisions: The revisions of one report, the first one first: of the whole, or of one
            partner's own. What is not in a partner's own is not his, and taken back.
    """
    standing: dict[tuple[str, str, str], Event] = {}
    said: list[Event] = []
    for report in revisions:
        now = {(one.usage.agent, one.usage.tenant, one.meter): one for one in _figures(report)}
        for key, before in list(standing.items()):
            if key not in now or _account(now[key]) != _account(before):
                said.append(_withdrawn(standing.pop(key), report))
        for key, figure in now.items():
            stood = standing.get(key)
            if stood is None or stood.value != figure.value:
                standing[key] = figure if stood is None else _instead(figure, stood)
                said.append(standing[key])
    return said


def _figures(report: Report) -> Iterator[Event]:
    """Yield every figure that a report knows, as if nothing had been said before."""
    for usage in report.tenants:
        for meter in METERS:
            value = meter.read(usage) if usage.final else None
            if value is not None:
                yield Event(
                    id=f"{usage.agent}/{usage.tenant}/{report.period}/{meter.name}/{report.revision}",
                    subject=usage.customer or f"{usage.agent}/{usage.tenant}",
                    meter=meter.name,
                    unit=meter.unit or usage.basis,
                    value=value,
                    difference=value,
                    replaces=None,
                    revision=report.revision,
                    usage=usage,
                )


def _account(event: Event) -> tuple[str | None, str, str]:
    """Return where a figure is added up: differences to another place's figure would add up to nothing."""
    return event.usage.partner, event.subject, event.unit


def _instead(figure: Event, stood: Event) -> Event:
    return replace(figure, difference=figure.value - stood.value, replaces=stood.id)


def _withdrawn(stood: Event, report: Report) -> Event:
    """Return that a figure stands no more, since a revision of the report."""
    named, _, _ = stood.id.rpartition("/")
    return replace(
        stood,
        id=f"{named}/{report.revision}/withdrawn",
        value=0,
        difference=-stood.value,
        replaces=stood.id,
        revision=report.revision,
    )


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
        if unknown and usage.final:
            yield usage, f"not known: {', '.join(unknown)}"
