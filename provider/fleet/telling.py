"""What of the findings is told, and when it is over: each once, both damped. Pure.

- A finding is told once it has stood for `BEGINS_MS`: after the receiver was away for
  hours all agents look silent for some minutes.
- It is over once it has been away for `ENDS_MS`; one that comes back before that never
  went, and nothing is said.
- Nothing is told twice, whatever order the findings come in and however often anybody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, tzinfo
from typing import Final, Protocol

from meter import periods
from meter.model import Instant
from meter.periods import HOUR_MS
from provider.closings import Letter
from provider.fleet.findings import Finding, Key, implied
from provider.fleet.sights import Sight

BEGINS_MS: Final = HOUR_MS
ENDS_MS: Final = 12 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of a finding.

    Attributes:
        name: The tenant's as people know it, or "".
        since: Since when it is so: as the books tell, else the look that saw it first.
        seen_at: The look that saw it first.
        told_at: When it was told; None: not yet.
        gone_at: The look that missed it first; None: it stands.
    """

    name: str
    since: Instant
    seen_at: Instant
    told_at: Instant | None = None
    gone_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What there is to tell.

    Attributes:
        begun: Findings that are new to the reader, the worst first.
        over: What was told before and is so no more, with what was remembered of it.
        standing: How many others still stand that were told before.
    """

    begun: tuple[Finding, ...]
    over: tuple[tuple[Key, Kept], ...]
    standing: int

    @property
    def nothing(self) -> bool:
        """Whether there is nothing new to say."""
        return not self.begun and not self.over


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the books remember. `told_at`: when a mail was last due; None: never."""

    kept: Mapping[Key, Kept]
    told_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be remembered from now on, and what has to leave with it."""

    kept: Mapping[Key, Kept]
    told_at: Instant | None
    letters: tuple[Letter, ...] = ()


class FleetBooks(Protocol):
    """The books, as far as the fleet is looked at."""

    async def sights(self, now: Instant) -> Sequence[Sight]:
        """Return what is known of every agent, by id; capacities are those of the contracts in force at `now`."""
        ...

    async def remembered(self) -> Remembered:
        """Return what is remembered of findings."""
        ...

    async def turn(self, rule: Callable[[Remembered], Turn], now: Instant) -> Turn:
        """Let the rule say what is remembered and what leaves, and write both in one transaction, one at a time."""
        ...


def remember(found: Iterable[Finding], kept: Mapping[Key, Kept], now: Instant) -> dict[Key, Kept]:
    """Return what is remembered after a look that tells nobody.

    Args:
        found: What the look found.
        kept: What was remembered before it.
        now: When it looked.
    """
    standing = {finding.key: finding for finding in found}
    after = {}
    for key, finding in standing.items():
        before = kept.get(key)
        if before is None:
            since = now if finding.since is None else finding.since
            after[key] = Kept(finding.name, since, now)
        else:
            after[key] = replace(before, name=finding.name, gone_at=None)
    for key, before in kept.items():
        if key in standing or before.told_at is None:
            continue  # what was never told goes without a word
        after[key] = before if before.gone_at is not None else replace(before, gone_at=now)
    return after


def tell(found: Iterable[Finding], kept: Mapping[Key, Kept], now: Instant) -> tuple[News, dict[Key, Kept]]:
    """Return what there is to tell now, and what is remembered once it is told.

    What goes without saying beside something worse waits until that is over.

    Args:
        found: What a look found, the worst first.
        kept: What is remembered after that look (`remember`).
        now: When it is told.
    """
    over = {key: one for key, one in kept.items() if one.gone_at is not None and now - one.gone_at >= ENDS_MS}
    told = {key for key, one in kept.items() if one.told_at is not None and key not in over}
    ripe = [
        finding
        for finding in found
        if finding.key not in told and now - kept[finding.key].seen_at >= BEGINS_MS
    ]
    known = told | {finding.key for finding in ripe}
    begun = tuple(finding for finding in ripe if not implied(finding.key, known))
    ended = tuple((key, one) for key, one in sorted(over.items()) if not implied(key, known | over.keys()))
    shown = {finding.key for finding in begun}
    after = {
        key: replace(one, told_at=now) if key in shown else one
        for key, one in kept.items()
        if key not in over
    }
    still = [key for key in told if kept[key].gone_at is None and not implied(key, known)]
    return News(begun, ended, len(still)), after


def due(now: Instant, *, at: time, tz: tzinfo, told_at: Instant | None) -> bool:
    """Tell whether the day's mail is due: its hour has passed since it was last looked for.

    Args:
        now: The present instant.
        at: The local time of day at which it goes.
        tz: Where that is.
        told_at: When a mail was last due; None: never.
    """
    return told_at is None or told_at < slot(now, at=at, tz=tz)


def slot(now: Instant, *, at: time, tz: tzinfo) -> Instant:
    """Return the last instant at or before now at which the day's mail goes."""
    today = periods.moment(now, tz).date()
    days = (today - timedelta(days=back) for back in range(3))
    # Compared as instants: a time of day may not exist, or twice, on the day the clocks change.
    slots = (periods.instant(datetime.combine(day, at, tz)) for day in days)
    return next(found for found in slots if found <= now)
