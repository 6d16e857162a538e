"""Any ledger makes a record that the provider can count."""

from __future__ import annotations

import hashlib
import json
from importlib import util
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from meter.canonical import canonical_bytes
from meter.model import Cause, Direction, Gap, Leg, Level, Reading, Terms
from meter.periods import Period, iso, named, period_of
from meter.schema import MINUTE_SERIES, USAGE_SUMMARY, validate
from meter.summary import Facts, Statement, content, series_content, state

_spec = util.spec_from_file_location("fold_test", Path(__file__).with_name("test_fold.py"))
assert _spec
assert _spec.loader
fold_test = util.module_from_spec(_spec)
_spec.loader.exec_module(fold_test)

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
PBXS = ("one", "two")
DAY = named("2026-10-25", "day", AMSTERDAM)


def said(kind: str, period: Period, data: dict[str, Any], as_of: int) -> dict[str, Any]:
    """Return the whole record around a content, as the first of its chain."""
    series = kind == "minute-series"
    place = {
        "agent": {"id": "ams-01", "version": "0", "config_sha256": "0" * 64},
        "chain": {"id": "c-1", "continues": None},
        "sequence": 1, "previous_sha256": None, "tenant_sequence": 1, "tenant_previous_sha256": None,
        "kind": kind, "revision": 1,
    }  # fmt: skip
    if not series:
        place |= {"replaces": None, "reason": None, "next_by": iso(as_of + 1) if kind == "interim" else None}
    return {
        "specversion": "1.0",
        "type": MINUTE_SERIES if series else USAGE_SUMMARY,
        "source": "/agents/ams-01",
        "subject": "acme",
        "id": f"acme/{period.name}/{kind}/1",
        "time": iso(as_of),
        "datacontenttype": "application/json",
        "data": place | data,
    }


@st.composite
def facts(draw: st.DrawFn, period: Period) -> Facts:
    length = period.end - period.start
    legs, merges, gaps, terms = fold_test.shifted(draw(fold_test.ledgers(length)), period.start)
    readings = sorted(
        draw(
            st.lists(
                st.builds(
                    Reading,
                    pbx=st.sampled_from(PBXS),
                    tenant=st.just("acme"),
                    at=st.integers(period.start - 1_000, period.end),
                    count=st.none() | st.integers(0, 500),
                    source=st.sampled_from(["pjsip", "devices"]),
                    created=st.integers(0, 3),
                    removed=st.integers(0, 3),
                ),
                max_size=6,
            )
        ),
        key=lambda r: r.at,
    )
    strays = draw(st.none() | st.just([leg for leg in legs if leg.row % 3 == 0]))
    return Facts(
        tenant="acme",
        name="ACME B.V.",
        legs=legs,
        merges=merges,
        gaps=fold_test.by_pbx(gaps),
        terms=terms,
        readings=readings,
        user_pbxs=PBXS,
        reconciled=(3, 1, 0),
        synchronised=draw(st.none() | st.booleans()),
        strays=strays,
    )


def adds_up(data: dict[str, Any], found: Statement) -> None:
    """Sums, bounds and nulls of the definition hold, whatever the ledger."""
    coverage = data["coverage"]
    assert coverage["observed_ms"] + coverage["gaps"]["total_ms"] == coverage["expected_ms"]
    assert coverage["observed_ms"] == found.figures.observed_ms
    assert len(coverage["gaps"]["list"]) <= 100
    for level in Level:
        figures = data["levels"][level.value]
        assert figures["lower_bound"] is (coverage["gaps"]["total_ms"] > 0)
        if figures["peak"] is None:
            assert {name for name, value in figures.items() if value is not None} == {"lower_bound"}
            continue
        assert sum(figures["time_at_level_ms"].values()) == coverage["observed_ms"]
        assert (figures["peak_at"] is None) == (figures["peak"] == 0)
        if figures["daily_peaks"]:
            assert max(figures["daily_peaks"].values()) <= figures["peak"]
    if coverage["observed_ms"]:
        channels, calls, answered = (data["levels"][level.value]["peak"] for level in Level)
        assert channels >= calls >= answered
        assert None not in (channels, calls, answered)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(["final", "interim"]))
