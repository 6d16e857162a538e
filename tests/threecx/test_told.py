"""Polls and call records of the same calls: nothing is counted twice, nothing is lost, nobody is told twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.store import told
from agent.store.database import Database
from connectors.threecx.simulated import cycles
from connectors.threecx.simulated.faults import Trouble
from connectors.threecx.simulator import ADMIN, SimulatedThreeCX
from meter.model import Direction, Known, Leg
from meter.telling import TOLD_BELOW
from tests.threecx import hurried
from tests.threecx.around import (
    BEGIN,
    PERIOD_MS,
    Beside,
    LoopClock,
    beside,
    configured,
    listening_port,
    running,
)


async def finals(one: Beside) -> None:
    """Wait for the first period's final."""

    async def sealed() -> bool:
        return bool(await one.sealed("final"))

    await one.until(sealed)


@pytest.mark.parametrize("poll", ["2s", "10s"])
def test_calls_that_cdr_tells_before_the_polls_saw_their_end_are_counted_once(
    tmp_path: Path, poll: str
) -> None:
    """Ten calls one after another are a peak of one and ten legs, however late a poll sees each end."""
    port = listening_port()

    async def main() -> None:
        more = f'poll = "{poll}"\ncdr = {{ listen = "127.0.0.1:{port}" }}'
        async with beside(tmp_path, ADMIN.client_id, more=more, cdr=("connect", "127.0.0.1", port)) as one:
            now = one.parts.clock.now

            async def live() -> None:
                while True:
                    await one.pbx.advance()
                    await asyncio.sleep(0.5)

            living = asyncio.get_running_loop().create_task(live())
            await one.pbx.asked("GET */ActiveCalls", 2)
            for number in range(10):
                cycles.begin(
                    one.pbx.exchange,
                    "inbound",
                    at=now() + number * 10_700,
                    extension="101",
                    ring_s=4,
                    talk_s=5,
                )
            await finals(one)
            (said,) = await one.sealed("final")
            assert said["sampling"]["cloud"]["call_records"]["source"] == "cdr"
            assert (said["levels"]["channels"]["peak"], said["traffic"]["in"]["legs"]) == (1, 10)
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)

    hurried.run(main())


def test_one_answer_that_lacks_a_call_makes_no_second_one(tmp_path: Path) -> None:
    """A list that is empty once in the midst of a call costs what that poll saw, and the record has one leg."""

    async def main() -> None:
        async with beside(tmp_path) as one:
            await one.pbx.asked("GET */ActiveCalls", 2)
            cycles.begin(
                one.pbx.exchange, "inbound", at=one.parts.clock.now(), extension="101", ring_s=4, talk_s=150
            )
            await one.at(90_000)
            one.pbx.faults.add(Trouble.EMPTY, "*/activecalls", times=1)
            await finals(one)
            (said,) = await one.sealed("final")
            flow = said["traffic"]["in"]
            assert (said["levels"]["channels"]["peak"], flow["legs"], flow["answered_ms"]) == (1, 1, 150_000)

    hurried.run(main())


def test_what_was_told_live_is_not_told_again_at_the_close(tmp_path: Path) -> None:
    """The call log, read when the period closes, knows of the same overrun: one mail."""

    async def main() -> None:
        async with beside(tmp_path) as one:
            await one.pbx.asked("GET */ActiveCalls", 2)
            await one.at(200_000)
            for _ in range(5):
                cycles.begin(
                    one.pbx.exchange,
                    "inbound",
                    at=one.parts.clock.now(),
                    extension="103",
                    ring_s=2,
                    talk_s=60,
                )
            await finals(one)
            await asyncio.sleep(60)
            assert await one.subjects() == ["main is over its capacity (5 lines, 3 agreed)"]

    hurried.run(main())


def test_a_log_that_fails_is_asked_less_and_less_often(tmp_path: Path) -> None:
    """While the call log answers 504, polls go on, and it is asked at growing intervals."""

    async def main() -> None:
        async with beside(tmp_path) as one:
            one.pbx.faults.add(Trouble.LATE_GATEWAY, "*calllog*")
            await one.at(130_000)
            before = sum("CallLog" in path for path in one.pbx.received)
            await one.at(190_000)
            assert sum("CallLog" in path for path in one.pbx.received) - before <= 1
            assert one.parts.sampling.observed("main")

    hurried.run(main())


def test_after_a_restart_over_the_close_the_final_waits_for_the_log(tmp_path: Path) -> None:
    """The agent is started again just after the close: what it was told before stands in the ledger, and it waits for the rest."""

    async def main() -> None:
        clock = LoopClock()
        async with SimulatedThreeCX(clock.now) as pbx:
            config = configured(tmp_path, pbx)
            async with running(config, clock, pbx) as one:
                await one.at(280_000)
                polls = sum(path.endswith("ActiveCalls") for path in pbx.received)
                await pbx.asked("GET */ActiveCalls", polls + 1)
                for _ in range(6):
                    cycles.begin(
                        pbx.exchange, "inbound", at=clock.now() + 300, extension="103", ring_s=0.2, talk_s=0.8
                    )
                await one.at(292_000)
            await asyncio.sleep(10)
            async with running(config, clock, pbx) as one:
                await finals(one)
                await asyncio.sleep(60)
                (said,) = await one.sealed("final")
                assert said["levels"]["channels"]["peak"] == 6
                assert await one.sealed("correction") == []

    hurried.run(main())


def test_a_correction_waits_until_what_is_told_reaches_the_close(tmp_path: Path) -> None:
    """A backlog that tells of a period in pieces makes one correction, though its last piece holds no call of it."""

    async def main() -> None:
        async with beside(tmp_path, ADMIN.client_id) as one:  # its log can't be read: the test tells
            call = cycles.begin(
                one.pbx.exchange, "inbound", at=BEGIN + 60_300, extension="103", ring_s=0.2, talk_s=0.8
            )
            await finals(one)
            start, end = call.start, call.end
            assert end is not None
            trunk = "3CX/10000"
            leg = Leg(
                TOLD_BELOW - 1, "cloud", "a:from", trunk, trunk, Direction.IN, "a", "main",
                start, Known.CALL_LOG, start + 200, Known.CALL_LOG, end, Known.CALL_LOG,
            )  # fmt: skip

            def tell(db: Database) -> None:
                told.tell(db, [leg], {}, one.parts.clock.now())
                told.cover(db, "cloud", "call_log", BEGIN, BEGIN + PERIOD_MS // 2)

            await one.parts.store.write(tell)
            await asyncio.sleep(60)
            assert await one.sealed("correction") == []
            await one.parts.store.write(
                lambda db: told.cover(db, "cloud", "call_log", BEGIN + PERIOD_MS // 2, BEGIN + PERIOD_MS)
            )
            await asyncio.sleep(60)
            (again,) = await one.sealed("correction")
            assert again["levels"]["channels"]["peak"] == 1

    hurried.run(main())
