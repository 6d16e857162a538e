"""Level against capacity: when to speak, and why. Decides; never delivers, never blocks.

Rules of this file (the definition, section 9):
- over: the level exceeds the capacity; warning: it reaches `warn_at` per cent of it;
- an episode begins with the first overrun and ends after 15 observed minutes at or
  below the capacity; within it people hear at most once per `repeat`;
- everything re-arms at the start of a period and when the capacity changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from meter.model import Instant
from meter.notices import NoticeKind, Reason

#: Observed time at or below the capacity after which an episode is over, in ms.
CALM_MS: Final = 15 * 60_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What is judged against, and how often people want to hear.

    Attributes:
        lines: The capacity, >= 1.
        warn_at: Per cent of it, 1-100.
        repeat_ms: The shortest time between two notices of one kind within an episode.
    """

    lines: int
    warn_at: int = 90
    repeat_ms: int = 4 * 3_600_000


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of one tenant between two judgements; it survives restarts as a row.

    Attributes:
        period: The period that it holds for.
        lines: The capacity that it holds for.
        judged_at: When the level was last judged.
        observed: Whether it was observed then.
        level: The level then.
        over_since: When the running overrun began; None: not over.
        episode_start: When the episode began; None: none runs.
        episode_peak: The highest level of the episode.
        calm_ms: Observed time at or below the capacity since the last overrun.
        told_at: The last over notice of the episode.
        warned_at: The last warning; None: armed.
    """

    period: str
    lines: int
    judged_at: Instant
    observed: bool = True
    level: int = 0
    over_since: Instant | None = None
    episode_start: Instant | None = None
    episode_peak: int = 0
    calm_ms: int = 0
    told_at: Instant | None = None
    warned_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A notice is due: which, and why now. `since`: told late, when the overrun began."""

    kind: NoticeKind
    reason: Reason
    at: Instant
    level: int
    since: Instant | None = None


def judge(
    watch: Watch | None, limits: Limits, *, period: str, at: Instant, level: int, observed: bool
) -> tuple[Watch, Decision | None]:
    """Judge one more instant.

    Args:
        watch: What is remembered; None: nothing yet.
        limits: What holds now.
        period: The name of the period that contains `at`.
        at: The instant; never before the last one.
        level: The basis level from `at` on.
        observed: Whether the level is observed at this instant. Time counts as calm
            between two judgements that both were: what was not seen calms nothing.

    Returns:
        What is to be remembered, and the notice that is due, or None.
    """
    if watch is None or watch.period != period or watch.lines != limits.lines:
        watch = Watch(period, limits.lines, at)
    if (
        watch.over_since is None
        and watch.episode_start is None
        and 100 * level < limits.warn_at * limits.lines
    ):
        # Nearly always: nothing runs and nothing is near. With two `replace` an event costs 44 µs instead of 32 (bench/metering.py).
        return Watch(
            watch.period, watch.lines, at, observed, level, None, None,
            watch.episode_peak, watch.calm_ms, watch.told_at, watch.warned_at,
        ), None  # fmt: skip
    calm_ms = watch.calm_ms
    if observed and watch.observed and watch.over_since is None and watch.episode_start is not None:
        calm_ms += at - watch.judged_at
    watch = replace(watch, judged_at=at, observed=observed, calm_ms=calm_ms)
    if level > limits.lines:
        return _over(watch, limits, at, level)
    return _not_over(watch, limits, at, level)


def _over(watch: Watch, limits: Limits, at: Instant, level: int) -> tuple[Watch, Decision | None]:
    first = watch.episode_start is None
    watch = replace(
        watch,
        level=level,
        over_since=at if watch.over_since is None else watch.over_since,
        episode_start=at if first else watch.episode_start,
        episode_peak=max(watch.episode_peak, level),
        calm_ms=0,
    )
    if watch.told_at is not None and at - watch.told_at < limits.repeat_ms:
        return watch, None
    reason = Reason.FIRST if first else Reason.REPEAT
    return replace(watch, told_at=at), Decision(NoticeKind.OVER, reason, at, level)


def _not_over(watch: Watch, limits: Limits, at: Instant, level: int) -> tuple[Watch, Decision | None]:
    before, watch = watch.level, replace(watch, level=level, over_since=None)
    if watch.episode_start is not None:
        if watch.calm_ms < CALM_MS:
            return watch, None
        ended = Decision(NoticeKind.ENDED, Reason.EPISODE_ENDED, at, level)
        calm = Watch(watch.period, watch.lines, at, watch.observed, level, warned_at=watch.warned_at)
        return calm, ended
    threshold = limits.warn_at * limits.lines
    if 100 * level < threshold:
        return watch, None
    if watch.warned_at is None:
        return replace(watch, warned_at=at), Decision(NoticeKind.WARNING, Reason.FIRST, at, level)
    if 100 * before < threshold and at - watch.warned_at >= limits.repeat_ms:
        return replace(watch, warned_at=at), Decision(NoticeKind.WARNING, Reason.REPEAT, at, level)
    return watch, None


def judge_late(
    watch: Watch | None, limits: Limits, *, period: str, at: Instant, since: Instant, level: int
) -> tuple[Watch, Decision | None]:
    """Judge an overrun that is only told now.

    Args:
        watch: What is remembered; None: nothing yet.
        limits: What holds now.
        period: The name of the period that contains `at`.
        at: Now; never before the last judgement.
        since: When the overrun began, in that period.
        level: How high it was.
    """
    if watch is None or watch.period != period or watch.lines != limits.lines:
        watch = Watch(period, limits.lines, at)
    if level <= limits.lines or (watch.told_at is not None and watch.told_at >= since):
        return watch, None  # it was said when it happened, or since
    if watch.told_at is not None and at - watch.told_at < limits.repeat_ms:
        return watch, None
    first = watch.episode_start is None
    watch = replace(
        watch,
        episode_start=since if first else watch.episode_start,
        episode_peak=max(watch.episode_peak, level),
        told_at=at,
    )
    return watch, Decision(NoticeKind.OVER, Reason.TOLD_LATE, at, level, since)


def due_in(watch: Watch, limits: Limits) -> int | None:
    """Return in how many ms time alone may make a notice due; None: never.

    That is: if nothing else changes, and all the time is observed, from now on.
    """
    if watch.episode_start is None:
        return None
    if watch.over_since is None:
        return max(0, CALM_MS - watch.calm_ms)
    return None if watch.told_at is None else max(0, watch.told_at + limits.repeat_ms - watch.judged_at)


def smallest_package(packages: tuple[int, ...], peak: int | None) -> int | None:
    """Return the smallest package that takes a peak; None if none does, or nothing is known."""
    if peak is None:
        return None
    return min((size for size in packages if size >= peak), default=None)
