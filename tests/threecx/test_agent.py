"""A whole agent beside a simulated 3CX, in skipped time: what it seals, corrects and tells is what was true."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agent import checking, status
from connectors.asterisk.simulated import calls
from connectors.asterisk.simulator import SimulatedAsterisk
from connectors.threecx.simulated import cycles
from connectors.threecx.simulated.faults import Trouble
from connectors.threecx.simulator import ADMIN
from meter.model import Level
from meter.periods import Period
from tests.threecx import hurried
from tests.threecx.around import BEGIN, PERIOD_MS, LoopClock, beside, listening_port


def test_a_period_is_sealed_and_corrected_once_the_last_call_is_told(tmp_path: Path) -> None:
    """Polls and the call log make one record; a call that was up at the close is followed by one correction.

    A crowd of short calls that no poll saw sets the peak, the record names both peaks, a notice
    about it comes late and says so. Recomputing final and correction finds them as they were sealed.
    """

    async def main() -> None:
        async with beside(tmp_path) as one:
            pbx, now = one.pbx, one.parts.clock.now
            await pbx.asked("GET */ActiveCalls")
            cycles.begin(pbx.exchange, "inbound", at=now(), extension="101", ring_s=4, talk_s=30)
            cycles.begin(
                pbx.exchange, "outbound", at=now(), extension="201", trunk="10001", ring_s=4, talk_s=20
            )
            cycles.begin(pbx.exchange, "queue", at=now(), extension="102", ring_s=9, talk_s=600)
            await one.at(60_000)
            polls = len([path for path in pbx.received if path.endswith("ActiveCalls")])
            await pbx.asked("GET */ActiveCalls", polls + 1)
            for _ in range(6):
                cycles.begin(pbx.exchange, "inbound", at=now() + 300, extension="103", ring_s=0.2, talk_s=0.8)

            async def final() -> bool:
                return bool(await one.sealed("final")) and bool(await one.sealed("final", "sales"))

            await one.until(final)
            (said,) = await one.sealed("final")
            channels, sampling = said["levels"]["channels"], said["sampling"]["cloud"]
            assert (channels["peak"], channels["peak_source"], channels["lower_bound"]) == (
                7,
                "call_log",
                True,
            )
            assert channels["peak_by"] == {"polls": 2, "call_log": 7}
            assert (sampling["method"], sampling["interval_ms"], sampling["peak_from"]) == (
                "polled",
                2000,
                "call_log",
            )
            assert sampling["polls"] > 100
            assert sampling["call_records"]["source"] == "call_log"
            assert sampling["proven_on"] == "a simulator"
            assert said["traffic"]["in"]["legs"] == 8
            assert (await one.sealed("final", "sales"))[0]["traffic"]["out"]["answered_ms"] == 20_000
            period = Period(said["period"]["name"], BEGIN, BEGIN + PERIOD_MS)
            assert await one.recomputed(period) == ()

            async def corrected() -> bool:
                return bool(await one.sealed("correction"))

            await one.until(corrected)
            (again,) = await one.sealed("correction")
            assert (again["revision"], again["replaces"]["id"]) == (2, f"main/{period.name}/final/1")
            assert again["levels"]["channels"]["peak"] == 7
            # The queue's call as the 3CX itself has it: answered when the queue took it.
            waiting = next(
                leg for leg in pbx.exchange.legs if leg.end is not None and leg.end > BEGIN + PERIOD_MS
            )
            assert waiting.answer is not None
            told = again["traffic"]["in"]["answered_ms"] - said["traffic"]["in"]["answered_ms"]
            assert 0 < told <= 2_000
            assert await one.recomputed(period) == ()
            await asyncio.sleep(120)
            assert len(await one.sealed("correction")) == 1
            assert await one.subjects() == ["main was over its capacity (7 lines, 3 agreed)"]
            assert pbx.dropped == []

    hurried.run(main())


def test_without_the_call_log_polls_set_the_peak_and_the_record_says_so(tmp_path: Path) -> None:
    """A client that may not read the log costs what lies between two polls, and nothing else."""

    async def main() -> None:
        async with beside(tmp_path, ADMIN.client_id) as one:
            pbx, now = one.pbx, one.parts.clock.now
            await pbx.asked("GET */ActiveCalls")
            for _ in range(2):
                cycles.begin(pbx.exchange, "inbound", at=now(), extension="101", ring_s=4, talk_s=30)

            async def final() -> bool:
                return bool(await one.sealed("final"))

            await one.until(final)
            (said,) = await one.sealed("final")
            channels = said["levels"]["channels"]
            assert (channels["peak"], channels["peak_source"], channels["lower_bound"]) == (
                2,
                "sampled",
                True,
            )
            assert "peak_by" not in channels
            assert said["sampling"]["cloud"]["call_records"] is None

    hurried.run(main())


def test_a_gap_is_a_gap_though_the_log_tells_of_it(tmp_path: Path) -> None:
    """While polls fail nothing is zero: the gap says that polls failed, and coverage adds up."""

    async def main() -> None:
        async with beside(tmp_path) as one:
            pbx, now = one.pbx, one.parts.clock.now
            await pbx.asked("GET */ActiveCalls")
            cycles.begin(pbx.exchange, "inbound", at=now(), extension="101", ring_s=4, talk_s=200)
            await one.at(60_000)
            pbx.faults.add(Trouble.FAILED, "*/activecalls", times=6)
            await one.at(120_000)

            async def final() -> bool:
                return bool(await one.sealed("final"))

            await one.until(final)
            (said,) = await one.sealed("final")
            found = [gap for gap in said["coverage"]["gaps"]["list"] if gap["cause"] == "poll_failed"]
            assert len(found) == 1
            assert said["coverage"]["observed_ms"] + said["coverage"]["gaps"]["total_ms"] == PERIOD_MS
            assert said["levels"]["channels"]["peak"] == 1
            assert said["sampling"]["cloud"]["missed_polls"] >= 3

    hurried.run(main())


TWO = """\

