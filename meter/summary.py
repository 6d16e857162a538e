"""Facts of the ledger in, one tenant's statement out: the `data` of a record.

`state` folds, `content` writes down. Sealing adds the place in the chain
(agent.closing); the form is `meter.schema`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final

from meter.canonical import canonical_bytes
from meter.capacity import smallest_package
from meter.edges import edges
from meter.fold import Figures, Fold, frame
from meter.model import DEFINITION, Gap, Instant, Known, Leg, Level, Merge, Reading, Terms
from meter.observation import unseen
from meter.peaks import LevelFigures, Peak, Source
from meter.periods import Period, iso
from meter.presence import end_of, merged, presence
from meter.sampled import Sampling, any_sampled
from meter.users import UserFigures, users

#: Lists hold at most so many entries beside their totals (the definition, section 11).
MOST: Final = 100
MOST_EVIDENCE: Final = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the ledger knows about one tenant and one stretch of time.

    Attributes:
        tenant, name: Whose; the name as people know it.
        legs: Its legs that touch the time.
        merges: Merges of calls on its PBXs since the oldest of these legs began.
        gaps: The gaps of each of its PBXs.
        terms: Everything ever agreed with it, in order; at least one.
        user_pbxs: The PBXs that its extensions may be on.
        readings: Readings of its extensions, and the last good ones before.
        reconciled: Snapshots, missed starts and missed hangups of its PBXs.
        steps: Clock steps: how many, the largest, the repeated time.
        synchronised: Whether the clock is; None: not known.
        sampling: How each of its PBXs is watched; one that isn't here by events.
        compared: Where PBXs' own call records and polls both tell of legs: the legs as the
            other of the two has them, which does not set the peak; None: there is no other.
        strays: Unclassified and unassigned legs, for the default (or only) tenant; None: not its to state.
        stray_users: Users of nobody, likewise.
        filled: Stretches of gaps that the PBX's own call records fill, in a correction.
    """

    tenant: str
    name: str
    legs: Sequence[Leg]
    merges: Sequence[Merge]
    gaps: Mapping[str, Sequence[Gap]]
    terms: Sequence[Terms]
    readings: Sequence[Reading]
    user_pbxs: Sequence[str] = ()
    reconciled: tuple[int, int, int] = (0, 0, 0)
    steps: tuple[int, int, int] = (0, 0, 0)
    synchronised: bool | None = None
    sampling: Mapping[str, Sampling] = field(default_factory=dict)
    compared: Sequence[Leg] | None = None
    strays: Sequence[Leg] | None = None
    stray_users: int = 0
    filled: Sequence[tuple[str, Instant, Instant]] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """One tenant's figures with the facts they were made from."""

    facts: Facts
    figures: Figures
    users: UserFigures
    tz: tzinfo
    compared: Figures | None = None


def state(facts: Facts, period: Period, as_of: Instant, tz: tzinfo, *, series: bool = False) -> Statement:
    """Fold a tenant's facts over `[period.start, as_of)`."""

    def folded(legs: Sequence[Leg]) -> Figures:
        fold = Fold(frame(period, tz, series=series))
        fold.feed([e for e in edges(legs, facts.merges, facts.gaps, facts.terms) if e[0] < as_of])
        return fold.figures(as_of)

    return Statement(
        facts,
        folded(facts.legs),
        users(facts.readings, facts.user_pbxs, period.start, as_of),
        tz,
        compared=None if facts.compared is None else folded(facts.compared),
    )


