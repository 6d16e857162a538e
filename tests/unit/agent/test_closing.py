"""What is sealed, when, and when not: always derived from what is stored."""

from __future__ import annotations

import itertools
import json
from itertools import pairwise

import pytest

from agent import configured, desk, keys
from agent.closing import PATIENCE_MS
from agent.store import agreements, ledger, records
from meter import signature
from meter.chain import examine
from meter.model import Cause
from meter.periods import DAY_MS, HOUR_MS, iso
from meter.schema import validate

MINUTE = 60_000
ACME = 'id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn"] }\ncapacity = 2'
GLOBEX = 'id = "globex"\nmatch = { trunks = ["PJSIP/pbx1-shared"] }\ncapacity = 1'
UPSTREAM = '\n[upstream]\nurl = "http://127.0.0.1:9"\ninterim = "1h"\n'


async def sealed(parts, *kinds: str) -> list[dict]:
    """Return the data of every sealed record of some kinds, in order."""
    rows = await parts.store.read(lambda db: list(records.every(db)))
    found = []
    for row in rows:
        record = json.loads(signature.unverified_payload(row.jws, signature.TYP_RECORD))
        validate(signature.unverified_payload(row.jws, signature.TYP_RECORD))
        assert record["id"] == row.id
        if not kinds or row.kind in kinds:
            found.append(record)
    return found


async def proved(parts, config) -> None:
    """The whole chain is unbroken: numbers, hashes, signatures, and each tenant's own."""
    rows = await parts.store.read(lambda db: list(records.every(db)))
    verdict = examine([row.jws for row in rows], [keys.load(config.agent.state_dir).public])

    assert verdict.good, verdict.problems
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    for tenant in {row.tenant for row in rows}:
        own = [row.tenant_sequence for row in rows if row.tenant == tenant]
        assert own == list(range(1, len(own) + 1))


async def test_off_over_the_end_of_the_month(awake, office, configure, clock, at) -> None:
    """An agent that was off over the end of the month closes it at its next start; the time off is a gap in it."""
    config = configure()
    clock.start_at(at("2026-11-30T20:00Z"))
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(10 * MINUTE)
        leg = here.call()
        await here.live(5 * MINUTE)
        await parts.closing.seal_due()
        last = clock.now()
    clock.advance(9 * HOUR_MS)

    async with awake(config) as parts:
        here = office(parts)
        here.snapshot(leg)
        await here.live(2_000)
        await parts.closing.seal_due()
        (final,) = await sealed(parts, "final")
        await proved(parts, config)

    data = final["data"]
    assert data["period"] | {"timezone": ""} == {
        "name": "2026-11", "start": "2026-10-31T23:00:00.000Z", "end": "2026-11-30T23:00:00.000Z", "timezone": "",
    }  # fmt: skip
    assert data["as_of"] == data["period"]["end"]
    down = data["coverage"]["gaps"]["list"][-1]
    assert (down["cause"], down["start"], down["end"]) == ("agent_down", iso(last), data["period"]["end"])
    channels = data["levels"]["channels"]
    assert (channels["peak"], channels["peak_source"], channels["lower_bound"]) == (1, "seen", True)
    assert sum(channels["time_at_level_ms"].values()) == data["coverage"]["observed_ms"]
    assert data["traffic"]["in"]["answered_ms"] == at("2026-11-30T23:00Z") - (
        last - 5 * MINUTE
    )  # proved through it


@pytest.mark.parametrize(("period", "step"), [("month", 31 * DAY_MS), ("day", DAY_MS), ("hour", HOUR_MS)])
async def test_missed_periods_each_get_their_final(awake, office, configure, clock, period, step) -> None:
    """Off for three whole periods: at the next start four finals are sealed, and those without any observation are null."""
    config = configure(period=period)
    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(2_000)
        await parts.closing.seal_due()
        assert await sealed(parts, "final") == []
    clock.advance(3 * step + HOUR_MS if period == "month" else 3 * step + step)

    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(20 * MINUTE)
        await parts.closing.seal_due()
        assert await parts.closing.seal_due() == 0
        finals = [f["data"] for f in await sealed(parts, "final")]
        await proved(parts, config)

    assert len(finals) >= 3
    for before, after in itertools.pairwise(finals):
        assert before["period"]["end"] == after["period"]["start"]
    silent = finals[1]
    assert silent["coverage"]["observed_ms"] == 0
    for figures in silent["levels"].values():
        assert {name for name, value in figures.items() if value is not None} == {"lower_bound"}
        assert figures["lower_bound"] is True
    assert [gap["cause"] for gap in silent["coverage"]["gaps"]["list"]] == ["agent_down"]


