"""How each figure of a period came about, in plain words, for somebody who doubts them.

Words stand in agent/languages, one catalogue per language; dates and durations are those of
the mails (delivery.wording). Nothing is computed here that the record does not state, but for
what another package would have meant: time at level says that.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final

from delivery.wording import Wording
from delivery.wording import wording as mails
from meter.model import Instant, Leg, Level
from meter.periods import MINUTE_MS
from meter.presence import presence
from meter.statement import instant
from meter.summary import Statement

LANGUAGES: Final = ("en", "nl")

#: Minutes that are drawn before and after the peak's; cells of the longest bar.
AROUND, CELLS = 10, 40
#: How many legs and gaps are named one by one.
MOST: Final = 40


@dataclass(frozen=True, slots=True)
class Explained:
    """What is to be explained.

    Attributes:
        statement: The facts and figures, minute by minute.
        content: The same as a record states them.
        record: The sealed record's id and SHA-256; None: nothing is sealed yet.
        differences: In how many places the sealed record says otherwise.
        corrects: What a correction says of itself: the id of what it replaces, why, made from what.
    """

    statement: Statement
    content: dict[str, Any]
    record: tuple[str, str] | None
    differences: int
    corrects: tuple[str, str, str] | None


@cache
def wording(code: str) -> Wording:
    """Return the catalogue of a language, with the mails' dates and durations.

    Raises:
        ValueError: There is none.
    """
    if code not in LANGUAGES:
        raise ValueError(f"no wording in this language; there is {', '.join(LANGUAGES)}")
    text = resources.files("agent").joinpath("languages", f"{code}.toml").read_text(encoding="utf-8")
    base = mails(code)
    own = {
        f"{part}.{name}": said for part, names in tomllib.loads(text).items() for name, said in names.items()
    }
    return replace(base, texts={**base.texts, **own})


def explain(found: Explained, code: str) -> Iterator[str]:
    """Yield the explanation's lines; an empty one between two parts."""
    words = wording(code)
    yield from _head(found, words)
    for level in Level:
        yield ""
        yield from _level(found, level, words)
    yield ""
    yield from _capacity(found, words)
    yield ""
    yield from _traffic(found, words)
    yield ""
    yield from _gaps(found, words)
    yield ""
    yield from _check(found, words)


def _head(found: Explained, words: Wording) -> Iterator[str]:
    content = found.content
    yield words.say("explain.title", tenant=content["tenant"]["name"], period=content["period"]["name"])
    if found.record is None:
        yield words.say("explain.unsealed", moment=_time(instant(content["as_of"]), found, words))
    elif found.differences:
        yield words.say("explain.changed", record=found.record[0], n=found.differences)
    else:
        yield words.say("explain.sealed", record=found.record[0], sha256=found.record[1])
    if found.corrects is not None:
        record, reason, source = found.corrects
        yield words.say("explain.corrected", record=record, reason=reason, source=source)
    yield words.say("explain.definition", definition=content["definition"])
    yield words.say("explain.basis", level=words.say(f"level.{content['capacity']['basis']}"))


def _level(found: Explained, level: Level, words: Wording) -> Iterator[str]:
    said = found.content["levels"][level.value]
    figure = words.say(f"peak.{level.value}")
    if said["peak"] is None:
        yield words.say("peak.unknown", figure=figure)
        return
    if said["peak_at"] is None:
        yield words.say("peak.zero", figure=figure)
    else:
        at, tz = instant(said["peak_at"]), found.statement.tz
        yield words.say(
            "peak.value", figure=figure, n=said["peak"], date=words.date(at, tz), clock=words.clock(at, tz),
            duration=words.duration(said["peak_ms"]),
        )  # fmt: skip
        yield words.say(f"peak.{said['peak_source']}")
        by = said.get("peak_by")
        if by is not None:
            yield words.say("peak.by", polls=_or_unknown(by["polls"]), log=_or_unknown(by["call_log"]))
    if said["lower_bound"]:
        yield words.say("peak.least")
    if said["peak_at"] is not None and level.value == found.content["capacity"]["basis"]:
        yield from _legs(found, instant(said["peak_at"]), figure, words)
        yield from _chart(found, level, instant(said["peak_at"]), words)


def up_at(found: Explained, at: Instant) -> list[Leg]:
    """Return the legs that are known to be up at an instant, oldest first: the record's evidence."""
    facts = found.statement.facts
    return [
        leg
        for leg in sorted(facts.legs, key=lambda leg: (leg.start, leg.row))
        if any(start <= at < end for start, end in presence(leg, facts.gaps.get(leg.pbx, ())))
    ]


def _legs(found: Explained, at: Instant, figure: str, words: Wording) -> Iterator[str]:
    up = up_at(found, at)
    yield words.say("legs.head", n=len(up), figure=figure[0].lower() + figure[1:])
    for leg in up[:MOST]:
        answered = ""
        if leg.answer is not None:
            answered = words.say("legs.answered", at=_time(leg.answer, found, words))
        yield "  " + words.say(
            "legs.row", pbx=leg.pbx, leg=leg.leg, trunk=leg.trunk or leg.endpoint,
            direction=words.say(f"legs.{leg.direction.value}"), start=_time(leg.start, found, words),
            end=words.say("legs.up") if leg.end is None else _time(leg.end, found, words), answered=answered,
        )  # fmt: skip
    if len(up) > MOST:
        yield "  " + words.say("legs.more", n=len(up) - MOST)


