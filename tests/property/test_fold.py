"""The fold equals the slow oracle, and the running account equals the fold, over random ledgers."""

from __future__ import annotations

from dataclasses import replace
from datetime import tzinfo
from importlib import util
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from meter.account import Account
from meter.edges import edges
from meter.fold import Figures, Fold, frame
from meter.model import Cause, Direction, Gap, Known, Leg, Level, Merge, Terms
from meter.observation import unseen
from meter.periods import Period, instant, period_of
from meter.presence import merged

_spec = util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
assert _spec
assert _spec.loader
oracle = util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
KATHMANDU = ZoneInfo("Asia/Kathmandu")  # 5:45 ahead
PBXS = ("one", "two")
HOUR = 3_600_000


@st.composite
def ledgers(draw: st.DrawFn, span: int) -> tuple[list[Leg], list[Merge], list[Gap], list[Terms]]:
    """Legs of one tenant on two PBXs around [0, span), with merges, gaps and changes of capacity."""
    grain = draw(st.sampled_from([1, 500, span // 40]))

    def moments(low: int, high: int) -> st.SearchStrategy[int]:
        return st.integers(low // grain, high // grain).map(lambda x: x * grain)

    gaps: list[Gap] = []
    for pbx in PBXS:
        marks = sorted(draw(st.lists(moments(-span // 4, span), max_size=6, unique=True)))
        for a, b in zip(marks[::2], marks[1::2], strict=False):
            cause = draw(st.sampled_from([Cause.LINK_LOST, Cause.CLOCK_STEP]))
            gaps.append(Gap(len(gaps) + 1, pbx, a, b, cause))
        if len(marks) % 2 and draw(st.booleans()):
            gaps.append(Gap(len(gaps) + 1, pbx, marks[-1], None, Cause.LINK_LOST))
    legs: list[Leg] = []
    for row in range(draw(st.integers(0, 12))):
        start = draw(moments(-span // 3, span))
        length = draw(st.none() | moments(0, span // 2))
        end = None if length is None else start + length
        answer = draw(st.none() | moments(0, span // 2).map(lambda x, s=start: s + x))
        if answer is not None and end is not None and answer > end:
            answer = None
        legs.append(
            Leg(
                row + 1,
                draw(st.sampled_from(PBXS)),
                f"leg{row}",
                "PJSIP/kpn",
                "PJSIP/kpn",
                draw(st.sampled_from(list(Direction))),
                draw(st.sampled_from("abcd")),
                "acme",
                start,
                Known.SEEN,
                answer,
                None if answer is None else Known.SEEN,
                end,
            )
        )
    merges: list[Merge] = []
    alive = {pbx: list("abcd") for pbx in PBXS}
    for at in sorted(draw(st.lists(moments(-span // 4, span), max_size=4))):
        pbx = draw(st.sampled_from(PBXS))
        if len(alive[pbx]) > 1:
            gone, into = draw(st.permutations(alive[pbx]))[:2]
            alive[pbx].remove(gone)
            merges.append(Merge(pbx, at, gone, into))
    for i, leg in enumerate(legs):  # the ledger writes the call's current name when a leg begins
        name = leg.call
        for merge in merges:
            if merge.pbx == leg.pbx and merge.at <= leg.start and merge.gone == name:
                name = merge.into
        legs[i] = replace(leg, call=name)
    first = draw(st.sampled_from([-span, 0, span // 10]))
    terms = [Terms("acme", first, draw(st.integers(1, 3)), draw(st.sampled_from(list(Level))), PBXS)]
    for at in sorted(draw(st.lists(moments(first + 1, span), max_size=2, unique=True))):
        pbxs = draw(st.sampled_from([PBXS, PBXS[:1], PBXS[1:], ()]))
        terms.append(replace(terms[-1], at=at, lines=draw(st.none() | st.integers(1, 3)), pbxs=pbxs))
    return legs, merges, gaps, terms


def shifted(ledger: tuple[Any, ...], by: int) -> tuple[Any, ...]:
    legs, merges, gaps, terms = ledger

    def moved(x: int | None) -> int | None:
        return None if x is None else x + by

    return (
        [replace(x, start=x.start + by, answer=moved(x.answer), end=moved(x.end)) for x in legs],
        [replace(x, at=x.at + by) for x in merges],
        [replace(x, start=x.start + by, end=moved(x.end)) for x in gaps],
        [replace(x, at=x.at + by) for x in terms],
    )


def by_pbx(gaps: list[Gap]) -> dict[str, list[Gap]]:
    return {pbx: [g for g in gaps if g.pbx == pbx] for pbx in PBXS}


def plain(found: Figures) -> dict[str, Any]:
    """The figures in the oracle's form."""
    levels: dict[str, Any] = {}
    for level, f in found.levels.items():
        if f.peak is None:
            levels[level.value] = None
            continue
        minute, minutes = found.period.start // 60_000, {}
        for count, high in f.series:
            for _ in range(count):
                minutes[minute] = high
                minute += 1
        levels[level.value] = {
            "peak": f.peak.level,
            "peak_at": f.peak.at,
            "peak_ms": f.peak.ms,
            "proved": f.peak.source.value == "proved",
            "time": f.time_at_level_ms,
            "daily": f.daily_peaks,
            "p95": f.percentiles[95],
            "p98": f.percentiles[98],
            "busy": f.busy_hour,
            "minutes": minutes,
        }
    return {
        "observed_ms": found.observed_ms,
        "levels": levels,
        "overruns": found.overruns,
        "traffic": {
            d.value: (t.legs, t.answered, t.answered_ms, t.billable_s) for d, t in found.traffic.items()
        },
    }


def folded(ledger: tuple[Any, ...], period: Period, as_of: int, tz: tzinfo) -> Figures:
    legs, merges, gaps, terms = ledger
    fold = Fold(frame(period, tz, series=True))
    fold.feed([e for e in edges(legs, merges, by_pbx(gaps), terms) if e[0] < as_of])
    return fold.figures(as_of)


def compare(ledger: tuple[Any, ...], period: Period, as_of: int, tz: tzinfo) -> None:
    truth = oracle.figures(*ledger, period, as_of, tz)
    found = plain(folded(ledger, period, as_of, tz))
    overruns = found.pop("overruns")
    expected = truth.pop("overruns")

    assert truth == found
    _legs, _, gaps, terms = ledger
    blind = merged(unseen(by_pbx(gaps), terms, period.start, as_of), period.start, as_of)
    assert as_of - period.start == found["observed_ms"] + sum(b - a for a, b in blind)
    if overruns is None:
        assert not expected
    else:
        assert len(expected) == overruns.count
        assert sum(b - a for a, b, _ in expected) == overruns.total_ms
        assert sorted(expected, key=lambda o: (-o[2], o[0])) == [
            (o.start, o.end, o.peak) for o in overruns.worst
        ]
    for level in found["levels"].values():
        if level is not None:
            assert found["observed_ms"] == sum(level["time"].values())


@settings(max_examples=300, deadline=None)
@given(ledgers(5 * 60_000), st.integers(1, 5 * 60_000))
def test_five_minutes(ledger: tuple[Any, ...], length: int) -> None:
    """Every figure of a 5-minute period equals the definition, to the millisecond, at any `as_of`."""
    at = instant(period_day(2026, 11, 21))
    compare(shifted(ledger, at), period_of(at, "5min", AMSTERDAM), at + length, AMSTERDAM)


@settings(max_examples=60, deadline=None)
@given(ledgers(25 * HOUR), st.sampled_from([(2026, 10, 25), (2026, 3, 29), (2026, 6, 1)]), st.booleans())
def test_days_across_summer_time(ledger: tuple[Any, ...], date: tuple[int, int, int], east: bool) -> None:
    """Local days of 23, 24 and 25 hours, and clock hours that start at :45, come out right."""
    tz = KATHMANDU if east else AMSTERDAM
    noon = instant(period_day(*date)) + 12 * HOUR
    period = period_of(noon, "day", tz)
    compare(shifted(ledger, period.start), period, period.end, tz)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_account_equals_fold(data: st.DataObject) -> None:
    """The running account, settled at any moments and across periods, equals the fold over the whole ledger."""
    span = 15 * 60_000
    at = instant(period_day(2026, 11, 21))
    legs, merges, gaps, terms = shifted(data.draw(ledgers(span)), at)
    stops = sorted(data.draw(st.lists(st.integers(at, at + span), min_size=1, max_size=6, unique=True)))
    account = Account(lambda t: frame(period_of(t, "5min", AMSTERDAM), AMSTERDAM, series=True), at)
    for agreed in terms:
        account.agree(agreed)
    told: dict[tuple[str, int], Any] = {}
    for stop in stops:
        # What an agent knows at `stop`: instants that lie ahead are not known yet.
        known_legs = [
            replace(
                leg,
                answer=leg.answer if leg.answer is not None and leg.answer < stop else None,
                end=leg.end if leg.end is not None and leg.end < stop else None,
            )
            for leg in legs
            if leg.start < stop
        ]
        known_gaps = [
            replace(g, end=g.end if g.end is not None and g.end < stop else None)
            for g in gaps
            if g.start < stop
        ]
        known_merges = [m for m in merges if m.at < stop]
        fresh_legs = [x for x in known_legs if told.get(("leg", x.row)) != x]
        fresh_gaps = [x for x in known_gaps if told.get(("gap", x.row)) != x]
        fresh_merges = [m for m in known_merges if m not in told.values()]
        told |= {("leg", x.row): x for x in fresh_legs} | {("gap", x.row): x for x in fresh_gaps}
        told |= {("merge", len(told) + i): m for i, m in enumerate(fresh_merges)}
        account.take(fresh_legs, fresh_gaps, fresh_merges)
        seen = account.view(stop)
        period = period_of(stop, "5min", AMSTERDAM)
        whole = folded((known_legs, known_merges, known_gaps, terms), period, stop, AMSTERDAM)
        assert plain(whole) == plain(seen)
        if data.draw(st.booleans()):
            account.settle(stop)
            assert plain(whole) == plain(account.view(stop))


def period_day(year: int, month: int, day: int) -> Any:
    from datetime import UTC, datetime  # noqa: PLC0415 - only here

    return datetime(year, month, day, tzinfo=UTC)
