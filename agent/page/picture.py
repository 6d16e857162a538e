"""What the page says, before it looks like anything: a reading in a reader's language.

What is not known is `?` and says so; it never looks like zero. Names are those of tenants and
PBXs as they are configured; nothing here can hold a telephone number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from agent.page.curve import Drawing, draw
from delivery.wording import Wording
from meter.model import Instant
from meter.periods import MINUTE_MS, moment
from meter.statement import instant

_HOUR: Final = 60  # minutes
#: A bar reaches the capacity at this part of its width, in per cent: what is over it is seen too.
_CAPACITY_AT: Final = 70


@dataclass(frozen=True, slots=True)
class Day:
    """Today's curve.

    Attributes:
        label: The whole curve in words.
        drawing: Its lines; None: nothing was observed.
        capacity, high: What stands beside its two lines; "": nothing.
        ticks: What stands below it, at each quarter of the day.
        hours: (hour, highest, minutes observed), as a table.
    """

    label: str
    drawing: Drawing | None
    capacity: str
    high: str
    ticks: tuple[str, ...]
    hours: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """The level beside the capacity, in per cent of the width: what is within it, above it, and where it ends."""

    within: int
    over: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant on the page.

    Attributes:
        id, name: Whose.
        state: `over`, `unknown`, `later` (call records alone tell of it), `partly` or `calm`;
            `said`: the same in words, "" if calm.
        level: The billed level now, or `?`; `counts`: what that is.
        capacity: In words.
        bar: Drawn; None: no capacity, or the level is not known.
        period: Which figures these are.
        levels: (what, now, peak, when, whether it is billed).
        facts: (what, figure, a word on it).
        day: Today's curve.
    """

    id: str
    name: str
    state: str
    said: str
    level: str
    counts: str
    capacity: str
    bar: Bar | None
    period: str
    levels: tuple[tuple[str, str, str, str, bool], ...]
    facts: tuple[tuple[str, str, str], ...]
    day: Day


