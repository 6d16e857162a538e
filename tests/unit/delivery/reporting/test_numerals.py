"""Figures as people read them: cut off, never rounded up, and never zero where nothing is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.reporting import numerals
from delivery.wording import LANGUAGES, wording


@pytest.mark.parametrize(
    ("code", "number", "percent"),
    [
        ("en", "13,566", "95.12%"),
        ("nl", "13.566", "95,12%"),
        ("it", "13.566", "95,12%"),
        ("de", "13.566", "95,12 %"),
    ],
)
def test_numbers_are_written_as_the_language_writes_them(code, number, percent):
    """Thousands, decimals and the sign of per cent are each language's own."""
    words = wording(code)

    assert numerals.count(13_566, words) == number
    assert numerals.minutes(13_566 * 60 + 59, words) == number
    assert numerals.share(95_129, 100_000, words) == percent


@given(st.integers(1, 10**12), st.sampled_from(LANGUAGES))
def test_only_the_whole_is_a_hundred_per_cent(whole, code):
    """One millisecond that was not observed is enough for less than 100 %."""
    words = wording(code)

    assert numerals.share(whole, whole, words).startswith("100")
    assert not numerals.share(whole - 1, whole, words).startswith("100")


@given(st.integers(1, 10**11))
def test_a_lasting_time_is_cut_off_and_never_nothing(ms):
    """Read back, it is at most what was measured and less than a second below; something is never 0:00:00."""
    said = numerals.lasting(ms)
    if ms < 1000:
        assert said == "<0:00:01"
        return
    hours, minutes, seconds = map(int, said.split(":"))
    read = 1000 * (3600 * hours + 60 * minutes + seconds)

    assert minutes < 60
    assert seconds < 60
    assert read <= ms < read + 1000


def test_what_is_not_known_is_no_zero():
    """A figure that is not known, and a share of nothing, are `?`."""
    words = wording("en")

    assert numerals.count(None, words) == numerals.minutes(None, words) == numerals.lasting(None) == "?"
    assert (
        numerals.share(None, 10, words)
        == numerals.share(0, 0, words)
        == numerals.share(3, None, words)
        == "?"
    )
    assert numerals.count(0, words) == "0"
