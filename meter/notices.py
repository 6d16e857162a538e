"""What is said when a tenant is over its capacity, near it, or back below it.

A notice is a value made once, when `meter.capacity` decides to speak; mail and
webhook are made from it and from nothing else. It holds figures only: no
telephone number, no address.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from meter.model import Instant, Level


class NoticeKind(StrEnum):
    """What happened. No kind blocks a call; nothing does."""

    OVER = "over"  #: the level exceeds the capacity
    WARNING = "warning"  #: the level is at or above `warn_at` per cent of it, not over
    ENDED = "ended"  #: the episode is over: 15 observed minutes at or below the capacity


class Reason(StrEnum):
    """Why it is said now."""

    FIRST = "first"  #: first of its kind in this episode
    REPEAT = "repeat"  #: over again within the episode, and `repeat` has passed
    EPISODE_ENDED = "episode_ended"
    TOLD_LATE = "told_late"  #: call records told it after the fact: polls had not seen it, or there are none


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice about one tenant.

    Attributes:
        id: Deterministic and unique for ever: `<agent>/<tenant>/<period name>/notice/<number>`.
        kind, reason: What, and why now.
        agent: The agent's id.
        tenant, tenant_name: Whose level; the name as people know it.
        basis: Which level the contract bills.
        level: That level at `at`. For `ended`: the level now.
        capacity: Lines in force at `at`, >= 1.
        at: When it happened, to the millisecond.
        over_since: When the present overrun began; None unless the level is over now. Told
            late: when the overrun began that was told.
        episode_start: When the episode began; None for a warning outside an episode.
        episode_peak: The highest level of the episode so far, None as above.
        period, period_start, period_end, timezone: The billing period it falls into.
        peak, peak_at: The period's peak of the basis level so far; None if nothing was observed.
        overruns, overruns_ms: How often and how long over capacity this period so far,
            the running overrun included.
        package: The smallest configured package >= the period's peak; None if none fits.
        packages: All configured packages, ascending; empty if none are configured.
        warn_at: Per cent of the capacity at which a warning is given.
        incomplete: A gap touches the period: the figures are lower bounds.
    """

    id: str
    kind: NoticeKind
    reason: Reason
    agent: str
    tenant: str
    tenant_name: str
    basis: Level
    level: int
    capacity: int
    at: Instant
    over_since: Instant | None
    episode_start: Instant | None
    episode_peak: int | None
    period: str
    period_start: Instant
    period_end: Instant
    timezone: str
    peak: int | None
    peak_at: Instant | None
    overruns: int
    overruns_ms: int
    package: int | None
    packages: tuple[int, ...]
    warn_at: int
    incomplete: bool
