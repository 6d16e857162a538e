"""What the simulated 3CX writes of calls of every kind is told as those calls were, over its connection and through its file."""

import asyncio
from collections import Counter

import pytest

from connectors.threecx.records_only import RecordsOnly
from connectors.threecx.settings import Access, Cdr, Settings
from connectors.threecx.simulated.cycles import CYCLES, begin
from connectors.threecx.simulator import SimulatedThreeCX
from meter.model import Direction
from tests.threecx.around import listening_port

NINE = 1_794_474_000_000


class Clock:
    def __init__(self):
        self.at = NINE

    def __call__(self):
        return self.at


@pytest.mark.parametrize("way", ["connect", "file"])
@pytest.mark.parametrize("talk_s", [60.0, None], ids=["answered", "never answered"])
async def test_calls_of_every_kind(tmp_path, way, talk_s):
    """Each trunk leg of every kind of call is told once with its trunk and its way, and with its whole life if that is its call's."""
    clock, file, port = Clock(), tmp_path / "cdr.log", listening_port()
    file.touch()
    cdr = Cdr(file=file) if way == "file" else Cdr(port=port)
    connector = RecordsOnly("cloud", Settings(access=Access.CDR, poll_s=0.02, cdr=cdr), clock)
    arrived, news = [], asyncio.Event()

    def sink(events):
        arrived.extend(events)
        news.set()

    async def follow():
        await connector.serve(sink)

    async def until(condition):
        async with asyncio.timeout(10):
            while not condition():
                news.clear()
                await news.wait()

    target = ("file", file) if way == "file" else ("connect", "127.0.0.1", port)
    async with SimulatedThreeCX(clock, cdr=target) as threecx, asyncio.TaskGroup() as group:
        serving = group.create_task(follow())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while not arrived:
                await threecx.advance()  # it connects whenever somebody listens
                await asyncio.sleep(0.005)
        for number, cycle in enumerate(CYCLES):
            begin(threecx.exchange, cycle, at=NINE + number * 1_000, talk_s=talk_s)
        for _ in range(30):
            clock.at += 60_000
            await threecx.advance()
        written = sum(1 for call in threecx.exchange.ended if call.recorded)
        await until(lambda: connector.beside["CDR lines"] >= written and connector.heard_at == clock.at)
        clock.at += 60_000
        await until(lambda: connector.heard_at == clock.at and connector._intake.heard_at is not None)
        told = await connector.read_calls(None, soon=True)
        truth = [(call, leg) for call in threecx.exchange.ended for leg in call.legs()]
        serving.cancel()

    assert connector.beside["CDR lines refused"] == 0
    assert Counter((leg.endpoint, leg.direction) for leg in told.legs) == Counter(
        (f"3CX/{leg.trunk}", leg.direction) for _, leg in truth
    )
    whole = Counter(
        (f"3CX/{leg.trunk}", leg.direction, leg.start // 1000, leg.end // 1000)
        for call, leg in truth
        if (leg.start, leg.end) == (call.start, call.end) or leg.direction is Direction.IN
    )
    found = Counter((leg.endpoint, leg.direction, leg.start // 1000, leg.end // 1000) for leg in told.legs)
    assert whole <= found
