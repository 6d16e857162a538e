"""What people see in a terminal: whole at 80 columns, and never a zero for what is not known."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from rich.console import Console, RenderableType

from agent import showing
from agent.checking import Finding, Mark
from agent.store.records import Sealed

STATUS: dict[str, Any] = {
    "agent": {"id": "ams-01", "version": "0.1.0"},
    "at": "2026-11-21T20:05:07.412Z",
    "tenants": {
        "acme": {
            "name": "ACME B.V.",
            "period": "2026-11",
            "timezone": "Europe/Amsterdam",
            "observed": True,
            "levels": {
                "channels": {"now": 14, "peak": 19, "peak_at": "2026-11-12T09:31:07.412Z"},
                "calls": {"now": 13, "peak": 18, "peak_at": "2026-11-12T09:31:08.000Z"},
                "answered": {"now": 11, "peak": 17, "peak_at": "2026-11-12T09:31:09.000Z"},
            },
            "basis": "channels",
            "capacity": 16,
            "overruns": {"count": 3, "total_ms": 8_120},
            "smallest_fitting_package": 24,
            "users": 42,
            "coverage": {"expected_ms": 1_000_000_000, "observed_ms": 999_999_999},
        },
        "globex": {
            "name": "globex",
            "period": "2026-11",
            "timezone": "UTC",
            "observed": False,
            "levels": {
                level: {"now": None, "peak": None, "peak_at": None}
                for level in ("channels", "calls", "answered")
            },
            "basis": "calls",
            "capacity": 8,
            "overruns": {"count": 0, "total_ms": 0},
            "smallest_fitting_package": None,
            "users": None,
            "coverage": {"expected_ms": 0, "observed_ms": 0},
        },
    },
    "pbxs": {
        "pbx1": {
            "link": "up", "trouble": None, "hint": None, "observed": True, "method": "events", "missed_polls": 0, "ahead_ms": None, "beside": {}, "snapshots": 812,
            "missed_starts": 2, "missed_hangups": 1, "unclassified": 3, "unassigned": 0,
        },
        "pbx2": {
            "link": "down", "trouble": "127.0.0.1:5038 refuses the connection, and says so at some length here.",
            "hint": "Look whether Asterisk runs, and whether manager.conf has enabled = yes: asterisk -rx 'manager show settings'",
            "observed": False, "method": "events", "missed_polls": 0, "ahead_ms": None, "beside": {}, "snapshots": 0, "missed_starts": 0, "missed_hangups": 0, "unclassified": 0,
            "unassigned": 0,
        },
    },
    "outbox": {"waiting": 2, "parked": 1},
    "records": {"sealed": 721, "receipted": 719, "refused": 1},
    "trouble": ["upstream: not enrolled at the provider: ask for an invitation, then type: pbx-meter enrol"],
}  # fmt: skip

CONTENT: dict[str, Any] = {
    "tenant": {"id": "acme", "name": "ACME B.V."},
    "as_of": "2026-11-30T23:00:00.000Z",
    "period": {
        "name": "2026-11", "start": "2026-10-31T23:00:00.000Z", "end": "2026-11-30T23:00:00.000Z",
        "timezone": "Europe/Amsterdam",
    },
    "levels": {
        "channels": {
            "peak": 19, "peak_at": "2026-11-12T09:31:07.412Z", "peak_ms": 8_120, "peak_source": "seen",
            "lower_bound": True, "minute_peak_percentiles": {"95": 11, "98": 13},
            "busy_hour": {"start": "2026-11-12T09:00:00.000Z", "mean_milli": 8_120},
        },
        "calls": {
            "peak": None, "peak_at": None, "peak_ms": None, "peak_source": None, "lower_bound": True,
            "minute_peak_percentiles": None, "busy_hour": None,
        },
        "answered": {
            "peak": 0, "peak_at": None, "peak_ms": None, "peak_source": "seen", "lower_bound": False,
            "minute_peak_percentiles": {"95": 0, "98": 0}, "busy_hour": None,
        },
    },
    "capacity": {
        "basis": "channels", "lines": 16, "overruns": {"count": 1, "total_ms": 8_120},
        "smallest_fitting_package": 24,
    },
    "traffic": {
        way: {"legs": 5_120, "answered": 4_711, "answered_ms": 812_000_000, "billable_s": 814_333}
        for way in ("in", "out", "unknown")
    },
    "users": {"at_close": None, "max": 44, "created": 3, "removed": 1},
    "coverage": {
        "expected_ms": 2_592_000_000, "observed_ms": 2_591_880_000,
        "gaps": {
            "count": 27, "total_ms": 120_000,
            "list": [
                {
                    "pbx": "pbx-with-a-long-name-of-a-place", "start": "2026-11-03T09:00:00.000Z",
                    "end": "2026-11-03T09:02:00.000Z", "cause": "pbx_unreachable",
                }
            ] * 27,
        },
    },
}  # fmt: skip


def seen(what: RenderableType, width: int, *, soft_wrap: bool = False) -> str:
    """Return what a person sees in a terminal of so many columns."""
    console = Console(record=True, width=width, file=open("/dev/null", "w"), highlight=False)  # noqa: SIM115, PTH123
    console.print(what, soft_wrap=soft_wrap)
    text = console.export_text()
    console.file.close()
    assert "…" not in text
    if not soft_wrap:
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    return text


def words(text: str) -> str:
    """Return a text as one line: where it was wrapped does not matter."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 150])
