"""Usage as bars to be drawn. Pure: figures in, places on a drawing out.

Drawn as plain SVG by the templates, and not by a charting library: bars of whole
numbers need no axes to be reckoned, the same marks have to work on a screen in two
schemes, on paper and under a policy that forbids scripts and inline styles, and an
agent on a small machine shall not carry a plotting stack for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from delivery.reporting.usage import TenantUsage
from meter.model import Instant

#: How wide the drawing of the days is: on a card, and across a page.
CARD: Final = 320
PAGE: Final = 660
#: How high its bars may grow.
TALL: Final = 84
#: The bar of a peak beside its capacity is as wide.
BAR: Final = 120

#: A bar reaches the capacity at this part of its width.
_CAPACITY_AT: Final = 0.75
_HEADROOM: Final = 1.15
_MOST_DAYS: Final = 62
#: What is above a capacity is never drawn thinner.
_SEEN: Final = 1.5
#: A figure on a bar is so high, with the room below it.
_LETTERS: Final = 14
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bar:
    """A peak beside a capacity, in units of `BAR`: what is within it, what is above, and where it ends."""

    within: float
    over: float
    capacity: float


@dataclass(frozen=True, slots=True)
class Day:
    """One day's bar; `y` is its upper edge, counted from above.

    Attributes:
        x, width: Where it stands.
        y, tall: The part within the capacity.
        over_y, over_tall: The part above it; 0 tall: none.
        seen: Whether anything was observed; if not, the day is a mark of its own and no bar.
    """

    x: float
    width: float
    y: float = TALL
    tall: float = 0
    over_y: float = 0
    over_tall: float = 0
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Days:
    """A period's daily peaks.

    Attributes:
        width: Of the whole, in units.
        days: From left to right; days to come have none.
        capacity: How far down its line is; None: none was agreed.
        gaps: (x, width) of what was not observed, along the ground.
        ticks: (x, day of the month).
        high: (x, y, level): where the highest bar's figure stands; None: nothing was up.
    """

    width: int
    days: tuple[Day, ...]
    capacity: float | None
    gaps: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, str], ...]
    high: tuple[float, float, int] | None


def bar(peak: int | None, capacity: int | None) -> Bar | None:
    """Draw a peak beside its capacity; None: one of them is not known, or none was agreed.

    The capacity stands at the same place in every bar, so that those over it are seen at a glance;
    a peak that is far above it moves it to the left.
    """
    if peak is None or not capacity:
        return None
    scale = BAR / max(peak, capacity / _CAPACITY_AT)
    within = min(peak, capacity)
    return Bar(
        within=round(within * scale, 1),
        over=max(_SEEN, round((peak - within) * scale, 1)) if peak > within else 0,
        capacity=round(capacity * scale, 1),
    )


def days(usage: TenantUsage, zone: tzinfo, *, width: int = CARD) -> Days | None:
    """Draw a tenant's daily peaks with the line of its capacity; None: there are none.

    Days of the period that nothing is known of stand as not seen, up to `as_of`; later ones stay empty.
    """
    if not any(level is not None for _, level in usage.daily_peaks):
        return None
    known = dict(usage.daily_peaks)
    end = usage.end if usage.as_of is None else usage.as_of
    whole = _local_days(usage.start, usage.end, zone)
    if len(whole) > _MOST_DAYS or not set(known) <= set(whole):
        whole = sorted(known)  # a period of another make: what is known, side by side
        past = set(whole)
    else:
        past = set(_local_days(usage.start, end, zone))
    levels = [level for level in known.values() if level is not None]
    top = max(*levels, usage.capacity or 0, 1) * _HEADROOM
    step = width / len(whole)
    drawn = tuple(
        _day(at * step, step, known.get(name), usage.capacity, top)
        for at, name in enumerate(whole)
        if name in past
    )
    highest = max(levels)
    at = next(at for at, name in enumerate(whole) if known.get(name) == highest)
    line = None if usage.capacity is None else round(TALL * (1 - usage.capacity / top), 1)
    edge = round(TALL * (1 - highest / top), 1)
    if line is not None and edge - _LETTERS < line < edge:
        edge = line  # the figure stands above the line, which would strike it through
    return Days(
        width=width,
        days=drawn,
        capacity=line,
        gaps=_gaps(usage, width),
        ticks=_ticks(whole, step),
        high=(round((at + 0.5) * step, 1), edge, highest) if highest else None,
    )


def _day(x: float, step: float, level: int | None, capacity: int | None, top: float) -> Day:
    margin = min(1.2, step * 0.15)
    left, width = round(x + margin, 1), round(step - 2 * margin, 1)
    if level is None:
        return Day(x=left, width=width, seen=False)
    within = level if capacity is None else min(level, capacity)
    tall, over = TALL * within / top, TALL * (level - within) / top
    return Day(
        x=left,
        width=width,
        y=round(TALL - tall, 1),
        tall=round(tall, 1),
        over_y=round(TALL - tall - over, 1),
        over_tall=round(over, 1),
    )


def _gaps(usage: TenantUsage, width: int) -> tuple[tuple[float, float], ...]:
    """Lay the gaps along the period; what exists is at least a line wide."""
    whole = usage.end - usage.start
    if whole <= 0:
        return ()
    inside = (
        (max(gap.start, usage.start), min(gap.end, usage.end))
        for gap in usage.gaps
        if gap.start < usage.end and gap.end > usage.start
    )
    return tuple(
        (round(width * (start - usage.start) / whole, 1), max(1.0, round(width * (end - start) / whole, 1)))
        for start, end in inside
    )


def _ticks(names: Sequence[str], step: float) -> tuple[tuple[float, str], ...]:
    """Name every seventh day, by its day of the month."""
    return tuple((round((at + 0.5) * step, 1), str(int(names[at][-2:]))) for at in range(0, len(names), 7))


def _local_days(start: Instant, end: Instant, zone: tzinfo) -> list[str]:
    """Return the local days that an interval touches, as `2026-11-01`; more than can be drawn are cut off."""
    if end <= start:
        return []
    day, last = _date(start, zone), _date(end - 1, zone)
    count = min((last - day).days + 1, _MOST_DAYS + 1)
    return [(day + timedelta(days=at)).isoformat() for at in range(count)]


def _date(at: Instant, zone: tzinfo) -> date:
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone).date()
