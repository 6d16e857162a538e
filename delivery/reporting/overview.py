"""A whole report in words, before it looks like anything: pure, and the same for HTML, PDF and mail.

It opens with what is missing, because a bookkeeper asks that first. No figure is
made here: those of `Report` are written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

from delivery.reporting import numerals
from delivery.reporting.sheet import Sheet, sheet
from delivery.reporting.usage import Difference, Heap, Report, State, TenantUsage, Traffic
from delivery.wording import Wording
from meter.model import Instant

#: So many tenants are drawn day by day; of more, those that need a look. A PDF takes a fifth of a second for each.
CARDS: Final = 300

#: Figures of a difference that are instants, and those that are counts, by the end of their names. Those in
#: `_ms` and `_s` are times; all others are written as they stand, also a customer number of digits.
INSTANTS: Final = frozenset({"start", "end", "as_of", "at"})
COUNTS: Final = frozenset(
    {
        *("level", "capacity", "recorded_capacity", "count", "package", "users", "users_max", "legs"),
        *("unclassified", "revision", "tenants", "missing", "at_least", "at_most"),
        *("users_unknown", "capacity_unknown", "peak_unknown", "peak_unsure", "traffic_unsure"),
    }
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lacking:
    """A tenant without a final: who, by which key, what there is instead, and where it stands on the page."""

    name: str
    ident: str
    said: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the heap: what it is, how much, and a sentence on it."""

    what: str
    figure: str
    said: str


@dataclass(frozen=True, slots=True)
class HeapRow:
    """Several tenants as one, in a line of a table; `of` names them, or is ""."""

    name: str
    of: str
    tenants: str
    missing: str
    users: str
    capacity: str
    peak: str
    inbound: str
    outbound: str


@dataclass(frozen=True, slots=True)
class Overview:
    """A report.

    Attributes:
        period: The period as people say it.
        title: What it is, and of which period.
        whose: Whose usage.
        small: Its bounds and time zone; when it was made; which revision it is.
        complete: Whether every final is in; `verdict`: the same as a sentence.
        lacking: Those without a final.
        unsure: A sentence on those of whom not everything was observed; "": there are none.
        differences: (tenant, what, before, after); `compared`: to which revision, as a heading.
        tiles: The heap.
        partners, customers: Lines of their tables.
        groups: Tenants by partner; the name is "" where there is one partner only.
        cards: The tenants that are drawn day by day; `carded`: their anchors; `left_out`: who is not, "": nobody.
        legend: How to read it.
    """

    period: str
    title: str
    whose: str
    small: tuple[str, ...]
    complete: bool
    verdict: str
    lacking: tuple[Lacking, ...]
    unsure: str
    differences: tuple[tuple[str, str, str, str], ...]
    compared: str
    tiles: tuple[Tile, ...]
    partners: tuple[HeapRow, ...]
    customers: tuple[HeapRow, ...]
    groups: tuple[tuple[str, tuple[Sheet, ...]], ...]
    cards: tuple[Sheet, ...]
    left_out: str
    legend: tuple[str, ...]

    @property
    def carded(self) -> frozenset[str]:
        """The anchors that are on the page."""
        return frozenset(one.anchor for one in self.cards)


def overview(report: Report, words: Wording) -> Overview:
    """Say a report in a language; it may be another than the report's own."""
    zone = ZoneInfo(report.timezone)
    name = period_name(report.period, report.start, report.end, zone, words)
    count, missing = len(report.tenants), report.missing
    unsure = sum(one.state is not State.MISSING and one.unsure for one in report.tenants)
    anchors = {(one.agent, one.tenant): f"t{at}" for at, one in enumerate(report.tenants, 1)}
    groups = _groups(report, anchors, words)
    cards = _cards(groups)
    return Overview(
        period=name,
        title=words.say("report.title", period=name),
        whose=report.name,
        small=(
            span(report.start, report.end, zone, report.timezone, words),
            words.say("report.revision", n=report.revision, moment=moment(report.made_at, zone, words)),
        ),
        complete=not missing,
        verdict=words.say("report.incomplete", n=len(missing), all=count)
        if missing
        else words.say("report.complete", n=count),
        lacking=tuple(_lacking(one, anchors[one.agent, one.tenant], words) for one in missing),
        unsure=words.say("report.unsure", n=unsure) if unsure else "",
        differences=tuple(_difference(one, report, words, zone) for one in report.differences),
        compared=words.say(
            "report.page.differences",
            revision=report.revision - 1 if report.compared is None else report.compared,
        ),
        tiles=tuple(_tiles(report.heap, words)),
        partners=tuple(_row(name, "", heap, words) for _, name, heap in report.partners),
        customers=tuple(
            _row(one.customer, ", ".join("/".join(key) for key in one.of), one.heap, words)
            for one in report.customers
        ),
        groups=tuple(groups),
        cards=cards,
        left_out=words.say("report.page.left_out", n=len(cards), all=count) if len(cards) < count else "",
        legend=tuple(_legend(report, words)),
    )