def _chart(found: Explained, level: Level, at: Instant, words: Wording) -> Iterator[str]:
    start = found.statement.figures.period.start
    number = (at - start) // MINUTE_MS
    first = max(0, number - AROUND)
    minutes = _minutes(found.statement.figures.levels[level].series, first, number + AROUND + 1)
    highest = max((value for value in minutes if value), default=1)
    yield words.say("chart.head")
    for offset, value in enumerate(minutes):
        local = _time(start + (first + offset) * MINUTE_MS, found, words)[-8:-3]
        bar = "·" if value is None else "█" * round(value * CELLS / highest)
        yield f"  {local} {'?' if value is None else value:>4} {bar}".rstrip()


def _minutes(runs: Sequence[tuple[int, int | None]], first: int, last: int) -> list[int | None]:
    """Return the minutes `[first, last)` out of runs of (count, value), as far as they go."""
    found: list[int | None] = []
    at = 0
    for count, value in runs:
        found += [value] * max(0, min(at + count, last) - max(at, first))
        at += count
    return found


def _capacity(found: Explained, words: Wording) -> Iterator[str]:
    capacity = found.content["capacity"]
    over = capacity["overruns"]
    if capacity["lines"] is None:
        yield words.say("capacity.none")
    else:
        yield words.say("capacity.lines", n=capacity["lines"])
    if over is not None and over["count"]:
        yield words.say("capacity.over", n=over["count"], duration=words.duration(over["total_ms"]))
    elif over is not None:
        yield words.say("capacity.never")
    level = found.content["levels"][capacity["basis"]]
    if level["peak"] is None:
        return
    terms = found.statement.figures.history
    for package in terms[-1].packages if terms else ():
        above_ms = sum(ms for value, ms in level["time_at_level_ms"].items() if int(value) > package)
        if level["peak"] <= package:
            meant = words.say("capacity.fits")
        elif above_ms:
            meant = words.say("capacity.above", duration=words.duration(above_ms))
        else:
            meant = words.say("capacity.reached", peak=level["peak"])
        yield "  " + words.say("capacity.package", n=package, meant=meant)


def _traffic(found: Explained, words: Wording) -> Iterator[str]:
    for way, flow in found.content["traffic"].items():
        if flow["legs"] or flow["answered"] or flow["answered_ms"]:
            direction = words.say(f"legs.{way}")
            yield words.say(
                "traffic.row", direction=direction[0].upper() + direction[1:], legs=flow["legs"],
                answered=flow["answered"], duration=words.duration(flow["answered_ms"]),
                billable=flow["billable_s"],
            )  # fmt: skip


def _gaps(found: Explained, words: Wording) -> Iterator[str]:
    gaps = found.content["coverage"]["gaps"]
    for pbx, start, end in found.statement.facts.filled:
        yield words.say(
            "gaps.filled", pbx=pbx, start=_time(start, found, words), end=_time(end, found, words)
        )
    if not gaps["count"]:
        yield words.say("gaps.none")
        return
    yield words.say("gaps.head", n=gaps["count"], duration=words.duration(gaps["total_ms"]))
    for gap in gaps["list"][:MOST]:
        yield "  " + words.say(
            "gaps.row", pbx=gap["pbx"], start=_time(instant(gap["start"]), found, words),
            end=_time(instant(gap["end"]), found, words), cause=words.say(f"cause.{gap['cause']}"),
        )  # fmt: skip
    if gaps["count"] > MOST:
        yield "  " + words.say("gaps.more", n=gaps["count"] - MOST)


def _or_unknown(value: int | None) -> str:
    return "?" if value is None else str(value)


def _check(found: Explained, words: Wording) -> Iterator[str]:
    content = found.content
    peak_at = content["levels"][content["capacity"]["basis"]]["peak_at"]
    if peak_at is not None:
        up = up_at(found, instant(peak_at))
        sampled = {pbx for pbx, how in content["sampling"].items() if how["method"] != "events"}
        ids = list(dict.fromkeys(leg.call for leg in up if leg.pbx not in sampled))
        if ids:
            yield words.say("check.head")
            yield "  " + words.say("check.grep", ids="|".join(re.escape(name) for name in ids[:MOST]))
        if any(leg.pbx in sampled for leg in up):
            yield words.say("check.threecx")
    yield words.say("check.reconcile", period=content["period"]["name"], tenant=content["tenant"]["id"])
    if found.record is not None:
        yield words.say("check.verify")


def _time(at: Instant, found: Explained, words: Wording) -> str:
    """Return an instant short and exact: local day and time to the second."""
    tz = found.statement.tz
    return words.moment(at, tz).partition(",")[0] + " " + words.clock(at, tz)[:8]
