"""When months are closed by themselves: on their day, after an outage, and again when something came late."""

from __future__ import annotations

from datetime import datetime, time

import pytest

from provider.month.recurring import due

SIX = time(6)


@pytest.mark.parametrize(
    ("now", "closed", "months"),
    [
        ("2026-12-03T06:00", [], ["2026-11"]),  # on the minute
        ("2026-12-03T05:59", [], ["2026-10"]),  # not before it
        ("2026-12-03T05:59", ["2026-10"], []),
        ("2026-12-03T06:00", ["2026-10"], ["2026-11"]),
        ("2026-12-03T06:00", ["2026-11"], []),
        ("2026-12-24T00:00", ["2026-10"], ["2026-11"]),  # later in the month is as good
        ("2027-01-03T07:00", ["2026-11"], ["2026-12"]),  # over the year's end
        ("2027-02-14T07:00", ["2026-10"], ["2026-11", "2026-12", "2027-01"]),  # after an outage, in order
        ("2027-01-01T07:00", ["2026-11"], []),
        ("2026-12-03T06:00", ["2026-11-30", "2026-11-01T00:00Z"], ["2026-11"]),  # other periods don't matter
        ("2026-12-03T06:00", ["2026-12"], []),  # closed by hand ahead
    ],
)
def test_which_months_are_due(now, closed, months):
    """A month is due from its day and hour on until it is closed; after an outage all that were passed over."""
    assert due(datetime.fromisoformat(now), 3, SIX, closed) == months
