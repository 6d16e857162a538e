"""Half-open billing periods, local days and local clock hours.

Months and days follow the tenant's time zone and may be an hour longer or
shorter; `hour` and `5min` follow UTC and are named by their start. The time zone
is passed in; nothing here looks one up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias, get_args

from meter.model import Instant

Kind: TypeAlias = Literal["month", "day", "hour", "5min"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_FIXED_MS: Final = {"hour": HOUR_MS, "5min": 5 * MINUTE_MS}


@dataclass(frozen=True, slots=True)
class Period:
    """The half-open time `[start, end)` that a summary states.

    Attributes:
        name: `2026-11`, `2026-11-21`, or the UTC start `2026-11-21T20:05Z`.
        start, end: Its bounds; the next period starts at `end`.
    """

    name: str
    start: Instant
    end: Instant


def instant(at: datetime) -> Instant:
    """Return an aware datetime as an instant, cut to the millisecond.

    Raises:
        ValueError: `at` is naive.
    """
    if at.tzinfo is None:
        msg = f"{at!r} has no time zone"
        raise ValueError(msg)
    return (at - _EPOCH) // _MS


def moment(at: Instant, tz: tzinfo = UTC) -> datetime:
    """Return an instant as an aware datetime in `tz`."""
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(tz)


def iso(at: Instant) -> str:
    """Return an instant as records write it: `2026-11-12T09:31:07.412Z`."""
    return moment(at).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def _midnight(day: date, tz: tzinfo) -> Instant:
    """Return the first instant of a local day: its midnight, or the end of a gap that swallowed it."""
    return instant(datetime(day.year, day.month, day.day, tzinfo=tz))


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def period_of(at: Instant, kind: Kind, tz: tzinfo) -> Period:
    """Return the period that contains `at`."""
    if length := _FIXED_MS.get(kind):
        start = at - at % length
        return Period(moment(start).strftime("%Y-%m-%dT%H:%MZ"), start, start + length)
    today = moment(at, tz).date()
    if kind == "day":
        return Period(today.isoformat(), _midnight(today, tz), _midnight(today + timedelta(days=1), tz))
    first = today.replace(day=1)
    return Period(f"{first:%Y-%m}", _midnight(first, tz), _midnight(_next_month(first), tz))


def following(last: Period, kind: Kind, tz: tzinfo) -> Period:
    """Return the period after `last`. It starts where `last` ends, even if the kind or the zone has changed.

    After a move to the west what is left of a day or a month that has had its period
    already belongs to the next one: no two periods have one name, and records are
    named after it.
    """
    usual = period_of(last.end, kind, tz)
    if usual.start == last.end:
        return usual
    while kind not in _FIXED_MS and len(usual.name) == len(last.name) and usual.name <= last.name:
        usual = period_of(usual.end, kind, tz)
    name = moment(last.end).strftime("%Y-%m-%dT%H:%MZ") if kind in _FIXED_MS else usual.name
    return Period(name, last.end, usual.end)


_FORMS: Final[dict[Kind, tuple[str, str]]] = {
    "month": ("%Y-%m", "2026-11"),
    "day": ("%Y-%m-%d", "2026-11-21"),
    "hour": ("%Y-%m-%dT%H:%MZ", "2026-11-21T20:00Z"),
    "5min": ("%Y-%m-%dT%H:%MZ", "2026-11-21T20:05Z"),
}


def named(name: str, kind: Kind, tz: tzinfo) -> Period:
    """Return the period of a kind with this name.

    Raises:
        ValueError: No such period; the message shows how one is written.
    """
    form, example = _FORMS[kind]
    try:
        start = datetime.strptime(name, form).replace(tzinfo=UTC)
    except ValueError:
        start = None
    if start is not None:
        local = start if kind in _FIXED_MS else start.replace(tzinfo=tz)
        period = period_of(instant(local), kind, tz)
        if period.name == name:
            return period
    msg = f"{name!r} is no period of kind {kind}: write it like {example}"
    raise ValueError(msg)


def days(start: Instant, end: Instant, tz: tzinfo) -> Iterator[Period]:
    """Yield the local days that touch `[start, end)`, whole, in order."""
    while start < end:
        day = period_of(start, "day", tz)
        yield day
        start = day.end


def hours(start: Instant, end: Instant, tz: tzinfo) -> Iterator[Instant]:
    """Yield the starts of the local clock hours that touch `[start, end)`, in order.

    An hour that is repeated when summer time ends is two hours. Zones that are off
    by half hours (India, Nepal by quarters) have clock hours that start there.
    """
    at = start
    while at < end:
        local = moment(at, tz)
        into = local.minute * MINUTE_MS + local.second * 1000 + local.microsecond // 1000
        yield at - into
        at += HOUR_MS - into
