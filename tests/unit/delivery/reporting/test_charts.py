"""What is drawn is what was measured: no bar for a day without observation, and the capacity where it belongs."""

from __future__ import annotations

import dataclasses
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from delivery.reporting import charts
from tests.unit.delivery.reporting.month import DAY, END, START, ZONE, tenant
from tests.unit.delivery.reporting.reports import tenants

AMSTERDAM = ZoneInfo(ZONE)


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_bar_ends_beyond_its_capacity_only_if_the_peak_does(peak, capacity):
    """The part within is drawn as long as the capacity at most, the part above is there if something is above."""
    bar = charts.bar(peak, capacity)

    assert bar is not None
    assert bar.within <= bar.capacity
    assert bar.within + bar.over <= charts.BAR + 2
    assert (bar.over >= 1) == (peak > capacity)
    assert bar.capacity > 0 or peak > 100 * capacity


def test_there_is_no_bar_without_both():
    """A peak that is not known and a capacity that nobody agreed on are not drawn as nothing."""
    assert charts.bar(None, 8) is None
    assert charts.bar(8, None) is None


def test_every_day_of_the_month_has_its_place():
    """Thirty days stand side by side; the one over the capacity has a part above the line."""
    drawn = charts.days(tenant("A", "a", peak=17, capacity=16, seed=1), AMSTERDAM)

    assert drawn is not None
    assert len(drawn.days) == 30
    assert [at for at, day in enumerate(drawn.days) if day.over_tall] == [11]
    assert drawn.high is not None
    assert drawn.high[2] == 17
    assert [day for _, day in drawn.ticks] == ["1", "8", "15", "22", "29"]


def test_a_day_without_observation_is_no_zero():
    """Days that are not known are marked, days to come are empty, a day with nothing up has a bar of no height."""
    usage = tenant("A", "a", peak=5, capacity=8, seed=1, as_of=START + 20 * DAY)
    known = {"2026-11-01": 0, "2026-11-02": 5, "2026-11-03": None}
    drawn = charts.days(dataclasses.replace(usage, daily_peaks=tuple(known.items())), AMSTERDAM)

    assert drawn is not None
    assert len(drawn.days) == 20
    assert [day.seen for day in drawn.days] == [True, True] + 18 * [False]
    assert drawn.days[0].tall == 0


def test_summer_time_has_the_days_of_the_calendar():
    """A month in which the clock is set back has 31 days, not a piece of a 32nd."""
    start = START - 31 * DAY - 3_600_000  # October 2026 in Amsterdam begins in summer time
    usage = tenant("A", "a", peak=5, capacity=8, seed=1)
    october = dataclasses.replace(
        usage, start=start, end=START, as_of=START, daily_peaks=(("2026-10-31", 5),), gaps=()
    )
    drawn = charts.days(october, AMSTERDAM)

    assert drawn is not None
    assert len(drawn.days) == 31


def test_nothing_known_is_not_drawn():
    """Where no day is known there is no drawing that could be taken for zeros."""
    usage = tenant("A", "a", peak=5, capacity=8, seed=1, daily_peaks=(("2026-11-01", None),))

    assert charts.days(usage, AMSTERDAM) is None


@given(tenants)
def test_whatever_is_drawn_stays_within_the_drawing(usage):
    """Every bar, gap and line of any tenant lies within the width and above the ground."""
    drawn = charts.days(usage, AMSTERDAM)
    if drawn is None:
        return

    assert all(day.x >= 0 and day.x + day.width <= drawn.width + 0.2 for day in drawn.days)
    assert all(day.over_y >= 0 for day in drawn.days)
    assert all(day.y + day.tall <= charts.TALL + 0.2 for day in drawn.days)
    assert drawn.capacity is None or 0 <= drawn.capacity <= charts.TALL
    assert END > START
