"""A look at the fleet: what the books say and the present instant -> what needs a hand. Pure.

A finding is said about an agent, or about one tenant of it. It says nothing about
what is not known: an agent that never stated a clock has no clock that is off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from meter.model import Instant
from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS
from provider.books import KeyState
from provider.fleet.findings import Finding, Key, Kind
from provider.fleet.sights import Sight, Statement

#: The interval of an agent that has not stated one: the agent's own default.
INTERVAL_MS: Final = HOUR_MS
#: So long a contradiction stands after the last record that contradicted.
CONTRADICTED_MS: Final = 7 * DAY_MS
#: So long an agent whose keys were all withdrawn is missed; then it is taken for gone.
MISSED_MS: Final = 35 * DAY_MS
#: So long after its period a statement, final or interim, still says how things are, if nothing newer came.
FRESH_MS: Final = DAY_MS
#: A record can't be from the future: how far the clocks of both sides may differ.
AHEAD_MS: Final = 2 * MINUTE_MS

Version: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something is worth a word.

    Attributes:
        intervals: Silent after so many of its own intervals.
        coverage_percent: Coverage below it is named; the first day of a period counts as a whole one.
        warn_at: Close to the capacity, in per cent of it.
        version_at_least: Older ones are named; None: older than the newest in the fleet.
        key_days: So long before its end a key is named.
    """

    intervals: int = 3
    coverage_percent: int = 99
    warn_at: int = 80
    version_at_least: str | None = None
    key_days: int = 14


def look(sights: Sequence[Sight], limits: Limits, now: Instant) -> tuple[Finding, ...]:
    """Return what needs a hand, the worst first.

    Args:
        sights: Every agent.
        limits: From where on.
        now: The present instant.
    """
    wanted = version(limits.version_at_least) if limits.version_at_least else _newest(sights)
    found = [
        finding for sight in sights if not _gone(sight, now) for finding in _of(sight, limits, wanted, now)
    ]
    order = {kind: place for place, kind in enumerate(Kind)}
    return tuple(sorted(found, key=lambda one: (order[one.key.kind], -one.weight, one.key)))


def gone(sights: Iterable[Sight], now: Instant) -> frozenset[str]:
    """Return the agents that were taken out of service: they are looked at no more."""
    return frozenset(sight.agent for sight in sights if _gone(sight, now))