@dataclass(frozen=True, slots=True)
class Pbx:
    """One PBX on the page; `notes` are ours in the reader's language, `trouble` is what the link says (English)."""

    name: str
    up: bool
    link: str
    method: str
    day: str
    notes: tuple[str, ...]
    trouble: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything on the page. `receipts`: (record, sealed, answer, whether it was counted); None: no provider."""

    at: str
    as_of: str
    tenants: tuple[Tenant, ...]
    pbxs: tuple[Pbx, ...]
    outbox: tuple[tuple[str, str, bool], ...]
    receipts: tuple[tuple[str, str, str, bool], ...] | None
    trouble: tuple[str, ...]


def picture(found: dict[str, Any], words: Wording, tz: ZoneInfo) -> Picture:
    """Return a reading as it is said in a language.

    Args:
        found: What the agent says of itself, with today's curves.
        words: The language.
        tz: The agent's zone; what is a tenant's is said in the tenant's own.
    """
    box, sealed = found["outbox"], found["records"]
    receipts = found["receipts"]
    return Picture(
        at=found["at"],
        as_of=words.say("page.as_of", moment=words.clock(instant(found["at"]), tz)),
        tenants=tuple(_tenant(tenant, said, words) for tenant, said in found["tenants"].items()),
        pbxs=tuple(_pbx(name, said, words, tz) for name, said in found["pbxs"].items()),
        outbox=(
            (words.say("outbox.waiting"), str(box["waiting"]), False),
            (words.say("outbox.parked"), str(box["parked"]), bool(box["parked"])),
            (words.say("outbox.sealed"), str(sealed["sealed"]), False),
            (words.say("outbox.receipted"), str(sealed["receipted"]), False),
            (words.say("outbox.refused"), str(sealed["refused"]), bool(sealed["refused"])),
        ),
        receipts=None if receipts is None else tuple(_receipt(each, words, tz) for each in receipts),
        trouble=tuple(found["trouble"]),
    )


# --- a tenant --------------------------------------------------------------------------------


def _tenant(tenant: str, said: dict[str, Any], words: Wording) -> Tenant:
    tz = ZoneInfo(said["timezone"])
    basis, capacity = said["basis"], said["capacity"]
    level: int | None = said["levels"][basis]["now"]
    state = _state(said, level, capacity)
    states = {"over": "now.over", "unknown": "now.none", "later": "now.later", "partly": "now.partly"}
    without = words.say("now.without")
    return Tenant(
        id=tenant,
        name=said["name"],
        state=state,
        said=words.say(states[state]) if state in states else "",
        level=_number(level),
        counts=words.say(f"now.{basis}", n=2 if level is None else level),
        capacity=without if capacity is None else words.say("bar.capacity", capacity=capacity),
        bar=None if level is None or capacity is None else _bar(level, capacity),
        period=words.period(instant(said["start"]), instant(said["end"]), tz),
        levels=tuple(
            (
                words.say(f"level.{name}"),
                _number(each["now"]),
                _number(each["peak"]),
                "" if each["peak_at"] is None else _short(instant(each["peak_at"]), words, tz),
                name == basis,
            )
            for name, each in said["levels"].items()
        ),
        facts=_facts(said, words),
        day=_day(said.get("today"), capacity, words, tz),
    )


def _state(said: Mapping[str, Any], level: int | None, capacity: int | None) -> str:
    if level is None:
        return "later" if said["observed"] else "unknown"
    if capacity is not None and level > capacity:
        return "over"
    return "calm" if said["observed"] else "partly"


def _bar(level: int, capacity: int) -> Bar:
    reach = min(100, round(_CAPACITY_AT * level / capacity))
    return Bar(min(reach, _CAPACITY_AT), max(0, reach - _CAPACITY_AT), _CAPACITY_AT)


def _facts(said: dict[str, Any], words: Wording) -> tuple[tuple[str, str, str], ...]:
    over, package = said["overruns"], said["smallest_fitting_package"]
    facts = []
    if said["capacity"] is not None:
        unknown = said["levels"][said["basis"]]["peak"] is None
        count = words.say("figure.times", n=over["count"]) if over["count"] else words.say("figure.never")
        spent = words.duration(over["total_ms"]) if over["count"] else words.say("figure.never")
        facts += [
            (words.say("figure.overruns"), "?" if unknown else count, ""),
            (words.say("figure.over"), "?" if unknown else spent, ""),
            (words.say("figure.forecast"), *_forecast(said["forecast"], words)),
        ]
    if package is not None:
        facts.append((words.say("figure.package"), words.say(f"unit.{said['basis']}", n=package), ""))
    facts += [
        (words.say("figure.users"), _number(said["users"]), ""),
        (words.say("figure.coverage"), _share(said["coverage"], words), ""),
    ]
    return tuple(facts)


def _forecast(likely: dict[str, int] | None, words: Wording) -> tuple[str, str]:
    """Return the forecast and how it was come by."""
    if likely is None:
        return words.say("figure.early"), ""
    how = f"{words.say('figure.reckoned')} {words.say('figure.rise', rise=likely['rise_percent'])}"
    if not likely["overruns"]:
        return words.say("figure.calm"), how
    duration = words.duration(likely["over_ms"])
    return words.say("figure.likely", n=likely["overruns"], duration=duration), how


def _day(today: dict[str, Any] | None, capacity: int | None, words: Wording, tz: ZoneInfo) -> Day:
    minutes = [] if today is None else [high for count, high in today["runs"] for _ in range(count)]
    seen = [high for high in minutes if high is not None]
    if today is None or not seen:
        return Day(words.say("curve.nothing"), None, "", "", (), ())
    start, end = instant(today["start"]), instant(today["end"])
    drawing = draw(today["runs"], (end - start) // MINUTE_MS, capacity)
    high = max(seen)
    values: dict[str, str | int] = {
        "high": high,
        "time": _clock(start + minutes.index(high) * MINUTE_MS, tz),
        "unseen": len(minutes) - len(seen),
    }
    label = words.say("curve.label_without", **values)
    if capacity is not None:
        label = words.say("curve.label", capacity=capacity, **values)
    ticks = tuple(_clock(start + (end - start) * quarter // 4, tz) for quarter in range(5))
    return Day(
        label=label,
        drawing=drawing,
        capacity="" if capacity is None else words.say("bar.capacity", capacity=capacity),
        high=str(high),
        ticks=ticks,
        hours=tuple(_hours(minutes, start, tz)),
    )


def _hours(minutes: list[int | None], start: Instant, tz: ZoneInfo) -> list[tuple[str, str, str]]:
    rows = []
    for first in range(0, len(minutes), _HOUR):
        seen = [high for high in minutes[first : first + _HOUR] if high is not None]
        highest = str(max(seen)) if seen else "?"
        rows.append((_clock(start + first * MINUTE_MS, tz), highest, str(len(seen))))
    return rows


# --- the rest --------------------------------------------------------------------------------


def _pbx(name: str, said: dict[str, Any], words: Wording, tz: ZoneInfo) -> Pbx:
    up, gap = said["link"] == "up", said["gap"]
    notes = []
    if gap is not None and gap["since"] is None:
        notes.append(words.say("pbx.gap_new"))
    elif gap is not None:
        since = words.moment(instant(gap["since"]), tz)
        notes.append(words.say("pbx.gap", moment=since, cause=words.say(f"cause.{gap['cause']}")))
    notes += [words.say(f"pbx.{kind}", n=said[kind]) for kind in ("unclassified", "unassigned") if said[kind]]
    return Pbx(
        name=name,
        up=up,
        link=words.say("pbx.up" if up else "pbx.down"),
        method=words.say(f"pbx.{said['method']}"),
        day=_share(said["day"], words),
        notes=tuple(notes),
        trouble=() if said["trouble"] is None else (said["trouble"], said["hint"]),
    )


def _receipt(each: dict[str, Any], words: Wording, tz: ZoneInfo) -> tuple[str, str, str, bool]:
    counted = each["status"] == "counted"
    answer = words.say("receipt.counted" if counted else "receipt.refused")
    return each["id"], _short(instant(each["sealed_at"]), words, tz), answer, counted


def _number(value: int | None) -> str:
    return "?" if value is None else str(value)


def _share(found: Mapping[str, int], words: Wording) -> str:
    """Return how much of the time was observed, never rounded up to all of it."""
    expected, observed = found["expected_ms"], found["observed_ms"]
    if not expected:
        return "?"
    if observed == expected:
        return "100%"
    share = f"{min(9999, 10_000 * observed // expected) / 100:.2f}%"
    return share if words.code == "en" else share.replace(".", ",")


def _short(at: Instant, words: Wording, tz: ZoneInfo) -> str:
    """Return day and time so short that they stand in a table on a phone."""
    local = moment(at, tz)
    return words.say(
        "page.short",
        day=local.day,
        month=local.month,
        abbreviated=words.months[local.month - 1][:3],
        minutes=f"{local:%H:%M}",
    )


def _clock(at: Instant, tz: ZoneInfo) -> str:
    return f"{moment(at, tz):%H:%M}"