def period_name(period: str, start: Instant, end: Instant, zone: ZoneInfo, words: Wording) -> str:
    """Return `November 2026` for a month of the zone, else the period's own name."""
    first, last = _local(start, zone), _local(end, zone)
    midnight = first.time() == last.time() == datetime.min.time()
    months = (last.year - first.year) * 12 + last.month - first.month
    if midnight and first.day == last.day == 1 and months == 1:
        return f"{words.months[first.month - 1]} {first.year}"
    return period


def span(start: Instant, end: Instant, zone: ZoneInfo, timezone: str, words: Wording) -> str:
    """Return the bounds of a period with the time zone that its days are in."""
    return words.say(
        "report.span", start=moment(start, zone, words), end=moment(end, zone, words), timezone=timezone
    )


def moment(at: Instant, zone: ZoneInfo, words: Wording) -> str:
    """Return day, year and time: `12 November 2026, 10:31`."""
    local = _local(at, zone)
    return words.say(
        "report.moment",
        day=local.day,
        month=words.months[local.month - 1],
        year=local.year,
        minutes=f"{local:%H:%M}",
    )


def field_name(what: str, words: Wording) -> str:
    """Return the name of a field of `TenantUsage` as people say it; one without a name is named as it is."""
    key = f"report.field.{what.removeprefix('heap.').replace('.', '_')}"
    name = words.say(key) if key in words.texts else what
    return words.say("report.field.heap", what=name) if what.startswith("heap.") else name


def _lacking(usage: TenantUsage, anchor: str, words: Wording) -> Lacking:
    if usage.as_of is None or usage.state is State.MISSING:
        said = words.say("report.lacking.missing")
    else:
        said = words.say("report.lacking.open", moment=words.moment(usage.as_of, ZoneInfo(usage.timezone)))
    return Lacking(usage.name, f"{usage.agent}/{usage.tenant}", said, anchor)


def _difference(one: Difference, report: Report, words: Wording, zone: ZoneInfo) -> tuple[str, str, str, str]:
    before, after = (_stated(one.what, value, words, zone) for value in (one.before, one.after))
    if before == after:  # cut off alike: then as they are
        before, after = str(one.before), str(one.after)
    return _concerned(one, report), field_name(one.what, words), before, after


def _concerned(one: Difference, report: Report) -> str:
    """Return whose figure it is: a tenant's, a partner's, or that of the whole."""
    if one.agent:
        names = {(each.agent, each.tenant): each.name for each in report.tenants}
        return names.get((one.agent, one.tenant), f"{one.agent}/{one.tenant}")
    partners = {each: name for each, name, _ in report.partners}
    return partners.get(one.tenant, one.tenant) or report.name


def _stated(what: str, value: str | None, words: Wording, zone: ZoneInfo) -> str:
    """Write a figure of a difference as the rest of the report writes its like."""
    if value is None:
        return words.say("report.unknown")
    if what == "state" and f"report.state.{value}" in words.texts:
        return words.say(f"report.state.{value}")
    if not value.isdecimal():
        return value
    name = what.rpartition(".")[2]
    unit = name.rpartition("_")[2]
    if unit in {"ms", "s"}:
        return numerals.lasting(int(value) if unit == "ms" else int(value) * 1000)
    if name in INSTANTS:
        return moment(int(value), zone, words)
    return numerals.count(int(value), words) if name in COUNTS else value