async def test_a_final_waits_for_its_grace(awake, office, configure, clock, month) -> None:
    """A final is sealed ten minutes after its period, not a millisecond earlier, and once."""
    config = configure()
    _, end = month("2026-11")
    clock.start_at(end - MINUTE)
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(11 * MINUTE - 1)
        here.snapshot()
        await parts.sampling.commit()
        await parts.closing.seal_due()
        assert await sealed(parts, "final") == []
        clock.advance(1)
        await parts.closing.seal_due()
        await parts.closing.seal_due()
        assert len(await sealed(parts, "final")) == 1


async def test_a_removed_tenant_gets_its_final(awake, office, configure, clock, month) -> None:
    """A tenant that is no longer configured still gets the final of the period that it was removed in, and no other."""
    async with awake(configure(tenants=[ACME, GLOBEX])) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        await parts.closing.seal_due()
    _, end = month("2026-11")
    config = configure(tenants=[ACME])
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        clock.advance(end + 40 * DAY_MS - clock.now())
        here.snapshot()
        await here.live(3_000)
        here.snapshot()
        await parts.sampling.commit()
        await parts.closing.seal_due()
        names = [(f["subject"], f["data"]["period"]["name"]) for f in await sealed(parts, "final")]
        await proved(parts, config)

    assert sorted(names) == [("acme", "2026-11"), ("acme", "2026-12"), ("globex", "2026-11")]


async def test_interims_are_numbered_and_promise_the_next(awake, office, configure, clock, at) -> None:
    """Every hour one interim, numbered within its period, with `next_by`, without evidence; none is made up afterwards."""
    config = configure(rest=UPSTREAM)
    clock.start_at(at("2026-11-12T09:31:07Z"))
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        here.call()
        await here.live(10_000)
        for _ in range(3):
            await parts.closing.seal_due()
            await parts.closing.seal_due()
            await here.live(20 * MINUTE)
        clock.advance(5 * HOUR_MS)
        await parts.closing.seal_due()
        interims = await sealed(parts, "interim")
        await proved(parts, config)

    assert [i["id"] for i in interims] == [f"acme/2026-11/interim/{n}" for n in (1, 2, 3)]
    assert [i["data"]["next_by"] for i in interims] == [
        "2026-11-12T10:00:00.000Z", "2026-11-12T11:00:00.000Z", "2026-11-12T16:00:00.000Z",
    ]  # fmt: skip
    for interim in interims:
        data = interim["data"]
        assert data["as_of"] == interim["time"] < data["next_by"]
        assert data["levels"]["channels"]["peak"] == 1
        assert all(level["evidence"] is None for level in data["levels"].values())


async def test_a_new_period_counts_interims_anew(awake, office, configure, clock, month) -> None:
    """The first interim of a period is number 1 and starts at the period."""
    config = configure(rest=UPSTREAM)
    _, end = month("2026-11")
    clock.start_at(end - MINUTE)
    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(1_000)
        await parts.closing.seal_due()
        await office(parts).live(2 * MINUTE)
        await parts.closing.seal_due()
        ids = [i["id"] for i in await sealed(parts, "interim")]

    assert ids == ["acme/2026-11/interim/1", "acme/2026-12/interim/1"]


