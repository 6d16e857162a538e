"""Periods, days and hours: consecutive and half-open, whatever the zone does to its clocks."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from meter.periods import (
    DAY_MS,
    HOUR_MS,
    KINDS,
    Period,
    days,
    following,
    hours,
    instant,
    iso,
    moment,
    named,
    period_of,
)

#: Zones that change their clocks at midnight, at one, at two, at three, by half an hour, or never.
ZONES = [
    "UTC", "Europe/Amsterdam", "Europe/Lisbon", "America/New_York", "America/Santiago", "America/Havana",
    "America/Nuuk", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca", "Asia/Kathmandu", "Asia/Gaza",
    "Atlantic/Azores", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia", "America/St_Johns",
]  # fmt: skip


def at(text: str) -> int:
    return instant(datetime.fromisoformat(text))


@pytest.mark.parametrize("zone", ZONES)
def test_periods_follow_on_from_each_other(zone: str) -> None:
    """Days and months of two years have no hole and no overlap, and each is found again by its name."""
    tz = ZoneInfo(zone)
    for kind, many in (("day", 760), ("month", 30)):
        period = period_of(at("2025-12-31T12:00Z"), kind, tz)
        for _ in range(many):
            after = period_of(period.end, kind, tz)
            assert after == following(period, kind, tz)
            assert after.start == period.end < after.end
            assert named(period.name, kind, tz) == period
            for inside in (period.start, (period.start + period.end) // 2, period.end - 1):
                assert period_of(inside, kind, tz) == period
            assert moment(period.start, tz).strftime("%Y-%m-%d").startswith(period.name)
            assert moment(period.end - 1, tz).strftime("%Y-%m-%d").startswith(period.name)
            period = after


@pytest.mark.parametrize(
    ("zone", "day", "length_h"),
    [
        ("Europe/Amsterdam", "2026-03-29", 23),
        ("Europe/Amsterdam", "2026-10-25", 25),
        ("America/Santiago", "2026-09-06", 23),  # 24:00 -> 01:00: the day has no midnight
        ("America/Santiago", "2026-04-04", 25),  # 24:00 -> 23:00: its last hour comes twice
        ("Asia/Beirut", "2026-03-29", 23),
        ("Asia/Beirut", "2026-10-24", 25),
        ("Africa/Cairo", "2026-04-24", 23),
        ("Africa/Cairo", "2026-10-29", 25),
        ("America/Havana", "2026-11-01", 25),  # 01:00 -> 00:00: midnight comes twice, the first one counts
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, length_h: float) -> None:
    """The day of a clock change has 23, 24.5 or 25 hours, and its hours cover it without an overlap."""
    tz = ZoneInfo(zone)
    found = named(day, "day", tz)

    assert found.end - found.start == length_h * HOUR_MS
    assert period_of(found.start - 1, "day", tz).name != day
    starts = [*hours(found.start, found.end, tz), found.end]
    assert starts[0] == found.start
    assert all(0 < b - a <= HOUR_MS for a, b in pairwise(starts))
    assert sum(b - a == HOUR_MS for a, b in pairwise(starts)) >= int(length_h) - 1


def test_a_repeated_hour_is_two_hours() -> None:
    """The hour that summer time's end repeats stands twice in the list, one hour apart."""
    tz = ZoneInfo("Europe/Amsterdam")
    day = named("2026-10-25", "day", tz)

    local = [moment(start, tz).hour for start in hours(day.start, day.end, tz)]

    assert local == [0, 1, 2, 2, *range(3, 24)]


def test_hours_follow_the_local_clock() -> None:
    """A zone that is 5:45 ahead has clock hours that start at a quarter past, UTC."""
    tz = ZoneInfo("Asia/Kathmandu")
    start = at("2026-11-21T20:00Z")

    assert [iso(h)[11:16] for h in hours(start, start + HOUR_MS, tz)] == ["19:15", "20:15"]


def test_months_of_amsterdam() -> None:
    """A calendar month in the tenant's zone is an hour shorter in March and longer in October."""
    tz = ZoneInfo("Europe/Amsterdam")

    found = period_of(at("2026-11-12T09:31:07.412Z"), "month", tz)

    assert found == Period("2026-11", at("2026-10-31T23:00Z"), at("2026-11-30T23:00Z"))
    assert named("2026-03", "month", tz).end - named("2026-03", "month", tz).start == 31 * DAY_MS - HOUR_MS
    assert named("2026-10", "month", tz).end - named("2026-10", "month", tz).start == 31 * DAY_MS + HOUR_MS


