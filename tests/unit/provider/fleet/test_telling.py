"""Each finding is told once, and once more when it is over."""

from __future__ import annotations

from datetime import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS, moment
from meter.statement import instant as read
from provider.fleet.findings import Finding, Key, Kind, implied
from provider.fleet.telling import BEGINS_MS, ENDS_MS, News, due, remember, tell

NOW = read("2026-11-22T07:00:00.000Z")
SILENT = Finding(Key(Kind.SILENT, "ams-01"), since=NOW - 5 * HOUR_MS)
OVER = Finding(Key(Kind.OVER, "ams-01", "acme"), "ACME")
NEAR = Finding(Key(Kind.NEAR, "ams-01", "acme"), "ACME")
HOLE = Finding(Key(Kind.HOLE, "ams-02"))


class Fleet:
    """Looks every hour, and keeps what is remembered."""

    def __init__(self) -> None:
        self.now = NOW
        self.kept = {}

    def look(self, *found: Finding) -> None:
        self.kept = remember(found, self.kept, self.now)

    def hours(self, count: int, *found: Finding) -> None:
        for _ in range(count):
            self.now += HOUR_MS
            self.look(*found)

    def tell(self, *found: Finding) -> News:
        self.look(*found)
        news, self.kept = tell(found, self.kept, self.now)
        return news


def keys(news: News) -> tuple[list[Key], list[Key]]:
    return [finding.key for finding in news.begun], [key for key, _ in news.over]


def test_told_once_and_over_once():
    """Two days of silence are one word; the word that it is over comes once, with when it began."""
    fleet = Fleet()
    fleet.look(SILENT)
    fleet.hours(1, SILENT)
    assert keys(fleet.tell(SILENT)) == ([SILENT.key], [])
    fleet.hours(24, SILENT)
    news = fleet.tell(SILENT)
    assert news.nothing
    assert news.standing == 1
    fleet.hours(13)
    news = fleet.tell()
    assert keys(news) == ([], [SILENT.key])
    assert news.over[0][1].since == SILENT.since
    fleet.hours(24)
    assert fleet.tell().nothing
    assert fleet.kept == {}


def test_what_is_not_told_goes_without_a_word():
    """What stood between two letters, or for less than it takes to be told, is never heard of."""
    fleet = Fleet()
    fleet.look(HOLE)
    assert fleet.tell(HOLE).nothing
    fleet.hours(20)
    assert fleet.tell().nothing
    assert fleet.kept == {}


def test_coming_and_going_is_one_finding():
    """One that comes back before it was over never went; nothing is said."""
    fleet = Fleet()
    fleet.look(SILENT)
    fleet.hours(1, SILENT)
    fleet.tell(SILENT)
    for _ in range(10):
        fleet.hours(11)
        assert fleet.tell().nothing
        fleet.hours(1, SILENT)
        assert fleet.tell(SILENT).nothing


def test_the_weaker_word_waits():
    """Near goes without saying beside over, is said once over is over, and is not over with it."""
    fleet = Fleet()
    fleet.look(OVER, NEAR)
    fleet.hours(1, OVER, NEAR)
    assert keys(fleet.tell(OVER, NEAR)) == ([OVER.key], [])
    fleet.hours(24, NEAR)
    assert keys(fleet.tell(NEAR)) == ([NEAR.key], [OVER.key])
    fleet.hours(24, OVER, NEAR)
    assert keys(fleet.tell(OVER, NEAR)) == ([OVER.key], [])
    fleet.hours(24)
    assert keys(fleet.tell()) == ([], [OVER.key])
    assert fleet.kept == {}


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6 * HOUR_MS), st.sets(st.integers(0, 3))),
        max_size=60,
    )
)
def test_begun_and_over_take_turns(days):
    """Whatever comes and goes: of each finding begun and over are told in turns, begun first, and never two at once."""
    fleet, told = Fleet(), {}
    for telling, wait, which in days:
        found = [(SILENT, OVER, NEAR, HOLE)[one] for one in which]
        fleet.now += wait
        if not telling:
            fleet.look(*found)
            continue
        news = fleet.tell(*found)
        begun, over = keys(news)
        for key in begun:
            assert told.get(key) != "begun" or implied(key, told), key
            assert not implied(key, [other for other in begun if other != key])
            told[key] = "begun"
        for key in over:
            assert told[key] == "begun"
            told[key] = "over"
        # What came to its end beside something worse was not said: it starts afresh.
        for key in set(told) - set(fleet.kept):
            told[key] = "over"


@given(st.permutations([SILENT, OVER, NEAR, HOLE]), st.permutations([SILENT, OVER, NEAR, HOLE]))
def test_the_order_of_findings_does_not_matter(one, other):
    """The same findings in any order are told as the same news."""
    told = []
    for order in (one, other):
        fleet = Fleet()
        fleet.look(*order)
        fleet.now += BEGINS_MS
        told.append({finding.key for finding in fleet.tell(*order).begun})

    assert told[0] == told[1] == {SILENT.key, OVER.key, HOLE.key}


def test_looking_often_changes_nothing():
    """A look that tells nobody may be repeated at the same instant."""
    kept = remember([SILENT, HOLE], {}, NOW)

    assert remember([HOLE, SILENT], kept, NOW) == kept


def test_the_bounds_of_damping():
    """An hour of standing and twelve of being away are what it takes, to the millisecond."""
    kept = remember([SILENT], {}, NOW)
    assert tell([SILENT], kept, NOW + BEGINS_MS - 1)[0].nothing
    news, kept = tell([SILENT], kept, NOW + BEGINS_MS)
    assert keys(news) == ([SILENT.key], [])
    kept = remember([], kept, NOW + BEGINS_MS)
    assert tell([], kept, NOW + BEGINS_MS + ENDS_MS - 1)[0].nothing
    assert keys(tell([], kept, NOW + BEGINS_MS + ENDS_MS)[0]) == ([], [SILENT.key])


@pytest.mark.parametrize(
    ("now", "told_at", "is_due"),
    [
        ("2026-11-22T06:00:00.000Z", None, True),
        ("2026-11-22T06:00:00.000Z", "2026-11-21T06:00:00.000Z", True),
        ("2026-11-22T05:59:59.999Z", "2026-11-21T06:00:00.000Z", False),
        ("2026-11-22T23:00:00.000Z", "2026-11-22T06:00:00.000Z", False),
        ("2026-11-25T05:00:00.000Z", "2026-11-21T06:00:00.000Z", True),
    ],
)
def test_once_a_day(now, told_at, is_due):
    """A mail is due once its hour of the day has come, once; what was slept through is caught up with one."""
    amsterdam = ZoneInfo("Europe/Amsterdam")
    before = None if told_at is None else read(told_at)

    assert due(read(now), at=time(7), tz=amsterdam, told_at=before) is is_due


@given(st.integers(NOW - 400 * DAY_MS, NOW + 400 * DAY_MS))
def test_a_day_is_never_told_twice_nor_left_out(start):
    """Looked at every half hour over any four days, summer time and all: four mails, in as many local days."""
    rome, told_at, days = ZoneInfo("Europe/Rome"), start, []
    for now in range(start, start + 4 * DAY_MS, 30 * MINUTE_MS):
        if due(now, at=time(2, 30), tz=rome, told_at=told_at):
            told_at = now
            days.append(f"{moment(now, rome):%Y-%m-%d}")

    assert 3 <= len(days) <= 5
    assert len(set(days)) == len(days)
