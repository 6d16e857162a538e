"""One tenant's usage in words, before it looks like anything: pure, and the same for every rendering.

What is not known is `?` and a note says why; what nobody agreed on, or what never
happened, is a dash. No figure is made here: those of `TenantUsage` are written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from delivery.reporting import charts, numerals
from delivery.reporting.numerals import NOTHING, UNKNOWN
from delivery.reporting.usage import Over, State, TenantUsage, Traffic, Unseen
from delivery.wording import Wording

#: As many gaps and overruns are named one by one; the rest are counted.
NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Cells:
    """What stands in a tenant's line of a table, each short."""

    peak: str
    capacity: str
    over: str
    overruns: str
    package: str
    users: str
    inbound: str
    outbound: str
    coverage: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """One tenant.

    Attributes:
        anchor: Names it within a page.
        name: As people know it.
        ident: The key of the tenant: `agent/tenant`.
        customer: The customer's number in words, or "".
        state: How sure its figures are; `badge`: the same in a word, "" for a final.
        cells: Its line in a table.
        counted: What the peak counts, as a word behind the figure.
        bar, bar_label: The peak beside the capacity, drawn and in words; None: nothing to compare.
        chart, chart_label: The daily peaks, likewise.
        facts: (what, figure or sentence), in the order in which they are read.
        notes: What has to be known to read the figures right.
        over: Whether it was over its capacity.
    """

    anchor: str
    name: str
    ident: str
    customer: str
    state: State
    badge: str
    cells: Cells
    counted: str
    bar: charts.Bar | None
    bar_label: str
    chart: charts.Days | None
    chart_label: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    over: bool


def sheet(usage: TenantUsage, words: Wording, *, anchor: str = "t1", width: int = charts.CARD) -> Sheet:
    """Say one tenant's usage.

    Args:
        usage: Whose; every figure comes from it.
        words: The language.
        anchor: Names it within a page.
        width: How wide its days are drawn.
    """
    zone = ZoneInfo(usage.timezone)
    level = None if usage.peak is None else usage.peak.level
    cells = _cells(usage, words)
    return Sheet(
        anchor=anchor,
        name=usage.name,
        ident=f"{usage.agent}/{usage.tenant}",
        customer="" if usage.customer is None else words.say("report.customer", number=usage.customer),
        state=usage.state,
        badge=badge(usage, words),
        cells=cells,
        counted=words.say(f"figure.{usage.basis}", n=2 if level is None else level),
        bar=charts.bar(level, usage.capacity),
        bar_label=words.say("bar.label", level=cells.peak, capacity=cells.capacity),
        chart=charts.days(usage, zone, width=width),
        chart_label=_chart_label(usage, words),
        facts=tuple(_facts(usage, words, zone)),
        notes=tuple(_notes(usage, words, zone)),
        over=usage.over is not None and usage.over.ms > 0,
    )


def badge(usage: TenantUsage, words: Wording) -> str:
    """Return a tenant's state in a word or two; "" for a final, which needs none."""
    if usage.state is State.FINAL:
        return ""
    return words.say(f"report.state.{usage.state}")


def peak_figure(usage: TenantUsage, words: Wording) -> str:
    """Return the billed peak, `≥` before it if it may have been higher; `?`: not known."""
    if usage.peak is None:
        return UNKNOWN
    figure = numerals.count(usage.peak.level, words)
    return f"≥ {figure}" if usage.peak.lower_bound else figure


def units(n: int, usage: TenantUsage, words: Wording) -> str:
    """Return a number of what the contract bills: `17 lines`."""
    return words.say(f"unit.{usage.basis}", n=n)


def often(over: Over, words: Wording) -> str:
    """Say how often and how long a tenant was over its capacity."""
    if over.ms == 0:
        return words.say("often.never")
    duration = words.duration(over.ms)
    if over.count is None:
        return words.say("report.over.uncounted", duration=duration)
    return words.say("report.over.counted", n=over.count, duration=duration)


def gap_lines(gaps: tuple[Unseen, ...], words: Wording, zone: ZoneInfo, *, most: int = NAMED) -> list[str]:
    """Name the longest gaps in the order in which they came, and count the others."""
    longest = sorted(gaps, key=lambda gap: gap.start - gap.end)[:most]
    lines = [
        words.say(
            "report.gap.line",
            pbx=gap.pbx,
            start=words.moment(gap.start, zone),
            duration=words.duration(gap.end - gap.start),
            cause=_cause(gap.cause, words),
        )
        for gap in sorted(longest, key=lambda gap: (gap.start, gap.pbx))
    ]
    if len(gaps) > most:
        lines.append(words.say("report.gap.more", n=len(gaps) - most))
    return lines


def _cause(cause: str, words: Wording) -> str:
    key = f"report.cause.{cause}"
    return words.say(key) if key in words.texts else cause  # a record of a newer agent


def _cells(usage: TenantUsage, words: Wording) -> Cells:
    known = usage.state is not State.MISSING
    none = NOTHING if known else UNKNOWN
    over = usage.over
    count = UNKNOWN if over is None or over.count is None else numerals.count(over.count, words)
    return Cells(
        peak=peak_figure(usage, words),
        capacity=none if usage.capacity is None else numerals.count(usage.capacity, words),
        over=none if over is None or over.ms == 0 else numerals.lasting(over.ms),
        overruns=none if over is None or over.ms == 0 else count,
        package=none if usage.package is None else numerals.count(usage.package, words),
        users=numerals.count(usage.users, words),
        inbound=_minutes(usage.inbound, words),
        outbound=_minutes(usage.outbound, words),
        coverage=numerals.share(usage.observed_ms, usage.expected_ms, words),
    )


