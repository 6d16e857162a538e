"""An overrun becomes a notice and what must leave, in one transaction, once; time that was not seen calms nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from agent.store import outbox, records
from meter.capacity import CALM_MS

MINUTE = 60_000
TENANT = """id = "acme"
match = { trunks = ["PJSIP/pbx1-kpn"] }
capacity = 2
packages = [2, 4, 8]
alerts = ["noc@partner.example", "second@partner.example"]
warn_at = 100"""
SMTP = '\n[smtp]\nhost = "127.0.0.1"\nsender = "meter@partner.example"\n'


@pytest.fixture
def config(configure):
    return configure(tenants=[TENANT], rest=SMTP)


async def told(parts) -> list[dict]:
    rows = await parts.store.read(
        lambda db: db.execute("SELECT notice FROM notices ORDER BY at, id").fetchall()
    )
    return [json.loads(row[0]) for row in rows]


async def waiting(parts) -> list[str]:
    rows = await parts.store.read(lambda db: outbox.due(db, "mail", 1 << 60, 100))
    return [row.id for row in rows]


async def over(parts, here, calls: int = 3) -> list[str]:
    here.snapshot()
    await here.live(1_000)
    legs = [here.call() for _ in range(calls)]
    await parts.sampling.commit()
    return legs


async def test_an_overrun_is_a_row_with_the_next_commit(awake, office, config, clock) -> None:
    """One notice and one mail for each address are written together, with the figures of that instant."""
    async with awake(config) as parts:
        await over(parts, office(parts))
        warning, notice = await told(parts)
        assert (warning["kind"], warning["level"]) == ("warning", 2)
        assert (notice["kind"], notice["reason"], notice["level"], notice["capacity"]) == (
            "over",
            "first",
            3,
            2,
        )
        assert notice["at"] == notice["over_since"] == notice["episode_start"] == clock.now()
        assert (notice["peak"], notice["package"], notice["overruns"], notice["overruns_ms"]) == (3, 4, 1, 0)
        assert notice["incomplete"] is True  # the month began before anything was installed
        ids = await waiting(parts)
        assert len(ids) == len(set(ids)) == 4
        assert {i.rpartition("/mail/")[0] for i in ids} == {warning["id"], notice["id"]}


async def test_it_wakes_the_commit_at_once(awake, office, config) -> None:
    """The loop does not wait for its second: the row is written as soon as the overrun is seen."""
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        woken = asyncio.Event()
        parts.sampling.wake_lanes = woken.set
        loop = asyncio.ensure_future(parts.sampling.run())  # noqa: TID251 - the test's own task
        await asyncio.sleep(0)
        for _ in range(3):
            here.call()
        async with asyncio.timeout(0.9):  # less than the time between two commits
            await woken.wait()
        assert [n["kind"] for n in await told(parts)][-1] == "over"
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_killed_around_the_commit_it_is_both_or_none(awake, office, config, clock) -> None:
    """Notice and mails are one transaction: whatever breaks inside it, neither is there, and both come with the next."""
    async with awake(config) as parts:
        await parts.store.write(
            lambda db: db.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'killed'); END"
            )
        )
        with pytest.raises(Exception, match="killed"):
            await over(parts, office(parts))
        assert await told(parts) == []
        assert (
            await parts.store.read(lambda db: db.execute("SELECT count(*) FROM watches").fetchone()[0]) == 0
        )
        await parts.store.write(lambda db: db.execute("DROP TRIGGER broken"))
        await parts.sampling.commit()
        assert [n["kind"] for n in await told(parts)] == ["warning", "over"]
        assert len(await waiting(parts)) == 4


async def test_a_restart_says_nothing_twice(awake, office, config, clock) -> None:
    """Killed after the row was written, over again or still over: people are not told again within `repeat`."""
    async with awake(config) as parts:
        legs = await over(parts, office(parts))
    for _ in range(3):
        clock.advance(MINUTE)
        async with awake(config) as parts:
            here = office(parts)
            here.snapshot(*legs)
            await here.live(3_000)
            assert [n["kind"] for n in await told(parts)] == ["warning", "over"]
            assert len(await waiting(parts)) == 4


async def test_still_over_is_said_again_after_repeat(awake, office, config, clock) -> None:
    """An overrun that lasts is told again after `repeat`, also over a restart, under another id."""
    async with awake(config) as parts:
        legs = await over(parts, office(parts))
    clock.advance(4 * 60 * MINUTE)
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot(*legs)
        await here.live(3_000)
        notices = await told(parts)

    assert [(n["kind"], n["reason"]) for n in notices][1:] == [("over", "first"), ("over", "repeat")]
    assert len({n["id"] for n in notices}) == 3


async def test_fifteen_observed_minutes_end_an_episode(awake, office, config, clock) -> None:
    """Time alone ends an episode, within a second of its fifteenth calm minute, with one notice."""
    async with awake(config) as parts:
        here = office(parts)
        legs = await over(parts, here)
        await here.live(MINUTE)
        here.hang_up(legs[0])
        calm = clock.now()
        await here.live(CALM_MS - 1_000)
        assert [n["kind"] for n in await told(parts)] == ["warning", "over"]
        await here.live(3_000)
        ended = (await told(parts))[-1]

    assert (ended["kind"], ended["reason"], ended["level"], ended["episode_peak"]) == (
        "ended",
        "episode_ended",
        2,
        3,
    )
    assert calm + CALM_MS <= ended["at"] <= calm + CALM_MS + 1_000
    assert (ended["overruns"], ended["overruns_ms"], ended["over_since"]) == (1, MINUTE, None)


@pytest.mark.parametrize("how", ["killed", "stopped", "stalled", "link lost"])
async def test_time_not_seen_calms_nothing(awake, office, config, clock, how) -> None:
    """An hour in which nothing was seen, however it came about, ends no episode; only observed minutes count."""
    async with awake(config) as parts:
        here = office(parts)
        legs = await over(parts, here)
        here.hang_up(*legs)
        await here.live(MINUTE)
        if how == "stopped":
            parts.sampling.alerting.keep_watches()
            await parts.sampling.commit()
        if how in ("stalled", "link lost"):
            if how == "link lost":
                from meter.model import Cause  # noqa: PLC0415 - only here

                parts.sampling.lost("pbx1", clock.now(), Cause.LINK_LOST)
                await here.live(59 * MINUTE)
                clock.advance(1_900)
            else:
                clock.advance(60 * MINUTE)
                parts.sampling.mind_time()
                clock.advance(1)
            here.snapshot()
            await calms_only_when_seen(parts, here)
            return
    clock.advance(60 * MINUTE)
    async with awake(config) as parts:
        here = office(parts)
        here.snapshot()
        await calms_only_when_seen(parts, here)


async def calms_only_when_seen(parts, here) -> None:
    await here.live(13 * MINUTE)
    assert "ended" not in [n["kind"] for n in await told(parts)]
    await here.live(3 * MINUTE)
    assert [n["kind"] for n in await told(parts)].count("ended") == 1


async def test_a_new_period_counts_from_its_start(awake, office, configure, clock, at) -> None:
    """Over across the end of a period: the new one has its own notice, which counts one overrun, not two."""
    config = configure(tenants=[TENANT], rest=SMTP)
    clock.start_at(at("2026-11-30T22:55:00Z"))
    async with awake(config) as parts:
        here = office(parts)
        await over(parts, here)
        await here.live(4 * MINUTE + 59_000 - 1_000 - 500)
        await here.live(3_000)
        notices = await told(parts)

    assert [(n["kind"], n["reason"], n["period"]) for n in notices] == [
        ("warning", "first", "2026-11"), ("over", "first", "2026-11"), ("over", "first", "2026-12"),
    ]  # fmt: skip
    assert notices[-1]["at"] - notices[-1]["period_start"] <= 1_000
    assert notices[-1]["overruns"] == 1


async def test_a_disk_that_fails_delays_a_notice_and_no_more(awake, office, config, clock) -> None:
    """Written when the disk works again, a notice still says when it happened, and is written once."""
    async with awake(config) as parts:
        loop, conn = asyncio.get_running_loop(), parts.store._write_db.conn
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        await loop.run_in_executor(parts.store._writer, lambda: conn.execute("PRAGMA query_only = ON"))
        for _ in range(3):
            here.call()
        happened = clock.now()
        await here.live(10 * MINUTE)
        assert await told(parts) == []
        await loop.run_in_executor(parts.store._writer, lambda: conn.execute("PRAGMA query_only = OFF"))
        await here.live(3_000)
        assert [(n["kind"], n["at"]) for n in await told(parts)] == [
            ("warning", happened),
            ("over", happened),
        ]
        assert len(await waiting(parts)) == 4


async def test_without_a_capacity_nothing_is_said(awake, office, configure) -> None:
    """A tenant without an agreed capacity is metered and never told anything."""
    async with awake(configure(tenants=['id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn"] }'])) as parts:
        await over(parts, office(parts), calls=30)
        assert await told(parts) == []
        assert await parts.store.read(records.counts) == {"sealed": 0, "receipted": 0, "refused": 0}