@pytest.mark.parametrize(
    ("zone", "day", "minutes"),
    [
        ("Europe/Amsterdam", "2026-10-25", 1500),
        ("Europe/Amsterdam", "2026-03-29", 1380),
        ("Asia/Kathmandu", "2026-10-25", 1440),
        ("America/Santiago", "2026-09-06", 1380),
    ],
)
async def test_a_minute_series_is_as_long_as_its_local_day(
    awake, office, configure, clock, zone, day, minutes
) -> None:
    """Each local day gets one minute-series, with 1380, 1440 or 1500 minutes in its runs."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - only here

    from meter.periods import named  # noqa: PLC0415 - only here

    bounds = named(day, "day", ZoneInfo(zone))
    config = configure(timezone=zone, period="day")
    clock.start_at(bounds.start - HOUR_MS)
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(HOUR_MS, every_ms=1_900)
        here.call()
        await here.live(90_000)
        for _ in range(26):
            clock.advance(HOUR_MS)
            here.snapshot("pbx1.1")
            await here.live(1_500)
            here.snapshot("pbx1.1")
            await parts.sampling.commit()
            await parts.closing.seal_due()
        series = {s["data"]["day"]["name"]: s["data"] for s in await sealed(parts, "minute-series")}
        await proved(parts, config)

    found = series[day]
    assert list(series) == sorted(series)
    for runs in found["minutes"].values():
        assert sum(count for count, _ in runs) == minutes
        assert runs[0] == [2, 1]


@pytest.mark.parametrize(
    ("old", "new"), [("Europe/Amsterdam", "America/New_York"), ("America/New_York", "Europe/Amsterdam")]
)
@pytest.mark.parametrize("period", ["month", "day"])
async def test_another_time_zone_stops_nothing(awake, office, configure, clock, old, new, period) -> None:
    """After a change of zone, to the west or to the east, sealing goes on: every id once, no hole between finals."""
    for zone in (old, new):
        config = configure(timezone=zone, period=period)
        for _ in range(3):
            async with awake(config) as parts:
                office(parts).snapshot()
                await office(parts).live(1_500)
                await parts.closing.seal_due()
                assert parts.closing.held is None
            clock.advance(31 * DAY_MS if period == "month" else DAY_MS)
    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(1_500)
        await parts.closing.seal_due()
        assert parts.closing.held is None
        finals = [f["data"]["period"] for f in await sealed(parts, "final")]
        await proved(parts, config)

    assert len(finals) >= 5
    for before, after in itertools.pairwise(finals):
        assert before["end"] == after["start"]


async def test_nothing_is_sealed_while_the_chain_is_halted(awake, office, configure, clock) -> None:
    """A halted chain takes no record and says why; once it goes on, what was due is sealed."""
    config = configure(period="5min")
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(2_000)
        await parts.closing.seal_due()
        await parts.store.write(lambda db: records.halt(db, "type something"))
        before = len(await sealed(parts))
        clock.advance(HOUR_MS)
        here.snapshot()
        await here.live(2_000)
        assert await parts.closing.seal_due() == 0
        assert parts.closing.held == "type something"
        assert len(await sealed(parts)) == before
        await parts.store.write(lambda db: records.halt(db, None))
        here.snapshot()
        await parts.sampling.commit()
        assert await parts.closing.seal_due() > 0
        await proved(parts, config)


async def test_nothing_is_sealed_before_the_position_is_known(awake, office, configure, clock) -> None:
    """A start seals nothing until the receiver's position was compared, or patience has run out."""
    config = configure(rest=UPSTREAM)
    async with awake(config) as parts:
        parts.closing.position_known = False
        here = office(parts)
        here.snapshot()
        await here.live(PATIENCE_MS - 2_000)
        assert await parts.closing.seal_due() == 0
        assert "position" in parts.closing.held
        parts.closing.position_known = True
        assert await parts.closing.seal_due() == 1

    async with awake(config) as parts:
        parts.closing.position_known = False
        clock.advance(HOUR_MS)
        assert await parts.closing.seal_due() == 1