def version(text: str) -> Version | None:
    """Return a version's numbers; None: it is not one of a release (`0.2.0.dev1`, `unknown`)."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}", text) else None


def _newest(sights: Sequence[Sight]) -> Version | None:
    found = (version(sight.version) for sight in sights if sight.version)
    return max(filter(None, found), default=None)


def _good(sight: Sight, now: Instant) -> list[Instant | None]:
    """Return the planned ends of the keys that an agent may sign with now."""
    return [
        key.ends_at
        for key in sight.keys
        if key.state is KeyState.ACTIVE and (key.ends_at is None or key.ends_at > now)
    ]


def _gone(sight: Sight, now: Instant) -> bool:
    """An agent without a good key that has long said nothing was taken out of service."""
    last = max(sight.heard_at or 0, sight.enrolled_at or 0)
    return not _good(sight, now) and now - last > MISSED_MS


def _fresh(stated: Statement, now: Instant) -> bool:
    """Whether a statement is of the present: one of a month long past is what a tenant that left leaves behind."""
    return now - stated.period_end <= FRESH_MS


def _of(sight: Sight, limits: Limits, wanted: Version | None, now: Instant) -> Iterator[Finding]:
    yield from _contradictions(sight, now)
    yield from _keys(sight, limits, now)
    yield from _silence(sight, limits, now)
    yield from _holes(sight)
    if sight.newest is not None:
        yield from _clock(sight.agent, sight.newest)
        yield from _old(sight.agent, sight.newest, wanted)
    for stated in sight.statements:
        if _fresh(stated, now):
            yield from _figures(sight.agent, stated, limits)


def _contradictions(sight: Sight, now: Instant) -> Iterator[Finding]:
    fresh = [one for one in sight.contradictions if now - one.last_at <= CONTRADICTED_MS]
    if fresh:
        count = sum(one.count for one in fresh)
        figures: dict[str, int | str] = {
            "count": count,
            "error": "+".join(sorted(one.error for one in fresh)),
            "last_at": max(one.last_at for one in fresh),
        }
        since = min(one.first_at for one in fresh)
        yield Finding(Key(Kind.CONTRADICTED, sight.agent), "", since, count, figures)


def _keys(sight: Sight, limits: Limits, now: Instant) -> Iterator[Finding]:
    """An agent without a good key, or whose last good one ends soon."""
    good = _good(sight, now)
    if not good:
        ended = max((key.ends_at for key in sight.keys if key.ends_at is not None), default=None)
        yield Finding(Key(Kind.KEYLESS, sight.agent), "", ended)
        return
    ends = [at for at in good if at is not None]
    if len(ends) == len(good) and max(ends) - now <= limits.key_days * DAY_MS:
        left = max(ends) - now
        yield Finding(
            Key(Kind.KEY_ENDS, sight.agent), "", None, -left, {"ends_at": max(ends), "left_ms": left}
        )


def _silence(sight: Sight, limits: Limits, now: Instant) -> Iterator[Finding]:
    """An agent that sends nothing, and tenants that it sends nothing about.

    What counts is when something came: an agent that catches up is not silent. A tenant
    whose newest statement is a final may have been taken out of the configuration; so has
    one whose period is long over: its final is missing, and the month says so.
    """
    stated = [one.next_by - one.as_of for one in sight.statements if one.next_by is not None]
    interval = max((ms for ms in stated if ms > 0), default=INTERVAL_MS)
    last = sight.heard_at if sight.heard_at is not None else sight.enrolled_at
    if last is not None and now - last > limits.intervals * interval:
        figures = {"silent_ms": now - last, "interval_ms": interval}
        if sight.heard_at is not None:
            figures["heard_at"] = sight.heard_at
        yield Finding(Key(Kind.SILENT, sight.agent), "", last, now - last, figures)
    for one in sight.statements:
        if one.interim and _fresh(one, now) and now - one.taken_at > limits.intervals * interval:
            yield Finding(
                Key(Kind.UNREPORTED, sight.agent, one.tenant),
                one.name,
                one.taken_at,
                now - one.taken_at,
                {"silent_ms": now - one.taken_at, "interval_ms": interval, "as_of": one.as_of},
            )


def _holes(sight: Sight) -> Iterator[Finding]:
    if sight.missing:
        chain, first, last = sight.missing[-1]
        count = sum(last - first + 1 for _, first, last in sight.missing)
        yield Finding(
            Key(Kind.HOLE, sight.agent),
            "",
            None,
            count,
            {"count": count, "first": first, "last": last, "chain": chain},
        )


def _clock(agent: str, stated: Statement) -> Iterator[Finding]:
    ahead = stated.as_of - stated.taken_at
    if ahead > AHEAD_MS or stated.synchronised is False:
        figures = {"ahead_ms": ahead} if ahead > AHEAD_MS else {}
        yield Finding(Key(Kind.CLOCK, agent), "", None, max(ahead, 0), figures)


def _old(agent: str, stated: Statement, wanted: Version | None) -> Iterator[Finding]:
    here = version(stated.version)
    if here is not None and wanted is not None and here < wanted:
        newest = ".".join(map(str, wanted))
        yield Finding(Key(Kind.OLD, agent), figures={"version": stated.version, "newest": newest})


def _figures(agent: str, stated: Statement, limits: Limits) -> Iterator[Finding]:
    """What a statement's own figures say."""

    def found(kind: Kind, weight: int, **figures: int | str) -> Finding:
        return Finding(Key(kind, agent, stated.tenant), stated.name, None, weight, figures)

    # Integers throughout; a period's first hours must not make a small gap large.
    whole = max(stated.expected_ms, DAY_MS)
    if 100 * stated.unseen_ms > (100 - limits.coverage_percent) * whole:
        yield found(
            Kind.COVERAGE,
            1000 * stated.unseen_ms // whole,
            unseen_ms=stated.unseen_ms,
            expected_ms=stated.expected_ms,
        )
    if stated.peak is not None and stated.capacity:
        share = 100 * stated.peak // stated.capacity
        figures: dict[str, int | str] = {
            "peak": stated.peak,
            "capacity": stated.capacity,
            "share": share,
            "basis": stated.basis,
        }
        if stated.peak > stated.capacity:
            yield found(Kind.OVER, share, **figures)
        if 100 * stated.peak >= limits.warn_at * stated.capacity:
            yield found(Kind.NEAR, share, **figures)
    if stated.unclassified:
        yield found(Kind.UNCLASSIFIED, stated.unclassified, legs=stated.unclassified)