def test_status_is_whole_at_any_width(width: int):
    """At 80 columns as at 150, status shows every level, peak, overrun, link and what waits, uncut."""
    text = words(seen(showing.status(STATUS), width))

    for promised in (
        "ams-01, pbx-meter 0.1.0, 21 Nov 2026 20:05:07 UTC",
        "ACME B.V. (acme), 2026-11, 99.99 % of it observed",
        "14 of 16 channels",
        "channels * 14 19 12 Nov 2026 10:31:07 CET",
        "calls 13 18 12 Nov 2026 10:31:08 CET",
        "answered 11 17 12 Nov 2026 10:31:09 CET",
        "overruns: 3, 8.1 s in all; users: 42; smallest fitting package: 24",
        "pbx1: link up; 812 snapshots, 2 missed starts, 1 missed hangups",
        "3 unclassified legs up, counted for nobody",
        "pbx2: link down, not observed",
        "127.0.0.1:5038 refuses the connection, and says so at some length here.",
        "manager.conf has enabled = yes: asterisk -rx 'manager show settings'",
        "outbox: 2 waiting, 1 parked",
        "records: 721 sealed, 719 receipted, 1 refused",
        "trouble: upstream: not enrolled at the provider",
    ):
        assert promised in text


def test_status_never_shows_zero_for_what_is_not_known():
    """A tenant whose PBX is not seen has question marks where its levels, peaks and users would be."""
    found = copy.deepcopy(STATUS)
    del found["tenants"]["acme"]
    text = words(seen(showing.status(found), 80))

    assert "globex, 2026-11, ? of it observed" in text
    assert "not every PBX is seen now: the levels are unknown" in text
    assert "? of 8 calls" in text
    assert "channels ? ? calls * ? ? answered ? ?" in text
    assert "overruns: ?; users: ?" in text


def test_status_says_when_a_level_may_be_higher():
    """A level that was counted without one of the tenant's PBXs is marked as what it is: at least."""
    found = copy.deepcopy(STATUS)
    found["tenants"]["acme"]["observed"] = False

    assert "not every PBX is seen now: the levels may be higher" in seen(showing.status(found), 80)


def test_status_says_over():
    """A level above the capacity is called over, in words, for those who don't see colours."""
    found = copy.deepcopy(STATUS)
    found["tenants"]["acme"]["levels"]["channels"]["now"] = 17

    assert "17 of 16 channels, OVER" in seen(showing.status(found), 80)


def test_status_without_a_capacity():
    """A tenant without a capacity is never over it, and its overruns are not zero but not counted."""
    found = copy.deepcopy(STATUS)
    found["tenants"]["acme"]["capacity"] = None
    text = seen(showing.status(found), 80)

    assert "14 channels, no capacity agreed" in text
    assert "overruns: not counted" in text


