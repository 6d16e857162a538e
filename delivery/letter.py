"""What a mail says, before it looks like anything: pure, and the same for text and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from delivery.wording import Wording
from meter.model import Instant
from meter.notices import Notice, NoticeKind, Reason


@dataclass(frozen=True, slots=True)
class Bar:
    """A level beside a capacity, drawn. The three shares are per cent of the width and make 100.

    Attributes:
        within: The part of the level that the capacity covers.
        over: The part above it.
        free: The part of the capacity that is not in use.
        label: The whole bar in words, for those who don't see it.
        left, right: What stands below its ends; `right` may be "".
    """

    within: int
    over: int
    free: int
    label: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail's sentences, in the order in which they are read.

    Attributes:
        subject: One line.
        headline: What happened.
        figure, caption: The one strong figure, and what it counts.
        bar: The figure beside the capacity.
        lead: When, and how far: one or two sentences.
        assurance: What did not happen; the first part is the stronger one.
        facts: (what, figure), each short.
        notes: What has to be known to read the figures right.
        small: What identifies the mail and its times.
    """

    subject: str
    headline: str
    figure: str
    caption: str
    bar: Bar
    lead: str
    assurance: tuple[str, str]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    small: tuple[str, ...]


def bar(level: int, capacity: int, wording: Wording) -> Bar:
    """Draw a level beside a capacity. The longer of the two fills the width; nothing that exists is invisible.

    Args:
        level: How many are up, >= 0.
        capacity: How many are agreed, >= 1.
        wording: The language of its labels.
    """
    over, free = max(0, level - capacity), max(0, capacity - level)
    over_share = _share(over, level)
    free_share = _share(free, capacity)
    return Bar(
        within=100 - over_share - free_share,
        over=over_share,
        free=free_share,
        label=wording.say("bar.label", level=level, capacity=capacity),
        left=wording.say("bar.capacity", capacity=capacity),
        right=wording.say("bar.over", over=over) if over else wording.say("bar.left", n=free),
    )


def notice_letter(notice: Notice, wording: Wording, tz: tzinfo) -> Letter:
    """Say a notice in a language.

    Args:
        notice: What to say; every figure comes from it.
        wording: The language.
        tz: The tenant's time zone.
    """
    basis, kind = notice.basis, notice.kind
    over_by = max(0, notice.level - notice.capacity)
    peak = notice.level if notice.episode_peak is None else notice.episode_peak
    calm = kind is NoticeKind.ENDED
    late = notice.reason is Reason.TOLD_LATE
    when = notice.over_since if late and notice.over_since is not None else notice.at
    values: dict[str, str | int] = {
        "tenant": notice.tenant_name,
        "capacity": notice.capacity,
        "units": wording.say(f"unit.{basis}", n=notice.level),
        "peak": peak,
        "over": max(0, peak - notice.capacity) if calm else over_by,
        "share": 100 * notice.level // notice.capacity,
        "warn_at": notice.warn_at,
        "date": wording.date(when, tz),
        "clock": wording.clock(when, tz),
        "figure": wording.say(f"figure.{basis}", n=peak if calm else notice.level),
    }
    headings = {Reason.REPEAT: "again", Reason.TOLD_LATE: "late"} if kind is NoticeKind.OVER else {}
    about = headings.get(notice.reason, kind.value)
    notes = [wording.say(f"basis.{basis}")]
    if late:
        notes.insert(0, wording.say("note.late"))
    if notice.incomplete:
        notes.insert(0, wording.say("note.incomplete"))
    return Letter(
        subject=wording.say(f"{about}.subject", **values),
        headline=wording.say(f"{about}.headline", **values),
        figure=str(notice.level),
        caption=wording.say(f"{'now' if calm else 'figure'}.{basis}", n=notice.level),
        bar=bar(notice.level, notice.capacity, wording),
        lead=wording.say(f"{kind}.lead", n=notice.level, **values),
        assurance=(wording.say("assurance.title"), wording.say("assurance.text")),
        facts=tuple(_facts(notice, wording, tz)),
        notes=tuple(notes),
        small=(
            wording.say("note.times", timezone=notice.timezone),
            wording.say("note.reference", id=notice.id),
        ),
    )


def _facts(notice: Notice, wording: Wording, tz: tzinfo) -> list[tuple[str, str]]:
    """Return what is worth a line of its own; a figure that is not known has none."""
    facts = []

    def state(key: str, value: str) -> None:
        facts.append((wording.say(f"fact.{key}"), value))

    first = notice.reason is Reason.FIRST
    if notice.episode_start is not None and not first:
        state("began", wording.moment(notice.episode_start, tz))
    since = None if notice.reason is Reason.TOLD_LATE else notice.over_since
    if since is not None and notice.at - since >= 1000:  # noqa: PLR2004 - a second
        lasting = wording.duration(notice.at - since)
        state("since", f"{wording.moment(since, tz)} ({lasting})")
    if notice.episode_peak is not None and not first:
        state("highest_since", wording.say(f"unit.{notice.basis}", n=notice.episode_peak))
    facts.append((wording.period(notice.period_start, notice.period_end, tz), _often(notice, wording)))
    if notice.peak is not None:
        state("highest", _units_at(notice, notice.peak, notice.peak_at, wording, tz))
    if notice.packages and notice.peak is not None:
        state("package", _package(notice, wording))
    return facts


def _often(notice: Notice, wording: Wording) -> str:
    if not notice.overruns:
        return wording.say("often.never")
    return wording.say("often.some", n=notice.overruns, duration=wording.duration(notice.overruns_ms))


def _units_at(notice: Notice, peak: int, at: Instant | None, wording: Wording, tz: tzinfo) -> str:
    units = wording.say(f"unit.{notice.basis}", n=peak)
    return units if at is None else f"{units} ({wording.moment(at, tz)})"


def _package(notice: Notice, wording: Wording) -> str:
    fits = notice.package
    units = wording.say(f"unit.{notice.basis}", n=notice.packages[-1] if fits is None else fits)
    if fits is None:
        return wording.say("package.none", units=units)
    return wording.say("package.present", units=units) if fits == notice.capacity else units


def _share(part: int, whole: int) -> int:
    """Return a part in per cent, at least 2 and at most 98 unless it is nothing or everything."""
    if part == 0:
        return 0
    return 100 if part == whole else min(98, max(2, 100 * part // whole))