def test_every_summary_is_countable(data: st.DataObject, kind: str) -> None:
    """A final or an interim of any ledger passes the schema, adds up, and is null where nothing was observed."""
    period = period_of(DAY.start + 7 * 3_600_000, "5min", AMSTERDAM)
    as_of = period.end if kind == "final" else data.draw(st.integers(period.start + 1, period.end - 1))
    found = state(data.draw(facts(period)), period, as_of, AMSTERDAM)
    record = content(found, evidence=kind == "final")

    validate(canonical_bytes(said(kind, period, record, as_of)))
    adds_up(record, found)
    for level in Level:
        evidence, peak = record["levels"][level.value]["evidence"], found.figures.levels[level].peak
        if kind == "interim" or peak is None or peak.at is None:
            assert evidence is None
        elif level is Level.CHANNELS:
            assert evidence["total"] == len(evidence["legs"]) == peak.level
            assert evidence["sha256"] == hashlib.sha256(canonical_bytes(evidence["legs"])).hexdigest()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_minute_series_is_countable(data: st.DataObject) -> None:
    """The minute-series of a day of 25 hours passes the schema, and its highest minute is the day's peak."""
    found = state(data.draw(facts(DAY)), DAY, DAY.end, AMSTERDAM, series=True)
    record = series_content(found)

    validate(canonical_bytes(said("minute-series", DAY, record, DAY.end)))
    summary = content(found, evidence=False)
    for level in Level:
        known = [high for _, high in record["minutes"][level.value] if high is not None]
        peaks = summary["levels"][level.value]["daily_peaks"] or {}
        assert max(known, default=None) == peaks.get("2026-10-25")


def test_the_largest_record_fits() -> None:
    """Every list at its bound and names as long as they may be: the record is still no larger than 256 KiB."""
    period = named("2026-11", "month", AMSTERDAM)
    minute, long = 60_000, "x" * 40
    legs = [
        Leg(n, "pbx-" + long, f"{period.start}.{n}.{long}", f"PJSIP/{long}", f"PJSIP/{long}", Direction.IN,
            f"call {n}", "acme", period.start + 3_600_000 + n, answer=period.start + 4_000_000, end=period.end - 9)
        for n in range(1, 400)
    ]  # fmt: skip
    legs += [
        Leg(1_000 + n, "pbx-" + long, f"short {n}", f"PJSIP/{long}", f"PJSIP/{long}", Direction.OUT, f"s {n}", "acme",
            period.start + n * 3 * minute, end=period.start + n * 3 * minute + minute)
        for n in range(400)
    ]  # fmt: skip
    gaps = [
        Gap(
            n,
            "pbx-" + long,
            period.end - n * 2 * minute,
            period.end - n * 2 * minute + minute,
            Cause.EVENTS_LOST,
        )
        for n in range(1, 121)
    ]
    terms = [
        Terms(
            "acme",
            period.start + n * minute,
            1 + n % 7,
            Level.CHANNELS,
            ("pbx-" + long,),
            packages=tuple(range(1, 400)),
        )
        for n in range(200)
    ]
    strays = [Leg(9_000 + n, "pbx-" + long, f"n{n}", f"PJSIP/{long}{n}", None, Direction.IN, f"n{n}", None, period.start)
              for n in range(300)]  # fmt: skip
    facts_ = Facts("acme", "A" * 200, legs, (), {"pbx-" + long: gaps}, terms, (), strays=strays)
    record = content(state(facts_, period, period.end, AMSTERDAM), evidence=True)

    payload = canonical_bytes(said("final", period, record, period.end))
    validate(payload)
    data = json.loads(payload)["data"]
    evidence = data["levels"]["channels"]["evidence"]
    assert (len(evidence["legs"]), evidence["total"] > 398) == (200, True)
    assert evidence["sha256"] != hashlib.sha256(canonical_bytes(evidence["legs"])).hexdigest(), (
        "it is over all of them"
    )
    assert (len(data["coverage"]["gaps"]["list"]), data["coverage"]["gaps"]["count"]) == (100, 120)
    assert len(data["capacity"]["overruns"]["worst"]) == 100 < data["capacity"]["overruns"]["count"]
    assert (len(data["unclassified"]["endpoints"]), data["unclassified"]["legs"]) == (100, 300)
    assert len(payload) <= 256 * 1024