def content(statement: Statement, *, evidence: bool) -> dict[str, Any]:
    """Return the part of a summary's `data` that states figures.

    Args:
        statement: The figures.
        evidence: Whether the legs at each peak are listed: in finals and corrections.
    """
    facts, figures = statement.facts, statement.figures
    period = figures.period
    return {
        "definition": DEFINITION,
        "as_of": iso(figures.as_of),
        "tenant": {"id": facts.tenant, "name": facts.name},
        "period": _period(period, statement.tz),
        "levels": {
            level.value: _level(statement, found, evidence=evidence) | _peak_by(statement, level)
            for level, found in figures.levels.items()
        },
        "capacity": _capacity(figures),
        "traffic": {
            direction.value: {
                "legs": flow.legs,
                "answered": flow.answered,
                "answered_ms": flow.answered_ms,
                "billable_s": flow.billable_s,
            }
            for direction, flow in figures.traffic.items()
        },
        "users": _users(statement.users),
        "coverage": coverage(facts, period.start, figures.as_of),
        "sampling": {pbx: facts.sampling.get(pbx, Sampling()).said() for pbx in facts.gaps},
        "reconciliation": dict(
            zip(("snapshots", "missed_starts", "missed_hangups"), facts.reconciled, strict=True)
        ),
        "clock": {
            "synchronised": facts.synchronised,
            **dict(zip(("steps", "largest_step_ms", "repeated_ms"), facts.steps, strict=True)),
        },
        **_strays(facts),
    }


def series_content(statement: Statement) -> dict[str, Any]:
    """Return the part of a minute-series' `data` that states figures; its period is one local day."""
    facts, figures = statement.facts, statement.figures
    whole = (figures.period.end - figures.period.start) // 60_000
    minutes = {}
    for level, found in figures.levels.items():
        runs = [[count, high] for count, high in found.series]
        left = whole - sum(count for count, _ in found.series)
        minutes[level.value] = [*runs, [left, None]] if left else runs
    return {
        "definition": DEFINITION,
        "tenant": {"id": facts.tenant, "name": facts.name},
        "day": _period(figures.period, statement.tz),
        "minutes": minutes,
    }


def coverage(facts: Facts, start: Instant, as_of: Instant) -> dict[str, Any]:
    """Return what was seen of `[start, as_of)` and what was not, with each PBX's gaps."""
    gaps = unseen(facts.gaps, facts.terms, start, as_of)
    total_ms = sum(end - begin for begin, end in merged(gaps, start, as_of))
    longest = sorted(gaps, key=lambda gap: gap.start - end_of(gap))[:MOST]
    return {
        "expected_ms": as_of - start,
        "observed_ms": as_of - start - total_ms,
        "gaps": {
            "count": len(gaps),
            "total_ms": total_ms,
            "list": [
                {"pbx": gap.pbx, "start": iso(gap.start), "end": iso(end_of(gap)), "cause": gap.cause.value}
                for gap in sorted(longest, key=lambda gap: (gap.start, gap.pbx, gap.row))
            ],
        },
    }


def _period(period: Period, tz: tzinfo) -> dict[str, str]:
    return {
        "name": period.name,
        "start": iso(period.start),
        "end": iso(period.end),
        "timezone": str(tz),
    }


def _level(statement: Statement, found: LevelFigures, *, evidence: bool) -> dict[str, Any]:
    figures = statement.figures
    peak = found.peak
    filled = statement.facts.filled
    # Call records count whole seconds: a level out of them is not the last word.
    sampled = any_sampled(_sampling(statement.facts))
    lower_bound = figures.observed_ms < figures.expected_ms or bool(filled) or sampled
    if peak is None:
        return {
            "peak": None, "peak_at": None, "peak_ms": None, "peak_source": None, "lower_bound": lower_bound,
            "evidence": None, "time_at_level_ms": None, "daily_peaks": None,
            "minute_peak_percentiles": None, "busy_hour": None,
        }  # fmt: skip
    return {
        "peak": peak.level,
        "peak_at": None if peak.at is None else iso(peak.at),
        "peak_ms": peak.ms,
        "peak_source": _source(peak, statement.facts),
        "lower_bound": lower_bound,
        "evidence": _evidence(statement.facts, peak.at) if evidence and peak.at is not None else None,
        "time_at_level_ms": {str(value): ms for value, ms in found.time_at_level_ms.items()},
        "daily_peaks": found.daily_peaks,
        "minute_peak_percentiles": {str(p): value for p, value in found.percentiles.items()},
        "busy_hour": None
        if found.busy_hour is None
        else {"start": iso(found.busy_hour[0]), "mean_milli": found.busy_hour[1]},
    }