async def test_nothing_is_sealed_while_time_stands_still(awake, office, configure, clock) -> None:
    """While wall time is behind the last stored instant, over a restart too, nothing is sealed."""
    config = configure(rest=UPSTREAM)
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(5 * MINUTE)
        await parts.closing.seal_due()
        clock.step(-2 * HOUR_MS)
        await here.live(HOUR_MS)
        assert await parts.closing.seal_due() == 0
        assert "wall clock" in parts.closing.held
    again = type(clock)(clock.wall_ms)
    async with awake(config, again) as parts:
        assert again.now() > again.wall()
        assert await parts.closing.seal_due() == 0
        again.advance(2 * HOUR_MS)
        office(parts, at=again).snapshot()
        await office(parts, at=again).live(1_500)
        assert await parts.closing.seal_due() == 1
        times = [i["time"] for i in await sealed(parts)]

    assert times == sorted(times)


@pytest.mark.parametrize(
    ("synchronised", "step_ms", "away_ms", "held"),
    [
        (False, 0, HOUR_MS, False),
        (False, 0, DAY_MS + HOUR_MS, True),
        (True, 0, DAY_MS + HOUR_MS, False),
        (None, 0, DAY_MS + HOUR_MS, False),
        (False, HOUR_MS - 1_000, MINUTE, False),
        (False, HOUR_MS + 1_000, MINUTE, True),
        (True, HOUR_MS + 1_000, MINUTE, False),
    ],
)  # fmt: skip
async def test_a_clock_in_doubt_holds_finals_back(
    awake, office, configure, clock, month, synchronised, step_ms, away_ms, held
) -> None:
    """A final waits while the clock is known to be unsynchronised and moved by over an hour, or was off for over a day."""
    config = configure()
    _, end = month("2026-11")
    clock.start_at(end - MINUTE)
    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(2_000)
        await parts.closing.seal_due()
    clock.advance(away_ms)
    async with awake(config, again := type(clock)(clock.wall_ms)) as parts:
        parts.closing._synchronised = lambda: synchronised
        here = office(parts, at=again)
        here.snapshot()
        await here.live(MINUTE)
        again.step(step_ms)
        await here.live(1_000)
        here.snapshot()
        again.advance(12 * MINUTE)
        here.snapshot()
        await here.live(1_000)
        here.snapshot()
        await parts.sampling.commit()
        await parts.closing.seal_due()
        assert (await sealed(parts, "final") == []) is held
        if held:
            assert "synchronis" in parts.closing.held
            parts.closing._synchronised = lambda: True
            await parts.closing.seal_due()
            assert len(await sealed(parts, "final")) == 1


async def test_the_month_of_the_installation(awake, office, configure, clock) -> None:
    """In the month in which an agent comes the time before its first observation is a gap `not_installed`."""
    config = configure(rest=UPSTREAM)
    async with awake(config) as parts:
        clock.advance(3_000)
        office(parts).snapshot()
        first = clock.now()
        await office(parts).live(60_000)
        await parts.closing.seal_due()
        (interim,) = await sealed(parts, "interim")

    coverage = interim["data"]["coverage"]
    gaps = coverage["gaps"]["list"]
    assert {gap["cause"] for gap in gaps} == {"not_installed"}
    assert (gaps[0]["start"], gaps[-1]["end"]) == (interim["data"]["period"]["start"], iso(first))
    assert all(one["end"] == two["start"] for one, two in pairwise(gaps))
    assert coverage["observed_ms"] == 60_000


async def test_killed_before_the_first_observation(awake, office, configure, clock) -> None:
    """Killed before anything was ever seen, the agent was still not installed: it is no agent that was down."""
    config = configure(rest=UPSTREAM)
    async with awake(config):
        pass
    clock.advance(MINUTE)
    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(2_000)
        gaps = await parts.store.read(lambda db: ledger.gaps(db, ["pbx1"], 0, 1 << 60))

    assert [gap.cause.value for gap in gaps["pbx1"]] == ["not_installed"]


