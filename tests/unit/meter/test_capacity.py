"""Section 9 of the definition, line by line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import pytest

from meter.capacity import CALM_MS, Decision, Limits, Watch, due_in, judge, smallest_package
from meter.notices import NoticeKind, Reason

MINUTE = 60_000
HOUR = 60 * MINUTE
LIMITS = Limits(lines=10, warn_at=90, repeat_ms=4 * HOUR)


@dataclass
class Told:
    """A tenant whose level is judged whenever it changes; the memory goes through JSON each time."""

    limits: Limits = LIMITS
    at: int = 0
    watch: Watch | None = None
    decisions: list[Decision] = field(default_factory=list)

    def level(
        self, level: int, *, after: int = 0, observed: bool = True, period: str = "2026-11"
    ) -> Decision | None:
        self.at += after
        kept = None if self.watch is None else Watch(**json.loads(json.dumps(asdict(self.watch))))
        self.watch, decision = judge(
            kept, self.limits, period=period, at=self.at, level=level, observed=observed
        )
        if decision is not None:
            self.decisions.append(decision)
        return decision


def kind(decision: Decision | None) -> tuple[NoticeKind, Reason] | None:
    return None if decision is None else (decision.kind, decision.reason)


def test_over_is_said_at_the_instant() -> None:
    """At the capacity nobody is over it; one more, and it is said at that very instant."""
    told = Told(Limits(10, warn_at=100))
    assert kind(told.level(10, after=5)) == (NoticeKind.WARNING, Reason.FIRST)

    over = told.level(11, after=7)

    assert over == Decision(NoticeKind.OVER, Reason.FIRST, 12, 11)
    assert told.watch is not None
    assert (told.watch.over_since, told.watch.episode_start, told.watch.episode_peak) == (12, 12, 11)


@pytest.mark.parametrize(
    ("lines", "warn_at", "level", "warned"),
    [
        (10, 90, 8, False), (10, 90, 9, True), (16, 90, 14, False), (16, 90, 15, True), (1, 100, 0, False),
        (1, 100, 1, True), (3, 67, 2, False), (3, 66, 2, True), (10, 1, 1, True), (10, 1, 0, False),
    ],
)  # fmt: skip
def test_a_warning_is_exact(lines: int, warn_at: int, level: int, warned: bool) -> None:
    """A warning comes when 100 * level >= warn_at * capacity, in whole numbers, and not before."""
    assert (kind(Told(Limits(lines, warn_at)).level(level)) == (NoticeKind.WARNING, Reason.FIRST)) is warned


def test_over_is_no_warning() -> None:
    """Straight over the capacity there is one notice, that it is over."""
    told = Told()
    told.level(12)

    assert [d.kind for d in told.decisions] == [NoticeKind.OVER]


def test_a_warning_is_not_said_twice() -> None:
    """A level that stays near the capacity, or comes back to it within `repeat`, is said once."""
    told = Told()
    for level in (9, 10, 9, 0, 9, 10):
        told.level(level, after=MINUTE)
    assert len(told.decisions) == 1

    told.level(0, after=4 * HOUR)

    assert kind(told.level(9, after=1)) == (NoticeKind.WARNING, Reason.REPEAT)


def test_over_again_is_said_once_per_repeat() -> None:
    """Within an episode another overrun is told only when `repeat` has passed since the last notice."""
    told = Told()
    told.level(11)
    for _ in range(23):
        assert told.level(3, after=5 * MINUTE) is None
        assert told.level(12, after=5 * MINUTE) is None  # 3 h 50 min in all

    told.level(3, after=5 * MINUTE)

    assert kind(told.level(12, after=5 * MINUTE)) == (NoticeKind.OVER, Reason.REPEAT)
    assert told.decisions[1].at - told.decisions[0].at == 4 * HOUR


def test_an_episode_ends_after_fifteen_calm_minutes() -> None:
    """15 minutes at or below the capacity end the episode, to the millisecond, with one notice."""
    told = Told()
    told.level(11)
    told.level(10, after=MINUTE)
    assert told.level(10, after=CALM_MS - 1) is None

    ended = told.level(10, after=1)

    assert kind(ended) == (NoticeKind.ENDED, Reason.EPISODE_ENDED)
    assert told.watch is not None
    assert told.watch.episode_start is None
    assert told.level(3, after=HOUR) is None
    assert kind(told.level(11, after=1)) == (NoticeKind.OVER, Reason.FIRST)  # a new episode: said at once


def test_an_overrun_begins_the_calm_anew() -> None:
    """The 15 minutes are unbroken: any overrun in between, told or not, makes them start again."""
    told = Told()
    told.level(11)
    told.level(10, after=MINUTE)
    told.level(11, after=14 * MINUTE)
    told.level(10, after=1)
    assert told.level(10, after=14 * MINUTE) is None

    assert kind(told.level(10, after=MINUTE)) == (NoticeKind.ENDED, Reason.EPISODE_ENDED)


def test_gaps_do_not_calm() -> None:
    """Time that was not observed, however long, brings an episode no nearer to its end."""
    told = Told()
    told.level(11)
    told.level(0, after=MINUTE)
    told.level(0, after=10 * MINUTE)
    assert told.level(0, after=1, observed=False) is None
    assert told.level(0, after=24 * HOUR) is None  # observed again, but not in between
    assert told.level(0, after=5 * MINUTE - 1) is None

    assert kind(told.level(0, after=1)) == (NoticeKind.ENDED, Reason.EPISODE_ENDED)


def test_no_warning_within_an_episode() -> None:
    """Between overruns of one episode a level near the capacity is not worth another mail."""
    told = Told()
    told.level(11)
    for _ in range(5):
        assert told.level(9, after=MINUTE) is None
        assert told.level(2, after=MINUTE) is None


def test_a_new_period_re_arms_everything() -> None:
    """At the start of a period an overrun and a warning are news again, whatever was said before."""
    told = Told()
    told.level(11)
    assert kind(told.level(11, after=MINUTE, period="2026-12")) == (NoticeKind.OVER, Reason.FIRST)

    told = Told()
    told.level(9)
    assert kind(told.level(9, after=MINUTE, period="2026-12")) == (NoticeKind.WARNING, Reason.FIRST)


def test_another_capacity_re_arms_everything() -> None:
    """When the capacity changes an overrun is news again, and an episode under the old one is forgotten."""
    told = Told()
    told.level(30)
    told.limits = Limits(20)
    assert kind(told.level(30, after=1)) == (NoticeKind.OVER, Reason.FIRST)
    told.limits = Limits(40)

    assert told.level(30, after=1) is None
    assert told.watch is not None
    assert told.watch.episode_start is None


def test_due_in_knows_when_time_alone_speaks() -> None:
    """While nothing changes, the next notice comes exactly when `due_in` said it would, or never."""
    told = Told()
    told.level(11)
    assert told.watch is not None
    assert due_in(told.watch, LIMITS) == 4 * HOUR
    told.level(2, after=HOUR)
    due = due_in(told.watch, LIMITS)
    assert due == CALM_MS
    assert told.level(2, after=due - 1) is None
    assert due_in(told.watch, LIMITS) == 1
    assert told.level(2, after=1) is not None

    assert due_in(told.watch, LIMITS) is None


@pytest.mark.parametrize(
    ("peak", "package"), [(None, None), (0, 4), (4, 4), (5, 8), (17, 24), (48, 48), (49, None)]
)
def test_the_smallest_package_that_fits(peak: int | None, package: int | None) -> None:
    """It is the smallest configured package >= the peak; none if none fits or nothing is known."""
    assert smallest_package((4, 8, 16, 24, 32, 48), peak) == package
    assert smallest_package((), peak) is None