@pytest.mark.parametrize(("kind", "length"), [("hour", HOUR_MS), ("5min", 300_000)])
def test_short_periods_are_utc(kind: str, length: int) -> None:
    """`hour` and `5min` are named by their UTC start in any zone, also where clocks differ by quarters."""
    for zone in ("Asia/Kathmandu", "America/Santiago"):
        found = period_of(at("2026-11-21T20:07:30Z"), kind, ZoneInfo(zone))
        assert found.end - found.start == length
        assert found.start % length == 0
        assert named(found.name, kind, ZoneInfo(zone)) == found
    assert found.name == ("2026-11-21T20:05Z" if kind == "5min" else "2026-11-21T20:00Z")


@pytest.mark.parametrize(
    ("before", "kind"),
    [(before, kind) for before in KINDS for kind in KINDS],
)
def test_another_kind_follows_on(before: str, kind: str) -> None:
    """After a change of kind the next period starts where the last one ended, and ends where its kind does."""
    tz = ZoneInfo("Europe/Amsterdam")
    last = period_of(at("2026-11-12T09:31Z"), before, tz)

    after = following(last, kind, tz)

    assert after.start == last.end
    assert after.end == period_of(last.end, kind, tz).end
    assert following(after, kind, tz).start == after.end


@pytest.mark.parametrize("kind", ["month", "day"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Europe/Amsterdam", "America/New_York"),
        ("America/New_York", "Europe/Amsterdam"),
        ("Pacific/Kiritimati", "Pacific/Pago_Pago"),
        ("Europe/Amsterdam", "Europe/Lisbon"),
    ],
)
def test_another_zone_follows_on(kind: str, old: str, new: str) -> None:
    """After a change of zone there is no hole and no overlap, and no two periods have one name."""
    here, there = ZoneInfo(old), ZoneInfo(new)
    last = period_of(at("2026-11-12T09:31Z"), kind, here)
    seen = {last.name}
    for _ in range(4):
        after = following(last, kind, there)
        assert after.start == last.end < after.end
        assert after.name not in seen, "ids of records are made from the name"
        seen.add(after.name)
        last = after


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("2026-13", "month"), ("2026-1", "month"), ("2026-11-21", "month"), ("", "month"),
        ("2026-02-30", "day"), ("2026-11", "day"), ("26-11-21", "day"),
        ("2026-11-21T20:05Z", "hour"), ("2026-11-21T20:03Z", "5min"), ("2026-11-21T20:05", "5min"),
    ],
)  # fmt: skip
def test_what_is_no_name(name: str, kind: str) -> None:
    """A name that no period of the kind has is refused, with an example of one."""
    with pytest.raises(ValueError, match="write it like 2026-11"):
        named(name, kind, ZoneInfo("Europe/Amsterdam"))


def test_a_day_that_never_was() -> None:
    """A local day that a zone left out has no period: the day before it ends where the day after begins."""
    tz = ZoneInfo("Pacific/Apia")  # went from 29 December 2011 straight to the 31st

    with pytest.raises(ValueError, match="2011-12-30"):
        named("2011-12-30", "day", tz)

    assert named("2011-12-29", "day", tz).end == named("2011-12-31", "day", tz).start


def test_days_that_touch_a_stretch() -> None:
    """Days come whole and in order; one that only ends where the stretch starts does not touch it."""
    tz: tzinfo = ZoneInfo("Europe/Amsterdam")
    start = named("2026-10-24", "day", tz).end

    assert [d.name for d in days(start, start + 1, tz)] == ["2026-10-25"]
    assert [d.name for d in days(start, start + 25 * HOUR_MS, tz)] == ["2026-10-25"]
    assert [d.name for d in days(start - 1, start + 25 * HOUR_MS + 1, tz)] == [
        "2026-10-24", "2026-10-25", "2026-10-26",
    ]  # fmt: skip
    assert list(days(start, start, tz)) == []


def test_instants_are_milliseconds() -> None:
    """A datetime is cut to the millisecond, also before 1970; a naive one is refused."""
    assert instant(datetime(2026, 11, 12, 9, 31, 7, 412_999, tzinfo=UTC)) == at("2026-11-12T09:31:07.412Z")
    assert iso(at("2026-11-12T09:31:07.412Z")) == "2026-11-12T09:31:07.412Z"
    assert instant(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
    with pytest.raises(ValueError, match="no time zone"):
        instant(datetime(2026, 11, 12))  # noqa: DTZ001 - the point of it
