"""What the definition says, computed slowly: no sweep, no state, every instant from scratch.

Between two neighbouring instants at which anything happens nothing changes, so each
such piece of time is judged on its own, straight from the ledger's facts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from meter.model import Cause, Direction, Gap, Leg, Level, Merge, Terms
from meter.periods import Period, days, hours

MINUTE = 60_000
NEVER = 10**15


def _end(x: Leg | Gap) -> int:
    return NEVER if x.end is None else x.end


def is_known(leg: Leg, gaps: Sequence[Gap], at: int) -> bool:
    if not leg.start <= at < _end(leg):
        return False
    for gap in gaps:
        if gap.pbx == leg.pbx and gap.start <= at < _end(gap):
            before, after = leg.start <= gap.start, gap.end is not None and _end(leg) >= gap.end
            if not (before and after):
                return False
    return True


def skipped(leg: Leg, gaps: Sequence[Gap], at: int) -> bool:
    """Whether the wall clock skipped this instant, so that nobody pays for it."""
    return any(g.pbx == leg.pbx and g.cause is Cause.CLOCK_STEP and g.start <= at < _end(g) for g in gaps)


def call_of(leg: Leg, merges: Sequence[Merge], at: int) -> tuple[str, str]:
    name = leg.call
    for merge in merges:
        if merge.pbx == leg.pbx and merge.at <= at and merge.gone == name:
            name = merge.into
    return (leg.pbx, name)


def levels_at(legs: Sequence[Leg], merges: Sequence[Merge], gaps: Sequence[Gap], at: int) -> dict[Level, int]:
    up = [leg for leg in legs if is_known(leg, gaps, at)]
    talking = [leg for leg in up if leg.answer is not None and leg.answer <= at]
    return {
        Level.CHANNELS: len(up),
        Level.CALLS: len({call_of(leg, merges, at) for leg in up}),
        Level.ANSWERED: len({call_of(leg, merges, at) for leg in talking}),
    }


def sight(gaps: Sequence[Gap], terms: Sequence[Terms], at: int) -> str:
    """How much of the tenant is observed at an instant: whole, partly, blind."""
    held = [t for t in terms if t.at <= at]
    pbxs = held[-1].pbxs if held else ()
    dark = [p for p in pbxs if any(g.pbx == p and g.start <= at < _end(g) for g in gaps)]
    if len(dark) == len(pbxs):
        return "blind"
    return "partly" if dark else "whole"


def figures(
    legs: Sequence[Leg],
    merges: Sequence[Merge],
    gaps: Sequence[Gap],
    terms: Sequence[Terms],
    period: Period,
    as_of: int,
    tz: tzinfo,
) -> dict[str, Any]:
    """Return every figure of one tenant as plain values."""
    edges = {period.start, as_of, *range(period.start, as_of, MINUTE), *hours(period.start, as_of, tz)}
    edges |= {d.start for d in days(period.start, as_of, tz)}
    for leg in legs:
        edges |= {leg.start, leg.answer or leg.start, _end(leg)}
    for gap in gaps:
        edges |= {gap.start, _end(gap)}
    edges |= {m.at for m in merges} | {t.at for t in terms}
    marks = sorted(e for e in edges if period.start <= e <= as_of)
    pieces = list(itertools.pairwise(marks))
    seen = {a: sight(gaps, terms, a) for a, _ in pieces}
    observed_ms = sum(b - a for a, b in pieces if seen[a] == "whole")
    glimpsed = any(s != "blind" for s in seen.values())
    found: dict[str, Any] = {"observed_ms": observed_ms, "levels": {}}
    by_piece = [levels_at(legs, merges, gaps, a) for a, _ in pieces]
    for level in Level:
        values = [v[level] for v in by_piece]
        found["levels"][level.value] = (
            _level(values, pieces, seen, legs, gaps, terms, tz) if glimpsed else None
        )
    found["overruns"] = _overruns(by_piece, pieces, seen, gaps, terms)
    found["traffic"] = {d.value: _traffic(legs, gaps, pieces, period, as_of, d) for d in Direction}
    return found


def _level(
    values: list[int],
    pieces: list[tuple[int, int]],
    seen: dict[int, str],
    legs: Sequence[Leg],
    gaps: Sequence[Gap],
    terms: Sequence[Terms],
    tz: tzinfo,
) -> dict[str, Any]:
    peak = max(values)
    at = ms = None
    proved = False
    if peak:
        first = values.index(peak)
        at = pieces[first][0]
        edges_of_gaps = {g.start for g in gaps} | {_end(g) for g in gaps}
        edges_of_gaps |= {b for (a, _), (b, _) in itertools.pairwise(pieces) if seen[a] != seen[b]}
        last = first
        while (
            last + 1 < len(values) and values[last + 1] == peak and pieces[last + 1][0] not in edges_of_gaps
        ):
            last += 1
        ms = pieces[last][1] - at
        proved = any(
            is_known(leg, gaps, at) and any(g.pbx == leg.pbx and g.start <= at < _end(g) for g in gaps)
            for leg in legs
        )
    time: dict[int, int] = {}
    minutes: dict[int, int] = {}
    watched: set[int] = set()
    per_hour: dict[int, list[int]] = {}
    for (a, b), value in zip(pieces, values, strict=True):
        minutes[a // MINUTE] = max(minutes.get(a // MINUTE, 0), value)
        if seen[a] != "blind":
            watched.add(a // MINUTE)
        if seen[a] == "whole":
            time[value] = time.get(value, 0) + b - a
            hour = list(hours(a, a + 1, tz))[0]  # noqa: RUF015 - says what is meant
            sums = per_hour.setdefault(hour, [0, 0])
            sums[0] += value * (b - a)
            sums[1] += b - a
    maxima = sorted(minutes[m] for m in watched)
    daily: dict[str, int] = {}
    for m in watched:
        day = datetime.fromtimestamp(m * 60, UTC).astimezone(tz).date().isoformat()
        daily[day] = max(daily.get(day, 0), minutes[m])
    busy = None
    for hour in sorted(per_hour):
        weighed, observed = per_hour[hour]
        if observed >= 54 * MINUTE and (busy is None or 1000 * weighed // observed > busy[1]):
            busy = (hour, 1000 * weighed // observed)
    return {
        "peak": peak,
        "peak_at": at,
        "peak_ms": ms,
        "proved": proved,
        "time": time,
        "daily": daily,
        "p95": maxima[-(-95 * len(maxima) // 100) - 1],
        "p98": maxima[-(-98 * len(maxima) // 100) - 1],
        "busy": busy,
        "minutes": {m: (minutes[m] if m in watched else None) for m in minutes},
    }


def _overruns(
    by_piece: list[dict[Level, int]],
    pieces: list[tuple[int, int]],
    seen: dict[int, str],
    gaps: Sequence[Gap],
    terms: Sequence[Terms],
) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    last: tuple[int | None, Level, str] | None = None
    cuts = {g.start for g in gaps} | {_end(g) for g in gaps}
    for (a, b), levels in zip(pieces, by_piece, strict=True):
        held = [t for t in terms if t.at <= a]
        if not held:
            last = None
            continue
        now = (held[-1].lines, held[-1].basis, seen[a])
        level = levels[now[1]]
        if now[0] is None or level <= now[0]:
            last = None
            continue
        if last == now and found[-1][1] == a and a not in cuts:
            found[-1] = (found[-1][0], b, max(found[-1][2], level))
        else:
            found.append((a, b, level))
        last = now
    return found


def _traffic(
    legs: Sequence[Leg],
    gaps: Sequence[Gap],
    pieces: list[tuple[int, int]],
    period: Period,
    as_of: int,
    direction: Direction,
) -> tuple[int, int, int, int]:
    mine = [leg for leg in legs if leg.direction is direction]

    def within(at: int | None) -> bool:
        return at is not None and period.start <= at < as_of

    answered_ms = sum(
        b - a
        for a, b in pieces
        for leg in mine
        if is_known(leg, gaps, a) and leg.answer is not None and leg.answer <= a and not skipped(leg, gaps, a)
    )
    billable = 0
    for leg in mine:
        if within(leg.end) and leg.answer is not None:
            marks = sorted({leg.answer, _end(leg), *(g.start for g in gaps), *(_end(g) for g in gaps)})
            total = sum(
                b - a
                for a, b in itertools.pairwise(marks)
                if leg.answer <= a < _end(leg) and is_known(leg, gaps, a) and not skipped(leg, gaps, a)
            )
            billable += -(-total // 1000)
    return (
        sum(within(leg.start) for leg in mine),
        sum(within(leg.answer) for leg in mine),
        answered_ms,
        billable,
    )
