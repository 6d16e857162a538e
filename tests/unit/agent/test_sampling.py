"""Events become facts, facts become rows; a disk that fails and a loop that stands still change no figure."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from agent.running import Running
from agent.sampling import STALL_MS
from agent.store import ledger
from meter.events import LegChanged, LegStarted, Sighting
from meter.model import Cause, Direction, Known, Level
from meter.periods import HOUR_MS

MINUTE = 60_000
EVER = (0, 1 << 60)


async def gaps(parts) -> list[tuple[str, int, int | None]]:
    found = await parts.store.read(lambda db: ledger.gaps(db, ["pbx1"], *EVER))
    return [(gap.cause.value, gap.start, gap.end) for gap in found["pbx1"]]


async def legs(parts, tenant: str | None = "acme") -> list:
    return await parts.store.read(lambda db: ledger.legs(db, tenant, *EVER))


async def disk(parts, *, works: bool) -> None:
    """Make every write fail as on a disk that is mounted read-only, or work again."""
    conn, loop = parts.store._write_db.conn, asyncio.get_running_loop()
    await loop.run_in_executor(
        parts.store._writer, lambda: conn.execute(f"PRAGMA query_only = {'OFF' if works else 'ON'}")
    )


async def test_a_commit_holds_what_was_taken(awake, office) -> None:
    """What was taken is in the ledger after one commit, ends and answers included; the next one has nothing to repeat."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        one, two = here.call(), here.call(answered=False)
        await here.live(3_000)
        here.hang_up(one)
        await parts.sampling.commit()
        first, second = await legs(parts)
        assert (first.leg, first.end, first.answer) == (one, parts.clock.now(), first.start)
        assert (second.leg, second.end, second.answer) == (two, None, None)
        await parts.sampling.commit()
        assert await legs(parts) == [first, second]


async def test_a_disk_that_fails_loses_nothing(awake, office, clock) -> None:
    """While every write fails counting goes on, trouble is shown, and all of it is written when the disk works again."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(2_000)
        before = await legs(parts)
        await disk(parts, works=False)
        calls = [here.call() for _ in range(4)]
        await here.live(5_000)
        here.hang_up(*calls[:3])
        await here.live(5_000)
        assert parts.sampling.disk is not None
        assert parts.sampling.disk.hint
        assert await legs(parts) == before
        assert parts.sampling.levels.now("acme")[Level.CHANNELS] == 1
        await disk(parts, works=True)
        await parts.sampling.commit()
        assert parts.sampling.disk is None
        assert [leg.leg for leg in await legs(parts)] == calls
        assert [leg.end is None for leg in await legs(parts)] == [False, False, False, True]
        notices = await parts.store.read(lambda db: db.execute("SELECT notice FROM notices").fetchall())
        assert len(notices) >= 1
        assert [cause for cause, *_ in await gaps(parts)][1:] == []


async def test_a_full_disk_does_not_starve_the_watchdog(awake, office, clock) -> None:
    """A commit that failed has ended too: the loop turns, so no watchdog makes a gap of a full disk."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await disk(parts, works=False)
        clock.advance(20_000)
        assert parts.sampling.tried_at < clock.boot()
        await parts.sampling.commit()
        assert parts.sampling.disk is not None
        assert parts.sampling.tried_at == clock.boot()


async def test_a_bug_in_a_commit_loses_nothing(awake, office) -> None:
    """A commit that fails for a reason nobody thought of raises, and what it held is in the next one."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        await parts.store.write(
            lambda db: db.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON legs BEGIN SELECT RAISE(ABORT, 'a bug'); END"
            )
        )
        leg = here.call()
        with pytest.raises(sqlite3.IntegrityError, match="a bug"):
            await parts.sampling.commit()
        await parts.store.write(lambda db: db.execute("DROP TRIGGER broken"))
        await parts.sampling.commit()
        assert [found.leg for found in await legs(parts)] == [leg]


async def test_killed_between_commits(awake, office, clock) -> None:
    """Kill -9 loses what came after the last commit and nothing else; that time is a gap `agent_down`."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(2_000)
        kept = here.call()
        await here.live(2_000)
        committed = clock.now()
        clock.advance(900)
        here.call()
    clock.advance(MINUTE)

    async with awake() as parts:
        here = office(parts)
        assert [leg.leg for leg in await legs(parts)] == [kept]
        here.snapshot(kept)
        back = clock.now()
        await here.live(1_000)
        assert (await gaps(parts))[-1] == ("agent_down", committed, back)
        (leg,) = await legs(parts)
        assert (leg.leg, leg.end) == (kept, None)
        assert parts.sampling.levels.now("acme")[Level.CHANNELS] == 1
        figures = parts.sampling.view("acme", clock.now())
        assert figures.levels[Level.CHANNELS].peak.level == 1


