"""Loops through their bugs, links through their failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from agent.supervisor import MOST_BUGS, WORKED_MS, Bugged, Link, keep, waits
from connectors.connector import Sink
from connectors.errors import ConnectorError, Denied, Garbled, Unreachable
from meter.events import Snapshot
from meter.model import Cause


@pytest.mark.parametrize(("denied", "first", "longest"), [(False, 1.0, 60.0), (True, 60.0, 900.0)])
def test_waits_grow_jittered_and_bounded(denied: bool, first: float, longest: float) -> None:
    """Waits double from the first to the longest and stay there; chance spreads them; a refused login is slow from the start."""
    least = [waits(denied=denied, attempt=n, jitter=lambda: 0.0) for n in range(1, 200)]
    most = [waits(denied=denied, attempt=n, jitter=lambda: 0.999) for n in range(1, 200)]

    assert least == sorted(least)
    assert all(0 < low < high for low, high in zip(least, most, strict=True))
    assert all(high <= 1.7 * low for low, high in zip(least, most, strict=True))
    assert 0.75 * first <= least[0] <= most[0] <= 1.5 * first
    assert 0.75 * longest <= least[-1] <= most[-1] <= 1.5 * longest
    assert all(two == 2 * one for one, two in pairwise(least[:4]))
    if denied:
        assert min(least) >= 60.0, "40 attempts a minute have brought a PBX down"


async def turning(clock, task: asyncio.Task, until: Callable[[], bool], *, ms: int = 1_000) -> None:
    """Let the hand clock run until something is so, or the task ends."""
    async with asyncio.timeout(10):
        while not until() and not task.done():
            clock.advance(ms)
            await asyncio.sleep(0)


async def test_five_bugs_in_a_row_end_it(clock) -> None:
    """A loop that fails at once is started again with growing waits, and given up after the fifth time."""
    ran = 0

    async def broken() -> None:
        nonlocal ran
        ran += 1
        raise ZeroDivisionError("a bug")

    task = asyncio.ensure_future(keep("broken", clock, broken))  # noqa: TID251 - the test's own task
    await turning(clock, task, lambda: False)

    with pytest.raises(Bugged, match="broken failed 5 times") as ended:
        await task
    assert isinstance(ended.value.__cause__, ZeroDivisionError)
    assert ran == MOST_BUGS == 5
    assert [round(wait / 2**n, 2) >= 0.75 for n, wait in enumerate(clock.slept)] == [True] * 4
    assert clock.slept == sorted(clock.slept)


async def test_a_minute_of_work_forgives(clock) -> None:
    """Bugs with a minute of work between them are not in a row: they never end the program."""
    ran = 0

    async def now_and_then() -> None:
        nonlocal ran
        ran += 1
        if ran > 12:
            return
        clock.advance(WORKED_MS)
        raise ZeroDivisionError("a bug")

    task = asyncio.ensure_future(keep("now and then", clock, now_and_then))  # noqa: TID251 - the test's own task
    await turning(clock, task, lambda: False)
    await task

    assert ran == 13
    assert max(clock.slept) <= 1.5


async def test_an_outage_is_no_bug(clock) -> None:
    """A disk that fails a hundred times is tried again as often, and ends nothing."""
    from agent.store.database import StoreError  # noqa: PLC0415 - only here

    ran = 0

    async def hindered() -> None:
        nonlocal ran
        ran += 1
        if ran <= 100:
            raise StoreError("the disk is full", hint="make room", damaged=False)

    task = asyncio.ensure_future(keep("hindered", clock, hindered))  # noqa: TID251 - the test's own task
    await turning(clock, task, lambda: False, ms=30_000)
    await task

    assert ran == 101


class Scripted:
    """A PBX whose connections end as a script says: an error at once, or a snapshot and then an error."""

    name, method = "pbx1", "events"

    def __init__(self, clock, script: list[tuple[bool, Exception]]) -> None:
        self.heard_at: int | None = None
        self.served = 0
        self._clock = clock
        self._script = script

    async def serve(self, sink: Sink) -> None:
        if self.served == len(self._script):
            await asyncio.Event().wait()
        works, error = self._script[self.served]
        self.served += 1
        if works:
            self.heard_at = now = self._clock.now()
            sink([Snapshot(now, now, ())])
            self._clock.advance(25_000)
        raise error


async def followed(clock, script: list[tuple[bool, Exception]]) -> tuple[Link, list, list]:
    taken: list[object] = []
    lost: list[tuple[str, int, Cause]] = []
    connector = Scripted(clock, script)
    link = Link(connector, clock, lambda _, events: taken.extend(events), lambda *args: lost.append(args))
    task = asyncio.ensure_future(link.follow())  # noqa: TID251 - the test's own task
    await turning(clock, task, lambda: len(lost) == len(script))
    if not task.done():
        task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    link.ended = ended if not isinstance(ended, asyncio.CancelledError) else None
    return link, taken, lost


async def test_each_failure_opens_its_gap(clock) -> None:
    """A link's end is told once, with the instant at which the PBX was last heard and the cause of its kind."""
    script: list[tuple[bool, Exception]] = [
        (True, Unreachable("went silent", hint="look", cause=Cause.LINK_LOST)),
        (False, Unreachable("nobody answers", hint="look")),
        (False, Denied("wrong secret", hint="look")),
        (True, Garbled("nonsense", hint="look")),
    ]
    began = clock.now()
    link, taken, lost = await followed(clock, script)

    assert [cause for *_, cause in lost] == [
        Cause.LINK_LOST, Cause.PBX_UNREACHABLE, Cause.LOGIN_REFUSED, Cause.EVENTS_LOST,
    ]  # fmt: skip
    assert [at for _, at, _ in lost[:3]] == [taken[0].at] * 3, "it was last heard over the first connection"
    assert lost[3][1] == taken[1].at > taken[0].at >= began
    assert not link.up
    assert isinstance(link.trouble, ConnectorError)


async def test_a_refused_login_is_slow(clock) -> None:
    """After a refused login the next attempt waits a minute at least; after mere silence about a second."""
    await followed(
        clock,
        [(False, Denied("wrong secret", hint="look"))] * 3 + [(False, Unreachable("gone", hint="look"))],
    )
    assert all(wait >= 60 for wait in clock.slept[:3])

    clock.slept.clear()
    await followed(clock, [(False, Unreachable("gone", hint="look"))] * 9)
    assert clock.slept[0] <= 1.5
    assert 40 <= clock.slept[-1] <= 90


async def test_a_bug_in_a_link_is_a_gap_too(clock) -> None:
    """What is no connector's error ends the link with that error, and the PBX is not seen from its last word on."""
    link, _, lost = await followed(clock, [(True, ZeroDivisionError("a bug"))])

    assert isinstance(link.ended, ZeroDivisionError)
    assert [cause for *_, cause in lost] == [Cause.AGENT_STALLED]
