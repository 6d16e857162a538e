"""The provider's letters, carried by the same loop as an agent's: `delivery.lane` over what is kept.

Any number of processes may carry: who claims a letter has it for a while. If he dies, it is
due again, under the same Message-ID.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, cast

from delivery.courier import Courier, Parcel
from delivery.lane import AT_ONCE, AT_ONCE_TO_ONE, Lane, OutboxUnusable, Row
from meter.model import Instant
from provider.books import BooksUnusable
from provider.closings import Post

#: What an operator types to let parked letters go again.
RETRY: Final = "pbx-meter-provider letters --retry"


def letters_lane(post: Post, courier: Courier, now: Callable[[], Instant]) -> Lane:
    """Return the loop that carries what waits."""
    return Lane("mail", courier, _Letters(post), now, RETRY)


class _Letters:
    """What waits (see `delivery.lane.Outbox`)."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._held: dict[str, str] = {}  # what is claimed and not settled, with its address

    async def due(self, now: Instant, most: int) -> Sequence[Row]:
        """See `Outbox.due`. No more are claimed than can leave at once: what is claimed and stays waits out its lease."""
        free = min(most, AT_ONCE - len(self._held))
        if free <= 0:
            return []
        with _translated():
            held = list(self._held.values())
            claimed = await self._post.claim(now, most=free, to_one=AT_ONCE_TO_ONE, held=held)
        self._held |= {one.letter.id: one.letter.target for one in claimed}
        return [
            Row(letter.id, Parcel(letter.id, "mail", letter.target, letter.body, one.attempts + 1))
            for one in claimed
            for letter in [one.letter]
        ]

    async def next_due(self, now: Instant) -> Instant | None:  # noqa: ARG002  # not known: who claimed may die
        """See `Outbox.next_due`."""
        return None

    async def delivered(self, row: Row, at: Instant) -> None:
        """See `Outbox.delivered`."""
        with _translated():
            await self._post.delivered(cast("str", row.key), at)
        self._held.pop(cast("str", row.key), None)

    async def again(self, row: Row, due_at: Instant, why: str) -> None:
        """See `Outbox.again`."""
        with _translated():
            await self._post.again(cast("str", row.key), due_at, why)
        self._held.pop(cast("str", row.key), None)

    async def park(self, row: Row, at: Instant, why: str, hint: str) -> None:
        """See `Outbox.park`."""
        with _translated():
            await self._post.park(cast("str", row.key), at, f"{why}; {hint}")
        self._held.pop(cast("str", row.key), None)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BooksUnusable as error:
        raise OutboxUnusable(str(error), "look at the disk, or at the database's server") from error