async def test_one_call_stays_one_over_a_kill(awake, office, clock) -> None:
    """Two legs that were one call before the agent was killed are one call after it, though the list names them apart."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        first, second = here.call(), here.call()
        here.tell(LegChanged(clock.now(), second, first))
        await here.live(1_000)
        assert parts.sampling.levels.now("acme")[Level.CALLS] == 1
    clock.advance(MINUTE)

    async with awake() as parts:
        here = office(parts)
        here.snapshot(first, second)
        assert parts.sampling.levels.now("acme")[Level.CHANNELS] == 2
        assert parts.sampling.levels.now("acme")[Level.CALLS] == 1


async def test_a_lost_pbx_is_not_heard(awake, office, clock) -> None:
    """While a PBX is lost the agent commits on, and what it writes does not say that the PBX was heard."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(2_000)
        heard_at = clock.now()
        parts.sampling.lost("pbx1", heard_at, Cause.LINK_LOST)
        await here.live(MINUTE)

        left = await parts.store.read(lambda db: ledger.left(db, "pbx1"))
        assert (left.heard_at, left.gap.start) == (heard_at, heard_at)


async def test_legs_of_a_pbx_that_is_followed_no_longer(awake, office, configure, clock) -> None:
    """A leg that was up on a PBX which the operator took out ended where that PBX was last heard; it is not up for ever."""
    both = 'id = "acme"\nmatch = { trunks = ["PJSIP/pbx1-kpn", "PJSIP/pbx2-kpn"] }\ncapacity = 2'
    async with awake(configure(tenants=[both], pbxs=["pbx1", "pbx2"])) as parts:
        one, two = office(parts, "pbx1"), office(parts, "pbx2")
        one.snapshot()
        two.snapshot()
        await one.live(1_000)
        two.call()
        await one.live(1_000)
        heard_at = clock.now()
    clock.advance(MINUTE)

    async with awake(configure()) as parts:
        here = office(parts)
        here.snapshot()
        await here.live(MINUTE)
        (leg,) = await legs(parts)
        channels = parts.sampling.view("acme", clock.now()).levels[Level.CHANNELS]

    assert (leg.pbx, leg.end, leg.end_known) == ("pbx2", heard_at, Known.GAP)
    assert channels.peak.level == 1
    assert channels.time_at_level_ms == {0: 1_000 + MINUTE, 1: 1_000}


async def test_a_stall_is_a_gap(awake, office, clock) -> None:
    """A loop that stood still for more than two seconds opens a gap from its last turn to the next fresh snapshot."""
    async with awake() as parts:
        asked: list[int] = []
        parts.sampling.resnapshot = lambda: asked.append(clock.now())
        here = office(parts)
        here.snapshot()
        await here.live(3_000)
        before = clock.now()
        requested = clock.now()
        clock.advance(STALL_MS + 1)
        parts.sampling.mind_time()
        assert asked == [clock.now()]
        assert not parts.sampling.observed("acme")
        here.snapshot(
            asked_ms_ago=clock.now() - requested
        )  # asked for before the stall: nobody knows how old it is
        assert not parts.sampling.observed("acme")
        await here.live(1_000)
        here.snapshot()
        await here.live(1_000)
        assert parts.sampling.observed("acme")
        assert (await gaps(parts))[-1] == ("agent_stalled", before, clock.now() - 1_000)


async def test_two_seconds_are_no_stall(awake, office, clock) -> None:
    """A turn that takes up to two seconds is none."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        for _ in range(5):
            clock.advance(STALL_MS)
            parts.sampling.mind_time()
        await parts.sampling.commit()
        assert [cause for cause, *_ in await gaps(parts)] == ["not_installed"]


async def test_events_in_a_stall_are_taken(awake, office, clock) -> None:
    """Events that waited through a stall are taken; the legs they tell of are there when the snapshot confirms them."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        clock.advance(10_000)
        leg = here.call()
        assert not parts.sampling.observed("acme")
        clock.advance(500)
        here.snapshot(leg)
        assert parts.sampling.levels.now("acme")[Level.CHANNELS] == 1
        await parts.sampling.commit()
        (found,) = await legs(parts)
        assert (found.leg, found.end) == (leg, None)