def _minutes(traffic: Traffic | None, words: Wording) -> str:
    return numerals.minutes(None if traffic is None else traffic.billable_s, words)


def _in_minutes(traffic: Traffic | None, words: Wording) -> str:
    seconds = None if traffic is None else traffic.billable_s
    n = 2 if seconds is None else seconds // 60  # what is not known is many
    return words.say("report.minutes", n=n, count=_minutes(traffic, words))


def _facts(usage: TenantUsage, words: Wording, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Return what is worth a line of its own."""
    if usage.state is State.MISSING:
        return []
    facts = [("peak", _peak(usage, words, zone))]
    facts.append(
        (
            "capacity",
            words.say("report.none") if usage.capacity is None else units(usage.capacity, usage, words),
        )
    )
    if usage.over is not None:
        facts.append(("over", often(usage.over, words)))
        facts += [("worst", line) for line in _worst(usage, words, zone)]
    if usage.packages and usage.peak is not None:
        facts.append(("package", _package(usage, words)))
    facts.append(("users", _users(usage, words)))
    for name, traffic in (("inbound", usage.inbound), ("outbound", usage.outbound)):
        facts.append((name, _in_minutes(traffic, words)))
    if usage.unknown is not None and usage.unknown.billable_s:
        facts.append(("unknown", _in_minutes(usage.unknown, words)))
    facts.append(("coverage", numerals.share(usage.observed_ms, usage.expected_ms, words)))
    return [(words.say(f"report.fact.{key}"), value) for key, value in facts]


def _peak(usage: TenantUsage, words: Wording, zone: ZoneInfo) -> str:
    peak = usage.peak
    if peak is None:
        return words.say("report.unknown")
    said = units(peak.level, usage, words)
    said = words.say("report.least", figure=said) if peak.lower_bound else said
    if peak.at is None:
        return said
    values = {"figure": said, "date": words.date(peak.at, zone), "clock": words.clock(peak.at, zone)}
    if peak.ms is None:
        return words.say("report.peak.at", **values)
    return words.say("report.peak.lasting", duration=words.duration(peak.ms), **values)


def _worst(usage: TenantUsage, words: Wording, zone: ZoneInfo) -> list[str]:
    worst = () if usage.over is None else usage.over.worst[:NAMED]
    return [
        words.say(
            "report.over.worst",
            figure=units(level, usage, words),
            start=words.moment(start, zone),
            duration=words.duration(end - start),
        )
        for start, end, level in worst
    ]


def _package(usage: TenantUsage, words: Wording) -> str:
    if usage.package is None:
        return words.say("package.none", units=units(usage.packages[-1], usage, words))
    fits = units(usage.package, usage, words)
    return words.say("package.present", units=fits) if usage.package == usage.capacity else fits


def _users(usage: TenantUsage, words: Wording) -> str:
    if usage.users is None and usage.users_max is None:
        return words.say("report.unknown")
    return words.say(
        "report.users",
        close=numerals.count(usage.users, words),
        most=numerals.count(usage.users_max, words),
    )


def _notes(usage: TenantUsage, words: Wording, zone: ZoneInfo) -> list[str]:
    """Return what has to be known to read the figures right, the gravest first."""
    say = words.say
    if usage.state is State.MISSING:
        return [say("report.note.missing")]
    notes = []
    if usage.state is State.OPEN:
        as_of = "" if usage.as_of is None else words.moment(usage.as_of, zone)
        notes.append(say("report.note.open", moment=as_of))
    elif usage.state is State.CORRECTED:
        notes.append(
            say("report.note.corrected", revision=0 if usage.proof is None else usage.proof.revision)
        )
        if usage.proof is not None and usage.proof.replaces is not None:
            reason = usage.proof.reason or ""
            notes.append(say("correction.replaces", record=usage.proof.replaces, reason=reason))
    notes += _on_peak(usage, words)
    notes += gap_lines(usage.gaps, words, zone)
    if usage.capacity_history:
        notes.append(say("report.note.capacity_history", steps=_steps(usage, words, zone)))
    elif usage.recorded_capacity is not None:
        notes.append(say("report.note.capacity", recorded=usage.recorded_capacity))
    if usage.users is None:
        notes.append(say("report.note.users"))
    if usage.synchronised is False:
        notes.append(say("report.note.clock"))
    if usage.unclassified:
        notes.append(say("report.note.unclassified", n=usage.unclassified))
    return notes


def _steps(usage: TenantUsage, words: Wording, zone: ZoneInfo) -> str:
    """Name the newest capacities that the agent was configured with, each with its beginning."""
    none = words.say("report.note.capacity_none")
    return "; ".join(
        words.say(
            "report.note.capacity_step",
            lines=none if lines is None else numerals.count(lines, words),
            moment=words.moment(start, zone),
        )
        for start, lines in usage.capacity_history[-NAMED:]
    )


def _on_peak(usage: TenantUsage, words: Wording) -> list[str]:
    """Say how sure the peak is."""
    if usage.peak is None:
        return [words.say("report.note.unseen")]
    notes = []
    if usage.peak.source in {"call_log", "proved"}:
        notes.append(words.say(f"report.note.{usage.peak.source}"))
    if usage.gaps:
        notes.append(words.say("report.note.gaps"))
    elif usage.peak.lower_bound:
        notes.append(words.say("report.note.sampled"))
    return notes


def _chart_label(usage: TenantUsage, words: Wording) -> str:
    """Return the drawing of the days in words, with every figure in it."""
    each = ", ".join(
        f"{int(day[-2:])}: {UNKNOWN if level is None else level}" for day, level in usage.daily_peaks
    )
    return words.say("report.chart.label", name=usage.name, days=each) if each else ""
