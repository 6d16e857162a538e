"""Users of a period (the definition, section 8)."""

from __future__ import annotations

from meter.model import Reading
from meter.users import users

START, END = 1_000, 2_000


def reading(
    pbx: str, at: int, count: int | None, created: int = 0, removed: int = 0, source: str = "pjsip"
) -> Reading:
    return Reading(pbx, "acme", at, count, source if count is not None else "", created, removed)


def test_at_close_is_the_last_good_reading_of_every_pbx() -> None:
    """It is the sum over the PBXs of the last good reading in the period; a failed one later changes nothing."""
    found = users(
        [reading("one", 1_100, 40), reading("two", 1_200, 5), reading("one", 1_900, 42, 3, 1), reading("one", 1_950, None)],
        ("one", "two"), START, END,
    )  # fmt: skip

    assert (found.at_close, found.max, found.created, found.removed, found.failed_reads) == (47, 47, 3, 1, 1)
    assert (found.pbxs["one"].count, found.pbxs["one"].read_at) == (42, 1_900)


def test_unknown_is_not_zero() -> None:
    """If one PBX was not read in the period there is no sum; the last known stands beside it, with its time."""
    found = users([reading("two", 900, 5), reading("one", 1_100, 40)], ("one", "two"), START, END)

    assert (found.at_close, found.max) == (None, None)
    assert (found.pbxs["two"].count, found.pbxs["two"].read_at, found.pbxs["two"].in_period) == (
        5,
        900,
        False,
    )
    assert users([], ("one",), START, END).at_close is None
    assert users([reading("one", 1_100, None)], ("one",), START, END).failed_reads == 1


def test_max_is_over_readings() -> None:
    """The maximum is the highest sum after any reading of the period, once every PBX was read in it."""
    found = users(
        [reading("one", 900, 99), reading("one", 1_100, 40), reading("two", 1_200, 9), reading("two", 1_300, 2),
         reading("one", 1_400, 44), reading("one", 1_900, 41)],
        ("one", "two"), START, END,
    )  # fmt: skip

    assert (found.max, found.at_close) == (49, 43)


def test_the_period_is_half_open() -> None:
    """A reading at the first instant belongs to the period, one at its end does not, nor do its comings and goings."""
    at_start = users([reading("one", START, 7, 1, 1)], ("one",), START, END)
    at_end = users([reading("one", 1_500, 7), reading("one", END, 9, 2, 0)], ("one",), START, END)

    assert (at_start.at_close, at_start.created) == (7, 1)
    assert (at_end.at_close, at_end.created) == (7, 0)


def test_before_the_period_nobody_came_or_went() -> None:
    """Comings and goings of readings before the period are the period's before."""
    assert users([reading("one", 900, 7, 5, 5)], ("one",), START, END).created == 0