def _sampling(facts: Facts) -> Iterable[Sampling]:
    return (facts.sampling[pbx] for pbx in facts.gaps if pbx in facts.sampling)


def _peak_by(statement: Statement, level: Level) -> dict[str, Any]:
    """Return the peak by polls and by call records, where there are both."""
    if statement.compared is None:
        return {}
    billed, other = (figures.levels[level].peak for figures in (statement.figures, statement.compared))
    by_log = any(one.peak_from == "call_log" for one in _sampling(statement.facts))
    polls, log = (other, billed) if by_log else (billed, other)
    return {
        "peak_by": {
            "polls": None if polls is None else polls.level,
            "call_log": None if log is None else log.level,
        }
    }


def _source(peak: Peak, facts: Facts) -> str:
    at = peak.at
    if at is not None and any(start <= at < end for _, start, end in facts.filled):
        return Source.CALL_LOG.value
    if peak.source is Source.SEEN and any_sampled(_sampling(facts)):
        told = at is not None and any(
            leg.start <= at < end_of(leg) and leg.start_known is Known.CALL_LOG for leg in facts.legs
        )
        return (Source.CALL_LOG if told else Source.SAMPLED).value
    return peak.source.value


def _evidence(facts: Facts, at: Instant) -> dict[str, Any]:
    """Return the legs that are known to be up at an instant, oldest first, with a hash over all of them."""
    up = [
        {
            "pbx": leg.pbx,
            "leg": leg.leg,
            "trunk": leg.trunk or leg.endpoint,
            "direction": leg.direction.value,
            "since": iso(leg.start),
        }
        for leg in sorted(facts.legs, key=lambda leg: (leg.start, leg.row))
        if leg.start <= at < end_of(leg)
        and any(start <= at < end for start, end in presence(leg, facts.gaps.get(leg.pbx, ())))
    ]
    return {
        "total": len(up),
        "sha256": hashlib.sha256(canonical_bytes(up)).hexdigest(),
        "legs": up[:MOST_EVIDENCE],
    }


def _capacity(figures: Figures) -> dict[str, Any]:
    start = figures.period.start
    last = figures.history[-1] if figures.history else None
    basis = last.basis if last else Level.CHANNELS
    peak = figures.levels[basis].peak
    history: list[tuple[Instant, int | None]] = []
    for terms in figures.history:
        if not history or history[-1][1] != terms.lines:
            history.append((max(terms.at, start), terms.lines))
    overruns = figures.overruns
    return {
        "basis": basis.value,
        "lines": last.lines if last else None,
        "history": [{"from": iso(at), "lines": lines} for at, lines in history[-MOST:]],
        "overruns": None
        if overruns is None
        else {
            "count": overruns.count,
            "total_ms": overruns.total_ms,
            "worst": [
                {"start": iso(o.start), "end": iso(o.end), "peak": o.peak} for o in overruns.worst[:MOST]
            ],
        },
        "smallest_fitting_package": smallest_package(
            last.packages if last else (), peak.level if peak else None
        ),
    }


def _users(found: UserFigures) -> dict[str, Any]:
    return {
        "at_close": found.at_close,
        "max": found.max,
        "created": found.created,
        "removed": found.removed,
        "failed_reads": found.failed_reads,
        "pbxs": {
            name: {
                "count": pbx.count,
                "read_at": iso(pbx.read_at),
                "source": pbx.source,
                "pbx_own_count": pbx.pbx_own_count,
            }
            for name, pbx in list(found.pbxs.items())[:MOST]
        },
    }


def _strays(facts: Facts) -> dict[str, Any]:
    if facts.strays is None:
        return {"unclassified": None, "unassigned": None}
    unclassified = [leg for leg in facts.strays if leg.trunk is None]
    endpoints = sorted({leg.endpoint for leg in unclassified})
    return {
        "unclassified": {"legs": len(unclassified), "endpoints": endpoints[:MOST]},
        "unassigned": {
            "legs": len(facts.strays) - len(unclassified),
            "users": facts.stray_users,
        },
    }
