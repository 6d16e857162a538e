"""From a counted record to the rows that are read: one way, for taking, rebuilding and auditing alike. Pure.

Which rows are kept does not depend on the order in which records came: finals and
corrections all; of the interims of a period the one that knows most; of the series of
a day the newest revision, and where two chains hold the same one (a restored agent
sealed it again) the elder chain's, as with finals.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from meter.model import Instant
from meter.schema import MinuteSeries, Record, UsageSummary, instant
from meter.statement import Coverage, Flow, LevelFigures

#: Grows when the rows of the same record would come out otherwise: the books then make them again.
VERSION: Final = 2

#: The columns that `key` and `outranks` look at beside what a row is about.
RANKS: Final = ("kind", "revision", "as_of", "chain", "sequence")

#: One row, column by column (`provider.storage.tables`).
Row: TypeAlias = dict[str, Any]
#: Of a summary (agent, tenant, period, kind, revision), an interim without its revision; of a series (agent, tenant, day).
Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Stood:
    """Where a record stands in the books.

    Attributes:
        agent: Whose it is.
        chain: The number of its chain among the agent's, from 1.
        sequence: Its number there.
        sha256: Its hash.
        taken_at: When it came.
    """

    agent: str
    chain: int
    sequence: int
    sha256: str
    taken_at: Instant


def summary(record: UsageSummary, stood: Stood) -> Row:
    """Return the row of `summaries` that a record makes."""
    data = record.data
    overruns = data.capacity.overruns
    row: Row = {
        "agent": stood.agent,
        "tenant": data.tenant.id,
        "period": data.period.name,
        "kind": data.kind,
        "revision": data.revision,
        "id": record.id,
        "sha256": stood.sha256,
        "chain": stood.chain,
        "sequence": stood.sequence,
        "name": data.tenant.name,
        "start": instant(data.period.start),
        "end": instant(data.period.end),
        "timezone": data.period.timezone,
        "as_of": instant(data.as_of),
        "next_by": _instant(data.next_by),
        "version": data.agent.version,
        "basis": data.capacity.basis,
        "capacity": data.capacity.lines,
        "package": data.capacity.smallest_fitting_package,
        "overruns": overruns.count if overruns else None,
        "over_ms": overruns.total_ms if overruns else None,
        "users": data.users.at_close,
        "users_max": data.users.max,
        "failed_reads": data.users.failed_reads,
        "expected_ms": data.coverage.expected_ms,
        "observed_ms": data.coverage.observed_ms,
        "gaps": data.coverage.gaps.count,
        "synchronised": _flag(data.clock.synchronised),
        "unclassified": data.unclassified.legs if data.unclassified else None,
        "unassigned": data.unassigned.legs if data.unassigned else None,
        "uninstalled_ms": _uninstalled(data.coverage),
        "taken_at": stood.taken_at,
    }
    levels, traffic = data.levels, data.traffic
    for level, figures in (
        ("channels", levels.channels),
        ("calls", levels.calls),
        ("answered", levels.answered),
    ):
        row |= _peak(level, figures)
    for way, flow in (("in", traffic.inbound), ("out", traffic.outbound), ("unknown", traffic.unknown)):
        row |= _flow(way, flow)
    return row


def series(record: MinuteSeries, stood: Stood) -> Row:
    """Return the row of `minute_series` that a record makes."""
    data = record.data
    return {
        "agent": stood.agent,
        "tenant": data.tenant.id,
        "day": data.day.name,
        "revision": data.revision,
        "sha256": stood.sha256,
        "chain": stood.chain,
        "sequence": stood.sequence,
        "start": instant(data.day.start),
        "end": instant(data.day.end),
        "timezone": data.day.timezone,
        "channels": _runs(data.minutes.channels),
        "calls": _runs(data.minutes.calls),
        "answered": _runs(data.minutes.answered),
    }


def key(row: Mapping[str, Any]) -> Key:
    """Return what a row is kept under: of those with the same key one stays."""
    if "day" in row:
        return row["agent"], row["tenant"], row["day"]
    revision = None if row["kind"] == "interim" else row["revision"]
    return row["agent"], row["tenant"], row["period"], row["kind"], revision


def outranks(fresh: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    """Say whether a row takes the place of another with the same key."""
    if "day" in fresh:
        return _order(fresh, "revision") > _order(kept, "revision")
    if fresh["kind"] == "interim":
        # The chain that the agent went on with knows better; within it the later one.
        return _known(fresh) > _known(kept)
    return False  # judged: it is counted once


def keep(kept: dict[Key, Row], record: Record, stood: Stood) -> None:
    """Let a counted record's row take its place among those that are kept, if it has one."""
    for made in rows(record, stood):
        rival = kept.get(key(made))
        if rival is None or outranks(made, rival):
            kept[key(made)] = made


def rows(record: Record, stood: Stood) -> Iterable[Row]:
    """Return what a counted record makes: one row, or none if it only changes a key."""
    if isinstance(record, UsageSummary):
        return (summary(record, stood),)
    if isinstance(record, MinuteSeries):
        return (series(record, stood),)
    return ()


def _known(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return row["as_of"], row["chain"], row["sequence"]


def _order(row: Mapping[str, Any], first: str) -> tuple[int, int, int]:
    return row[first], -row["chain"], -row["sequence"]


def _peak(level: str, figures: LevelFigures) -> Row:
    return {
        f"peak_{level}": figures.peak,
        f"peak_{level}_at": _instant(figures.peak_at),
        f"peak_{level}_ms": figures.peak_ms,
        f"peak_{level}_source": figures.peak_source,
        f"peak_{level}_lower_bound": int(figures.lower_bound),
    }


def _flow(way: str, flow: Flow) -> Row:
    return {
        f"{way}_legs": flow.legs,
        f"{way}_answered": flow.answered,
        f"{way}_answered_ms": flow.answered_ms,
        f"{way}_billable_s": flow.billable_s,
    }


def _uninstalled(coverage: Coverage) -> int:
    """Return how long any of the PBXs was not there yet: gaps `not_installed`, merged."""
    total, until = 0, 0
    gaps = [
        (instant(gap.start), instant(gap.end)) for gap in coverage.gaps.list if gap.cause == "not_installed"
    ]
    for start, end in sorted(gaps):
        total += max(0, end - max(start, until))
        until = max(until, end)
    return total


def _runs(runs: Any) -> str:
    return json.dumps(runs, separators=(",", ":"))


def _instant(text: str | None) -> int | None:
    return None if text is None else instant(text)


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)
