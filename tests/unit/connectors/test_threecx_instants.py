"""How a 3CX writes instants and durations."""

import pytest

from connectors.threecx.instants import dated, duration_ms, instant, written

AT = 1_790_586_900_000  # 2026-09-28T09:15:00Z


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-09-28T09:15:00Z", AT),
        ("2026-09-28T09:15:00+00:00", AT),
        ("2026-09-28T11:15:00+02:00", AT),
        ("2026-09-28T03:45:00-05:30", AT),
        ("2026-09-28T09:15Z", AT),
        ("2026-09-28T09:15:00.1234567Z", AT + 123),
        ("2026-09-28T09:15:00.5Z", AT + 500),
        ("2026-09-28T09:15:00.123456789012+00:00", AT + 123),
        (None, None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+01:00", None),
    ],
)
def test_an_instant_is_read_however_it_is_written(text, at):
    """Z or an offset, no decimals or twelve, null and the year 1: all that a 3CX may write is understood."""
    assert instant(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-09-28 09:15:00Z",
        "2026-09-28T09:15:00",
        "2026-13-28T09:15:00Z",
        "soon",
        7,
        [],
        "٢026-09-28T09:15:00Z",
    ],
)
def test_what_is_no_instant_is_refused(text):
    """An instant without a zone, or none at all, is an error and no guess."""
    with pytest.raises(ValueError):  # noqa: PT011 -- any; the client says whose answer it was
        instant(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("PT6.2S", 6_200),
        ("PT1M12.577027S", 72_577),
        ("PT0S", 0),
        ("PT", 0),
        ("PT2H", 7_200_000),
        ("P1DT1S", 86_401_000),
        (None, 0),
    ],
)
def test_a_duration_is_read(text, ms):
    """An ISO 8601 duration is cut off at milliseconds; null lasts no time."""
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "6.2", "-PT1S", "P1M", "PT1.S", 6])
def test_what_is_no_duration_is_refused(text):
    """Anything else is an error."""
    with pytest.raises(ValueError):  # noqa: PT011 -- likewise
        duration_ms(text)


def test_an_instant_is_written_in_whole_seconds():
    """What the call log is asked for is UTC, cut off at seconds."""
    assert written(AT + 999) == "2026-09-28T09:15:00Z"


@pytest.mark.parametrize(
    ("header", "at"),
    [
        ("Mon, 28 Sep 2026 09:15:00 GMT", AT),
        ("", None),
        (None, None),
        ("yesterday", None),
        ("Mon, 28 Sep 2026 09:15:00", None),
    ],
)
def test_a_date_header_tells_the_servers_clock_or_nothing(header, at):
    """A date that can't be read is no clock."""
    assert dated(header) == at
