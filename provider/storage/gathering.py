"""What waits while a transaction runs is done together by the next one, and answered at its end.

So a commit, and all that a transaction costs, is shared by as many as came meanwhile,
and nobody waits for others to come. What has one name (an agent's records) is never in
one transaction together, and stays in its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

#: What one transaction does at most: it bounds how long each waits for others.
MOST: Final = 200

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Gathering(Generic[Asked, Answer]):
    """One kind of work on the database."""

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], asyncio.Future[Sequence[Answer | Exception]]],
        name: Callable[[Asked], Hashable],
    ) -> None:
        """Begin with nothing waiting.

        Args:
            work: Starts one transaction for several, and gives what each is answered, in their order.
            name: What two that must not be in one transaction have in common.
        """
        self._work = work
        self._name = name
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._busy = False

    async def ask(self, asked: Asked) -> Answer:
        """Return the answer, once its transaction has ended.

        Raises:
            Exception: What the work answered, or ended with.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        self._begin()
        return await answer

    def _begin(self) -> None:
        """Start a transaction with what waits, unless one runs: then that one's end does."""
        if self._busy:
            return
        batch = self._next()
        if batch:
            self._busy = True
            self._work([asked for asked, _ in batch]).add_done_callback(partial(self._end, batch))

    def _next(self) -> list[tuple[Asked, asyncio.Future[Answer]]]:
        batch: dict[Hashable, tuple[Asked, asyncio.Future[Answer]]] = {}
        later = []
        for asked, answer in self._waiting:
            if answer.done():
                continue  # whoever asked has gone
            if self._name(asked) in batch or len(batch) == MOST:
                later.append((asked, answer))
            else:
                batch[self._name(asked)] = (asked, answer)
        self._waiting = later
        return list(batch.values())

    def _end(
        self,
        batch: list[tuple[Asked, asyncio.Future[Answer]]],
        work: asyncio.Future[Sequence[Answer | Exception]],
    ) -> None:
        self._busy = False
        failure = work.exception()
        outcomes = [failure] * len(batch) if failure is not None else work.result()
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            if answer.done():
                continue
            if isinstance(outcome, BaseException):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
        self._begin()
