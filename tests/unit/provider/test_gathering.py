"""What waits is done together, in order by name, and everybody is answered."""

from __future__ import annotations

import asyncio

import pytest

from provider.storage.gathering import MOST, Gathering


class Work:
    """Work that ends when it is told to; what it was given is remembered."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []
        self.futures: list[asyncio.Future] = []

    def __call__(self, asked):
        self.given.append(list(asked))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    def end(self) -> None:
        self.futures[-1].set_result([f"<{one}>" for one in self.given[-1]])


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def gathering(work) -> Gathering:
    return Gathering(work, name=lambda asked: asked[0])


async def started(*asks) -> list[asyncio.Task]:
    """Let them ask, one after another, without an answer yet."""
    tasks = [asyncio.Task(ask) for ask in asks]
    await asyncio.wait(tasks, timeout=0)
    return tasks


async def settled(tasks) -> list:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)


async def test_what_comes_meanwhile_is_done_together(gathering, work):
    """The first goes at once, alone; what came while it ran goes together."""
    tasks = await started(*(gathering.ask(asked) for asked in ("a", "b", "c")))
    assert work.given == [["a"]]

    work.end()
    await asyncio.wait(tasks[:1])
    work.end()

    assert work.given == [["a"], ["b", "c"]]
    assert await settled(tasks) == ["<a>", "<b>", "<c>"]


async def test_one_name_is_never_together(gathering, work):
    """Of what has one name each waits for the one before; others do not wait for it."""
    tasks = await started(*(gathering.ask(asked) for asked in ("x", "a1", "a2", "b1", "a3")))
    for task in (tasks[0], tasks[1], tasks[2], tasks[4]):
        work.end()
        await asyncio.wait([task])

    assert work.given == [["x"], ["a1", "b1"], ["a2"], ["a3"]]
    assert await settled(tasks) == ["<x>", "<a1>", "<a2>", "<b1>", "<a3>"]


async def test_errors_reach_whom_they_are_for(gathering, work):
    """An error for one is his alone; an error of the whole is everybody's, and the next ones go on."""
    tasks = await started(*(gathering.ask(asked) for asked in ("x", "a", "b")))
    work.end()
    await asyncio.wait(tasks[:1])
    work.futures[-1].set_result([ZeroDivisionError("a"), "<b>"])
    assert [str(one) for one in await settled(tasks)] == ["<x>", "a", "<b>"]

    tasks = await started(*(gathering.ask(asked) for asked in ("x", "a")))
    work.futures[-1].set_exception(RuntimeError("all"))
    await asyncio.wait(tasks[:1])
    work.end()
    assert [str(one) for one in await settled(tasks)] == ["all", "<a>"]


async def test_who_goes_is_left_out(gathering, work):
    """What nobody waits for any more is not begun, and what was begun ends for the others."""
    tasks = await started(*(gathering.ask(asked) for asked in ("x", "a", "b")))
    tasks[1].cancel()
    tasks[0].cancel()
    await asyncio.wait(tasks[:2])
    work.end()
    await asyncio.wait([work.futures[0]])
    await asyncio.wait(tasks, timeout=0)

    assert work.given == [["x"], ["b"]]
    work.end()
    assert (await settled(tasks))[2] == "<b>"


async def test_a_transaction_is_bounded(work):
    """No transaction is given more than it can end soon."""
    gathering = Gathering(work, name=str)
    tasks = await started(*(gathering.ask(str(number)) for number in range(MOST + 5)))
    for last in (0, MOST, MOST + 4):
        work.end()
        await asyncio.wait([tasks[last]])

    assert [len(given) for given in work.given] == [1, MOST, 4]
