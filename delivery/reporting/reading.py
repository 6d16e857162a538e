"""From a signed summary to what a report says of its tenant: pure, for provider and agent alike.

The contract's capacity and packages win over what the agent was configured with. A
record counts its overruns against the recorded capacity; against another one their
number can't be known afterwards, the time above it can: from the time at each level.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from delivery.reporting.usage import Over, Peak, Proof, State, TenantUsage, Traffic, Unseen
from meter.capacity import smallest_package
from meter.periods import Period, days
from meter.schema import SummaryData, UsageSummary, instant
from meter.statement import Flow, LevelFigures

_STATES = {"interim": State.OPEN, "final": State.FINAL, "correction": State.CORRECTED}


@dataclass(frozen=True, slots=True)
class Contract:
    """What was agreed with a tenant, as far as whoever bills knows it.

    Attributes:
        capacity: Lines, >= 0; None: nothing is known, the record's counts.
        packages: Sizes that can be bought, ascending; none: the record's own advice counts.
        basis: `channels`, `calls` or `answered`; None: the record's.
    """

    capacity: int | None = None
    packages: tuple[int, ...] = ()
    basis: str | None = None


def tenant_usage(
    record: UsageSummary,
    *,
    sha256: str,
    kid: str,
    contract: Contract | None = None,
    partner: str | None = None,
    customer: str | None = None,
) -> TenantUsage:
    """Return what a report says of a tenant.

    Args:
        record: Its newest summary: of the final and its corrections, else the last interim.
        sha256: The hash of the record's signed bytes.
        kid: The thumbprint of the key that signed it.
        contract: What was agreed; None: what the record says.
        partner: Who gets the period; None: the provider himself.
        customer: The provider's number; None: none was given.
    """
    data, agreed = record.data, contract or Contract()
    basis = agreed.basis or data.capacity.basis
    figures: LevelFigures = getattr(data.levels, basis)
    traffic = data.traffic
    capacity = data.capacity.lines if agreed.capacity is None else agreed.capacity
    history = tuple((instant(change.start), change.lines) for change in data.capacity.history)
    # A record counts each overrun against the capacity in force then.
    against = {data.capacity.lines, *(lines for _, lines in history)}
    told = basis == data.capacity.basis and (agreed.capacity is None or against == {agreed.capacity})
    shown = len(against) > 1 or (data.capacity.lines is None and capacity is not None)
    return TenantUsage(
        agent=data.agent.id,
        tenant=data.tenant.id,
        name=data.tenant.name,
        state=_STATES[data.kind],
        start=instant(data.period.start),
        end=instant(data.period.end),
        # One agent's odd zone must not stop a report on everybody; its days keep their names.
        timezone=data.period.timezone if _zone(data.period.timezone) else "UTC",
        as_of=instant(data.as_of),
        partner=partner,
        customer=customer,
        basis=basis,
        peak=_peak(figures),
        capacity=capacity,
        recorded_capacity=data.capacity.lines if capacity != data.capacity.lines else None,
        over=_recorded_over(data) if told else _over(figures, capacity),
        packages=agreed.packages,
        package=_package(data, figures, agreed, basis),
        users=data.users.at_close,
        users_max=data.users.max,
        inbound=_flow(traffic.inbound),
        outbound=_flow(traffic.outbound),
        unknown=_flow(traffic.unknown),
        expected_ms=data.coverage.expected_ms,
        observed_ms=data.coverage.observed_ms,
        gaps=tuple(
            Unseen(gap.pbx, instant(gap.start), instant(gap.end), gap.cause)
            for gap in data.coverage.gaps.list
        ),
        daily_peaks=_daily(data, figures),
        level_ms=_level_ms(figures),
        synchronised=data.clock.synchronised,
        unclassified=None if data.unclassified is None else data.unclassified.legs,
        proof=Proof(
            record.id,
            sha256,
            0 if data.kind == "interim" else data.revision,
            kid,
            replaces=None if data.replaces is None else data.replaces.id,
            reason=data.reason,
        ),
        capacity_history=history or ((instant(data.period.start), None),) if shown else (),
    )


def missing(
    agent: str,
    tenant: str,
    period: Period,
    timezone: str,
    *,
    name: str | None = None,
    contract: Contract | None = None,
    partner: str | None = None,
    customer: str | None = None,
) -> TenantUsage:
    """Return what a report says of a tenant of which nothing came: that it is missing, and no figure.

    Args:
        agent: Who should have reported.
        tenant: Its id there.
        period: The period.
        timezone: Where its days are.
        name: As people know it; None: its id, nothing else was ever told.
        contract: What was agreed.
        partner: Who gets the period; None: the provider himself.
        customer: The provider's number; None: none was given.
    """
    agreed = contract or Contract()
    return TenantUsage(
        agent=agent,
        tenant=tenant,
        name=name or tenant,
        state=State.MISSING,
        start=period.start,
        end=period.end,
        timezone=timezone,
        partner=partner,
        customer=customer,
        basis=agreed.basis or "channels",
        capacity=agreed.capacity,
        packages=agreed.packages,
    )


def _peak(figures: LevelFigures) -> Peak | None:
    if figures.peak is None:
        return None
    at = None if figures.peak_at is None else instant(figures.peak_at)
    source = None if at is None else figures.peak_source
    return Peak(figures.peak, at, figures.peak_ms, source, figures.lower_bound)


def _level_ms(figures: LevelFigures) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((int(level), ms) for level, ms in (figures.time_at_level_ms or {}).items()))


def _recorded_over(data: SummaryData) -> Over | None:
    """Return the overruns as the record counts them, each against the capacity in force then."""
    overruns = data.capacity.overruns
    if overruns is None:
        return None
    worst = tuple((instant(one.start), instant(one.end), one.peak) for one in overruns.worst)
    return Over(overruns.count, overruns.total_ms, worst)


def _over(figures: LevelFigures, capacity: int | None) -> Over | None:
    """Return the time above a capacity that the record does not know; None if nothing was seen."""
    if capacity is None or figures.time_at_level_ms is None:
        return None
    ms = sum(ms for level, ms in _level_ms(figures) if level > capacity)
    return Over(None if ms else 0, ms)


def _package(data: SummaryData, figures: LevelFigures, agreed: Contract, basis: str) -> int | None:
    if agreed.packages:
        return smallest_package(agreed.packages, figures.peak)
    return data.capacity.smallest_fitting_package if basis == data.capacity.basis else None


def _flow(flow: Flow) -> Traffic:
    return Traffic(flow.legs, flow.answered_ms, flow.billable_s)


def _daily(data: SummaryData, figures: LevelFigures) -> tuple[tuple[str, int | None], ...]:
    """Return each local day's peak up to `as_of`; a day without observation has none."""
    known, tz = figures.daily_peaks or {}, _zone(data.period.timezone)
    if tz is None:
        return tuple(sorted(known.items()))
    names = [day.name for day in days(instant(data.period.start), instant(data.as_of), tz)]
    return tuple((name, known.get(name)) for name in sorted({*names, *known}))


def _zone(name: str) -> ZoneInfo | None:
    """Return a zone; None: this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