def _tiles(heap: Heap, words: Wording) -> list[Tile]:
    """Return the figures by which volume tiers are counted."""
    say = words.say
    users = [say("report.heap.users_most", most=numerals.count(heap.users_max, words))]
    if heap.users_unknown:
        users.append(say("report.heap.users_unknown", n=heap.users_unknown))
    capacity = [say("report.heap.capacity_said")]
    if heap.capacity_unknown:
        capacity.append(say("report.heap.capacity_unknown", n=heap.capacity_unknown))
    minutes = say("report.heap.minutes_unsure", n=heap.traffic_unsure) if heap.traffic_unsure else ""
    tiles = [
        ("tenants", numerals.count(heap.tenants, words), ""),
        ("users", _sum(heap.users, heap.users_unknown, words), " ".join(users)),
        ("capacity", _sum(heap.capacity, heap.capacity_unknown, words), " ".join(capacity)),
        ("peak", peak_range(heap, words), peak_said(heap, words)),
        ("inbound", _minutes(heap.inbound, heap, words), minutes),
        ("outbound", _minutes(heap.outbound, heap, words), minutes),
    ]
    return [Tile(say(f"report.heap.{key}"), figure, said) for key, figure, said in tiles]


def peak_range(heap: Heap, words: Wording) -> str:
    """Return the simultaneous peak of a heap: `63`, `41–63`, `≥ 41`, or `?`."""  # noqa: RUF002 - the dash of ranges
    if heap.peak is None:
        return numerals.UNKNOWN
    least, most = (numerals.count(n, words) for n in (heap.peak.at_least, heap.peak.at_most))
    if heap.peak_unknown or heap.peak_unsure:
        return f"≥ {least}"
    return least if heap.peak.at_least == heap.peak.at_most else f"{least}–{most}"  # noqa: RUF001 - likewise


def peak_said(heap: Heap, words: Wording) -> str:
    """Say what the bounds of a heap's peak mean."""
    if heap.peak is None:
        return words.say("report.heap.peak_none")
    least, most = (numerals.count(n, words) for n in (heap.peak.at_least, heap.peak.at_most))
    if heap.peak_unsure:
        return words.say("report.heap.peak_unsure", n=heap.peak_unsure + heap.peak_unknown)
    if heap.peak_unknown:
        return words.say("report.heap.peak_without", n=heap.peak_unknown, least=least, most=most)
    if heap.peak.at_least == heap.peak.at_most:
        return words.say("report.heap.peak_exact")
    return words.say("report.heap.peak_bounds", least=least, most=most)


def _row(name: str, of: str, heap: Heap, words: Wording) -> HeapRow:
    return HeapRow(
        name=name,
        of=of,
        tenants=numerals.count(heap.tenants, words),
        missing=numerals.count(heap.missing, words) if heap.missing else numerals.NOTHING,
        users=_sum(heap.users, heap.users_unknown, words),
        capacity=_sum(heap.capacity, heap.capacity_unknown, words),
        peak=peak_range(heap, words),
        inbound=_minutes(heap.inbound, heap, words),
        outbound=_minutes(heap.outbound, heap, words),
    )


def _sum(known: int, unknown: int, words: Wording) -> str:
    """Return a sum; `≥` where of some tenants it is not known what they add to it."""
    figure = numerals.count(known, words)
    return f"≥ {figure}" if unknown else figure


def _minutes(traffic: Traffic, heap: Heap, words: Wording) -> str:
    figure = numerals.minutes(traffic.billable_s, words)
    return f"≥ {figure}" if heap.traffic_unsure and traffic.billable_s is not None else figure


def _groups(
    report: Report, anchors: dict[tuple[str, str], str], words: Wording
) -> list[tuple[str, tuple[Sheet, ...]]]:
    """Put tenants under the names of their partners, in the order in which they come."""
    names = {each: name for each, name, _ in report.partners}
    several = len({one.partner for one in report.tenants}) > 1
    groups = []
    for partner, tenants in groupby(report.tenants, key=lambda one: one.partner):
        name = report.name if partner in (None, report.partner) else names.get(str(partner), str(partner))
        sheets = tuple(sheet(one, words, anchor=anchors[one.agent, one.tenant]) for one in tenants)
        groups.append((name if several else "", sheets))
    return groups


def _cards(groups: list[tuple[str, tuple[Sheet, ...]]]) -> tuple[Sheet, ...]:
    """Return those that are drawn day by day: all, or of many those with something to say."""
    sheets = [one for _, each in groups for one in each]
    if len(sheets) > CARDS:
        sheets = [one for one in sheets if one.over or one.notes][:CARDS]
    return tuple(sheets)


def _legend(report: Report, words: Wording) -> list[str]:
    """Explain what can't be read off the figures."""
    bases = sorted({one.basis for one in report.tenants})
    keys = [f"basis.{basis}" for basis in bases]
    keys += [
        f"report.legend.{key}"
        for key in ("least", "unknown", "over", "minutes", "coverage", "package", "proof")
    ]
    return [words.say(key) for key in keys]


def _local(at: Instant, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone)