async def test_a_forward_step_is_a_gap(awake, office, clock) -> None:
    """The wall clock set forward is a gap `clock_step` from the last even instant; the step is stated in the ledger."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(2_000)
        before = clock.now()
        clock.step(3 * MINUTE)
        await here.live(1_000)
        clock.advance(1)
        here.snapshot()
        await parts.sampling.commit()
        cause, start, end = (await gaps(parts))[-1]
        assert (cause, end) == ("clock_step", clock.now())
        assert before <= start <= before + 1_000
        assert await parts.store.read(lambda db: ledger.steps(db, *EVER)) == (1, 3 * MINUTE, 0)


async def test_a_step_outlives_a_disk_that_fails(awake, office, clock) -> None:
    """A step of the wall clock that was noticed while the disk failed is in the ledger, once, when the disk works again."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        await disk(parts, works=False)
        clock.step(HOUR_MS)
        await here.live(3_000)
        assert parts.sampling.disk is not None
        await disk(parts, works=True)
        await here.live(3_000)

        assert await parts.store.read(lambda db: ledger.steps(db, *EVER)) == (1, HOUR_MS, 0)


async def test_a_backward_step_stands_still(awake, office, clock) -> None:
    """After a backward step nothing is measured until wall time has passed it: no gap, no negative time, and it is stated."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(10_000)
        leg = here.call()
        await here.live(2_000)
        stood = clock.now()
        clock.step(-30_000)
        await here.live(20_000)
        here.hang_up(leg)
        assert clock.now() == stood
        await here.live(12_000)
        assert clock.now() > stood
        (found,) = await legs(parts)
        assert found.start <= found.end == stood
        assert [cause for cause, *_ in await gaps(parts)] == ["not_installed"]
        assert await parts.store.read(lambda db: ledger.steps(db, *EVER)) == (1, 30_000, 30_000)
        figures = parts.sampling.view("acme", clock.now())
        assert sum(figures.levels[Level.CHANNELS].time_at_level_ms.values()) == figures.observed_ms


async def test_a_slow_disk_is_no_stall(awake, office, clock) -> None:
    """While a commit waits for the disk the event loop turns: that is no stall, and events are taken meanwhile."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        other = sqlite3.connect(parts.store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        commit = asyncio.ensure_future(parts.sampling.commit())  # noqa: TID251 - the test's own task
        beat = asyncio.ensure_future(Running(parts, 5, None).beat())  # noqa: TID251 - likewise
        await asyncio.sleep(0)
        for _ in range(12):
            clock.advance(500)
            async with asyncio.timeout(5):
                while parts.sampling.turned_at < clock.now():  # noqa: ASYNC110 - its heart tells nobody that it beat
                    await asyncio.sleep(0)
        here.call()
        assert not commit.done()
        assert parts.sampling.levels.now("acme")[Level.CHANNELS] == 1
        other.execute("ROLLBACK")
        other.close()
        async with asyncio.timeout(10):
            await commit
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        await parts.sampling.commit()
        assert len(await legs(parts)) == 1
        assert [cause for cause, *_ in await gaps(parts)] == ["not_installed"]


async def test_the_last_commit_comes_with_the_end(awake, office, clock) -> None:
    """A loop that is told to end commits once more: a clean stop loses nothing."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        loop = asyncio.ensure_future(parts.sampling.run())  # noqa: TID251 - the test's own task
        await asyncio.sleep(0)
        leg = here.call()
        loop.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(loop, return_exceptions=True)
        assert [found.leg for found in await legs(parts)] == [leg]


async def test_strays_are_kept(awake, office, clock) -> None:
    """Legs of no trunk and legs of no tenant are in the ledger, count for nobody, and hold no number."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(1_000)
        for number, endpoint in enumerate(("PJSIP/pbx1-shared", "PJSIP/0612345678")):
            here.tell(LegStarted(clock.now(), Sighting(f"s.{number}", f"s.{number}", endpoint, Direction.IN)))
        await parts.sampling.commit()
        unassigned, unclassified = await legs(parts, None)
        assert (unassigned.trunk, unclassified.trunk) == ("PJSIP/pbx1-shared", None)
        assert "0612345678" not in unclassified.endpoint
        assert parts.sampling.levels.unassigned == {"pbx1": 1}
        assert parts.sampling.levels.unclassified == {"pbx1": 1}
        assert parts.sampling.levels.now("acme")[Level.CHANNELS] == 0


async def test_link_loss_keeps_the_first_cause(awake, office, clock) -> None:
    """A gap keeps the start and the cause that it had, whatever goes wrong meanwhile."""
    async with awake() as parts:
        here = office(parts)
        here.snapshot()
        await here.live(5_000)
        heard = clock.now() - 2_000
        parts.sampling.lost("pbx1", heard, Cause.LINK_LOST)
        parts.sampling.lost("pbx1", heard + 1_000, Cause.LOGIN_REFUSED)
        clock.advance(STALL_MS + MINUTE)
        parts.sampling.mind_time()
        here.snapshot()
        await parts.sampling.commit()
        assert (await gaps(parts))[1:] == [("link_lost", heard, clock.now())]