async def test_periods_keep_the_bounds_they_were_opened_with(awake, office, configure, clock, month) -> None:
    """A change of zone or kind in the middle of a period does not move the period's end."""
    async with awake(configure()) as parts:
        await parts.closing.seal_due()
        (before,) = await parts.store.read(lambda db: agreements.periods(db, "acme"))
    async with awake(configure(timezone="America/New_York", period="day")) as parts:
        await parts.closing.seal_due()
        assert await parts.store.read(lambda db: agreements.periods(db, "acme")) == [before]
        clock.advance(before.end + MINUTE - clock.now())
        await parts.closing.seal_due()
        _, after = await parts.store.read(lambda db: agreements.periods(db, "acme"))

    assert (before.start, before.end) == month("2026-11")
    assert after.start == before.end
    assert after.end - after.start <= DAY_MS + 5 * HOUR_MS


BOTH = 'id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn", "PJSIP/pbx2-kpn"] }\ncapacity = 2'


async def test_a_pbx_that_is_removed_leaves_its_gaps(awake, office, configure, clock, month) -> None:
    """A PBX that was down while it was the tenant's is stated as down, also if it is configured no more when the month ends."""
    async with awake(configure(tenants=[BOTH], pbxs=["pbx1", "pbx2"])) as parts:
        one, two = office(parts, "pbx1"), office(parts, "pbx2")
        one.snapshot()
        two.snapshot()
        await one.live(MINUTE)
        parts.sampling.lost("pbx2", clock.now(), Cause.PBX_UNREACHABLE)
        down = clock.now()
        await one.live(10 * MINUTE)
        await parts.closing.seal_due()
    config = configure(tenants=[ACME])
    async with awake(config) as parts:
        office(parts).snapshot()
        await office(parts).live(MINUTE)
        clock.advance(month("2026-11")[1] + 15 * MINUTE - clock.now())
        office(parts).snapshot()
        await office(parts).live(2_000)
        office(parts).snapshot()
        await parts.sampling.commit()
        await parts.closing.seal_due()
        (final,) = await sealed(parts, "final")

    gaps = final["data"]["coverage"]["gaps"]["list"]
    assert ("pbx2", iso(down), "pbx_unreachable") in [
        (gap["pbx"], gap["start"], gap["cause"]) for gap in gaps
    ]


async def test_what_came_to_light_later_contradicts_no_final(awake, office, configure, clock, month) -> None:
    """A final that was sealed while a PBX was down says the same when it is recomputed after the PBX came back, though a call turns out to have lived all through."""
    config = configure()
    clock.start_at(month("2026-11")[1] - HOUR_MS)
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        leg = here.call()
        await here.live(MINUTE)
        parts.sampling.lost("pbx1", clock.now(), Cause.LINK_LOST)
        for _ in range(15):
            await here.live(6 * MINUTE)
        await parts.closing.seal_due()
        (final,) = await sealed(parts, "final")
        await here.live(MINUTE)
        here.snapshot(leg)
        await here.live(MINUTE)

        def work(db):
            period = desk.period_named(db, "acme", "2026-11")
            return desk.recompute(db, configured.plan_of(config), "acme", period)

        again = await parts.store.read(work)

    assert final["data"]["traffic"]["in"]["answered_ms"] == MINUTE
    assert (again.sealed.id, again.differences) == (final["id"], ())


async def test_a_pbx_that_is_added_hides_nothing(awake, office, configure, clock) -> None:
    """Time observed before another PBX became the tenant's stays observed."""
    rest = UPSTREAM
    async with awake(configure(tenants=[ACME], rest=rest)) as parts:
        office(parts).snapshot()
        await office(parts).live(30 * MINUTE)
    async with awake(configure(tenants=[BOTH], pbxs=["pbx1", "pbx2"], rest=rest)) as parts:
        office(parts, "pbx1").snapshot()
        await office(parts, "pbx1").live(MINUTE)
        office(parts, "pbx2").snapshot()
        await office(parts, "pbx1").live(MINUTE)
        await parts.closing.seal_due()
        (interim,) = await sealed(parts, "interim")

    coverage = interim["data"]["coverage"]
    assert 31 * MINUTE <= coverage["observed_ms"] < 32 * MINUTE
    assert sum(interim["data"]["levels"]["channels"]["time_at_level_ms"].values()) == coverage["observed_ms"]
