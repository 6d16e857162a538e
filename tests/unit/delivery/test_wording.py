from __future__ import annotations

import re
import string
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.wording import LANGUAGES, Wording, wording

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
AT = 1_794_475_867_412  # 2026-11-12T09:31:07.412Z
HOUR = 3_600_000
DAY = 24 * HOUR


def forms(entry: object) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry.values())  # type: ignore[attr-defined]


def placeholders(entry: object) -> set[str]:
    names = {name for text in forms(entry) for _, name, _, _ in string.Formatter().parse(text) if name}
    return names - {"n"}


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_catalogue_has_the_same_keys_and_placeholders(code: str) -> None:
    """Nothing is said in one language only, and every figure is said in all."""
    here, english = wording(code).texts, wording("en").texts
    assert set(here) == set(english)
    assert {key: placeholders(entry) for key, entry in here.items()} == {
        key: placeholders(entry) for key, entry in english.items()
    }


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_catalogue_is_complete(code: str) -> None:
    """Twelve months, seven days, no empty sentence, no sentence left in English."""
    here, english = wording(code), wording("en")
    assert len(set(here.months)) == 12
    assert len(set(here.weekdays)) == 7
    for key, entry in here.texts.items():
        for text, original in zip(forms(entry), forms(english.texts[key]), strict=False):
            assert text.strip()
            if code != "en" and len(re.sub(r"\{.*?\}|\W", "", original)) > 12:
                assert text != original, key


@pytest.mark.parametrize("code", ["fr", "", "NL", "../nl", "en.toml"])
def test_an_unknown_language_is_refused_with_those_that_there_are(code: str) -> None:
    """It is said at once and helps to choose."""
    with pytest.raises(ValueError, match="de, en, it, nl"):
        wording(code)


@pytest.mark.parametrize(
    ("ms", "english", "dutch"),
    [
        (0, "less than a second", "minder dan een seconde"),
        (999, "less than a second", "minder dan een seconde"),
        (1_000, "1 second", "1 seconde"),
        (8_120, "8 seconds", "8 seconden"),
        (60_000, "1 minute", "1 minuut"),
        (102_000, "1 minute and 42 seconds", "1 minuut en 42 seconden"),
        (HOUR + 3_000, "1 hour", "1 uur"),
        (2 * HOUR + 5 * 60_000 + 59_000, "2 hours and 5 minutes", "2 uur en 5 minuten"),
        (3 * DAY + 4 * HOUR, "3 days and 4 hours", "3 dagen en 4 uur"),
    ],
)
def test_durations_are_words(ms: int, english: str, dutch: str) -> None:
    """Two units at most, singular where it is one, cut off and never rounded up."""
    assert wording("en").duration(ms) == english
    assert wording("nl").duration(ms) == dutch


@given(st.sampled_from(LANGUAGES), st.integers(0, 400 * DAY))
def test_a_duration_never_says_more_than_was_measured(code: str, ms: int) -> None:
    """Read back, the words are at most the duration, and less by less than a hundredth of it or a second."""
    words = wording(code)
    sizes = {"days": DAY, "hours": HOUR, "minutes": 60_000, "seconds": 1000}
    said = 0
    for part in words.duration(ms).split(words.say("duration.and")):
        for unit, size in sizes.items():
            count = re.match(r"\d+", part)
            if count and part == words.say(f"duration.{unit}", n=int(count[0])):
                said += int(count[0]) * size
    assert said <= ms
    assert ms - said < max(1000, {True: HOUR, False: 60_000}[ms >= DAY])


@pytest.mark.parametrize(
    ("code", "date", "clock", "moment"),
    [
        ("nl", "donderdag 12 november 2026", "10:31:07 uur (CET)", "12 november, 10:31 uur"),
        ("en", "Thursday 12 November 2026", "10:31:07 (CET)", "12 November, 10:31"),
        ("it", "giovedì 12 novembre 2026", "10:31:07 (CET)", "12 novembre, ore 10:31"),
        ("de", "Donnerstag, 12. November 2026", "10:31:07 Uhr (CET)", "12. November, 10:31 Uhr"),
    ],
)
def test_dates_and_times_are_local(code: str, date: str, clock: str, moment: str) -> None:
    """In the tenant's zone, in the language's own order, the zone named where seconds matter."""
    words = wording(code)
    assert words.date(AT, AMSTERDAM) == date
    assert words.clock(AT, AMSTERDAM) == clock
    assert words.moment(AT, AMSTERDAM) == moment


def test_the_repeated_hour_is_told_apart() -> None:
    """Both 02:30s of the night the clock goes back are named by their zone."""
    first = 1_792_888_200_000  # 2026-10-25T00:30Z
    assert wording("en").clock(first, AMSTERDAM) == "02:30:00 (CEST)"
    assert wording("en").clock(first + HOUR, AMSTERDAM) == "02:30:00 (CET)"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (1_793_487_600_000, 1_796_079_600_000, "In november 2026"),
        (1_790_805_600_000, 1_793_487_600_000, "In oktober 2026"),  # an hour longer
        (1_794_438_000_000, 1_794_524_400_000, "Op 12 november 2026"),
        (1_793_487_600_000, 1_796_166_000_000, "Van 1 november, 00:00 uur tot 2 december, 00:00 uur"),
        (1_794_474_000_000, 1_794_477_600_000, "Van 12 november, 10:00 uur tot 12 november, 11:00 uur"),
    ],
)
def test_periods_are_named_as_people_name_them(start: int, end: int, said: str) -> None:
    """Calendar months and days by name, anything else by its bounds."""
    assert wording("nl").period(start, end, AMSTERDAM) == said


def test_a_month_elsewhere_is_no_month_here() -> None:
    """A period is a month only in the zone whose midnights it has."""
    assert wording("en").period(1_793_487_600_000, 1_796_079_600_000, UTC).startswith("From ")


def test_values_are_not_read_as_placeholders() -> None:
    """A name that looks like a placeholder is only a name."""
    words = Wording("en", {"a": "{tenant}!"}, (), ())
    assert words.say("a", tenant="{n.__class__}") == "{n.__class__}!"