@pytest.mark.parametrize("width", [80, 150])
def test_figures_are_whole_at_any_width(width: int):
    """Recomputed figures are shown uncut, in the tenant's zone, and unknown ones as unknown."""
    text = words(seen(showing.figures(CONTENT), width))

    for promised in (
        "ACME B.V., 2026-11 (Europe/Amsterdam), up to 1 Dec 2026 00:00:00 CET",
        "channels *: peak 19 at 12 Nov 2026 10:31:07 CET for 8.1 s (seen, at least)",
        "95 % of the minutes up to 11; 98 % of the minutes up to 13 busy hour 12 Nov 2026 10:00:00 CET, mean 8.12",
        "calls: peak unknown, nothing was observed",
        "answered: peak 0 (seen)",
        "capacity 16; overruns: 1, 8.1 s in all; smallest fitting package: 24",
        "in: 5120 legs, 4711 answered, 9 d 9 h, 814333 s billable",
        "users: ? at the end, 44 at most, 3 created, 1 removed",
        "observed: 99.99 % of 30 d 0 h, 27 gaps",
        "pbx-with-a-long-name-of-a-place: 3 Nov 2026 10:00:00 CET to 3 Nov 2026 10:02:00 CET",
        "pbx_unreachable",
        "and 7 more",
    ):
        assert promised in text


def sealed(sequence: int, id_: str, **more: Any) -> Sealed:
    return Sealed(
        1, sequence, id_, "final", "acme", 1, "2026-11", 0, 1, 1_796_464_800_000, "ab" * 32, None, **more
    )


@pytest.mark.parametrize("width", [80, 150])
def test_records_are_whole_at_any_width(width: int):
    """A list of records shows every id, when it was sealed (UTC), its receipt and why it was refused, uncut."""
    long = "a-tenant-with-a-rather-long-name.of-a-place/2026-11-21T20:05Z/correction/12"
    found = [
        sealed(1, "acme/2026-11/final/1", status="counted"),
        sealed(12345, long, status="refused", why="the agent is not enrolled for this tenant"),
        sealed(12346, "acme/2026-12/final/1"),
    ]
    text = seen(showing.summaries(found), width)

    assert words(text).count("2026-12-05 10:00Z") == 3
    for promised in ("acme/2026-11/final/1", "counted", "refused", "waiting", "abababababab", "12345"):
        assert promised in text
    assert long in "".join(line[7:40].strip() for line in text.splitlines()) or long in text
    assert "the agent is not enrolled for this tenant" in words(text)


def test_what_is_to_be_typed_stays_one_line():
    """A finding's next step can be copied whole, however narrow the terminal is."""
    hint = "give it `read = call` and `write = reporting` in manager.d, then: asterisk -rx 'manager reload'"
    text = seen(
        showing.findings([Finding(Mark.BAD, "pbx1", "the account may not: CoreShowChannels", hint)]),
        40,
        soft_wrap=True,
    )

    assert "bad  pbx1: the account may not: CoreShowChannels\n" in text
    assert f"-> {hint}\n" in text


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(0, "0.0 s"), (8_120, "8.1 s"), (59_999, "59.9 s"), (60_000, "1 min 0 s"), (90_061_000, "1 d 1 h")],
)
def test_durations_are_short_and_not_rounded_up(ms: int, shown: str):
    """A duration has at most two units and is never longer than it was."""
    assert showing.length(ms) == shown


def test_coverage_is_all_only_if_it_is_all():
    """One missing millisecond in a month is not 100 %, and no time at all is not known."""
    assert showing.coverage({"expected_ms": 10**9, "observed_ms": 10**9}) == "100 %"
    assert showing.coverage({"expected_ms": 10**9, "observed_ms": 10**9 - 1}) == "99.99 %"
    assert showing.coverage({"expected_ms": 0, "observed_ms": 0}) == "?"


@pytest.mark.parametrize(("level", "cells"), [(0, 0), (8, 14), (16, 28), (20, 35), (400, 40)])
def test_a_bar_is_as_long_as_its_level(level: int, cells: int):
    """A bar's filled part follows the level, and what can't be shown any more ends at its edge."""
    line = showing.bar(level, 16, 40).plain

    assert line.count("█") in (cells, cells - 1)  # the capacity's mark may stand in it
    assert len(line) == 40


def test_an_unknown_level_is_no_empty_bar():
    """The bar of a level that is not known does not look like that of zero."""
    assert showing.bar(None, 16, 40).plain.strip("┃·") == ""
    assert showing.bar(None, 16, 40).plain != showing.bar(0, 16, 40).plain