[[pbx]]
name = "old"
kind = "asterisk"
host = "127.0.0.1"
port = {port}
username = "meter"
secret = "only-for-simulations"
trunks = ["PJSIP/trunk-kpn"]
extensions = "1[0-9]{{2}}"

[[tenant]]
id = "both"
default = true
"""


def test_one_tenant_on_an_asterisk_and_a_3cx_has_one_level(tmp_path: Path) -> None:
    """Its level is the sum at every instant, its users are the sum, and each PBX is stated with its method."""

    async def main() -> None:
        async with (
            SimulatedAsterisk(LoopClock().now) as old,
            beside(tmp_path, text=TWO.format(port=old.port)) as one,
        ):
            following = asyncio.get_running_loop().create_task(one.parts.links[1].follow())
            pbx, now = one.pbx, one.parts.clock.now

            def level() -> int:
                return one.parts.sampling.levels.now("both")[Level.CHANNELS]

            async def becomes(wanted: int) -> None:
                async def holds() -> bool:
                    return level() == wanted and one.parts.sampling.observed("both")

                await one.until(holds)

            await becomes(0)
            first = calls.ring_in(old.exchange, "PJSIP/trunk-kpn", "PJSIP/100")
            await becomes(1)
            there = cycles.begin(
                pbx.exchange, "forward_to_mobile", at=now(), trunk="10001", out="10001", extension="300"
            )
            await becomes(3)
            first.hang_up()
            await becomes(2)
            there.hang_up()
            await becomes(0)

            async def final() -> bool:
                return bool(await one.sealed("final", "both"))

            await one.until(final)
            (said,) = await one.sealed("final", "both")
            assert said["levels"]["channels"]["peak"] == 3
            assert (said["sampling"]["old"], said["sampling"]["cloud"]["method"]) == (
                {"method": "events"},
                "polled",
            )
            assert said["levels"]["channels"]["lower_bound"]
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    hurried.run(main())


LINES = """\

[[tenant]]
id = "lines"
match = { trunks = ["3CX/10000"] }
capacity = 2
alerts = ["noc@partner.example"]
"""


def test_call_records_alone_give_the_figures_after_the_fact(tmp_path: Path) -> None:
    """With nothing but CDR output a period has its peak and its traffic; what is up now, and users, stay unknown.

    The record says how it was watched, and the notice that it came late.
    """
    port = listening_port()

    async def main() -> None:
        more = f'access = "cdr"\ncdr = {{ listen = "127.0.0.1:{port}" }}'
        async with beside(tmp_path, more=more, text=LINES, cdr=("connect", "127.0.0.1", port)) as one:
            pbx, now = one.pbx, one.parts.clock.now

            async def live() -> None:
                while True:
                    await pbx.advance()
                    await asyncio.sleep(0.5)

            living = asyncio.get_running_loop().create_task(live())

            async def connected() -> bool:
                return one.parts.links[0].up

            await one.until(connected)
            for number in range(3):
                cycles.begin(
                    pbx.exchange, "inbound", at=now() + number * 1000, extension="101", ring_s=4, talk_s=30
                )
            await asyncio.sleep(20)
            shown = (await one.parts.status.read(now()))["tenants"]["lines"]["levels"]["channels"]
            assert (shown["now"], shown["peak"]) == (None, 0)

            async def final() -> bool:
                return bool(await one.sealed("final", "lines"))

            await one.until(final)
            (said,) = await one.sealed("final", "lines")
            channels, sampling = said["levels"]["channels"], said["sampling"]["cloud"]
            assert (channels["peak"], channels["peak_source"], channels["lower_bound"]) == (
                3,
                "call_log",
                True,
            )
            assert (sampling["method"], sampling["call_records"]["source"]) == ("cdr", "cdr")
            assert (said["traffic"]["in"]["legs"], said["traffic"]["in"]["answered_ms"]) == (3, 90_000)
            assert said["users"]["at_close"] is None
            assert (
                await one.recomputed(Period(said["period"]["name"], BEGIN, BEGIN + PERIOD_MS), "lines") == ()
            )
            assert await one.subjects() == ["lines was over its capacity (3 lines, 2 agreed)"]
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)

    hurried.run(main())


def test_check_leaves_the_running_agents_token_alone(tmp_path: Path) -> None:
    """One token lives per client: beside a running agent `check` asks the agent, not the 3CX."""

    async def main() -> None:
        async with beside(tmp_path) as one:
            await one.pbx.asked("GET */ActiveCalls", 2)
            now = one.parts.clock.now

            async def read() -> dict[str, Any]:
                return await one.parts.status.read(now())

            answering = await status.serve(one.config.agent.socket, read)
            asked = one.pbx.received.count("POST /connect/token")
            found = await checking.check(one.config, one.parts.clock)
            await answering.cleanup()
            assert one.pbx.received.count("POST /connect/token") == asked == 1
            assert [
                one.said
                for one in found
                if one.about == "cloud" and "the running agent follows it" in one.said
            ]

    hurried.run(main())
