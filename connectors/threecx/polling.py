"""Asks for the active calls, and keeps the rhythm of asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connectors.threecx import trouble
from connectors.threecx.calls import Call, call
from connectors.threecx.client import Client, Reply
from connectors.threecx.line import Resource
from meter.model import Instant

#: What 3CX gives at most, whatever is asked for.
_PAGE_ROWS: Final = 100
_MOST_PAGES: Final = 200
#: A `Date` header's seconds are cut off.
_DATE_MS: Final = 1000

#: Asked too often: at half the rate, for so long.
_SLOW_FOR_S: Final = 60.0
#: However long it wants to be left alone, it is asked again after this.
LONGEST_WAIT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Poll:
    """One good poll.

    Attributes:
        calls: Every row, a call perhaps twice.
        asked_at, came_at: When its first page was asked for, and its last one complete, by our clock.
        ahead_ms: How far the 3CX's clock is ahead of ours; None: it doesn't say.
    """

    calls: tuple[Call, ...]
    asked_at: Instant
    came_at: Instant
    ahead_ms: int | None


class Polling:
    """The polls over one connection: the 3CX's own clock puts them in order.

    Args:
        client: Where it asks.
        ahead_ms: How far the 3CX's clock was ahead over the connection before; None: nobody knows.
    """

    def __init__(self, client: Client, ahead_ms: int | None = None) -> None:
        self._client = client
        self._server_now: Instant = 0
        self._ahead_ms = ahead_ms

    async def poll(self) -> Poll:
        """Read all active calls.

        More than a page of them are read by their ids, not by their places: calls that
        end meanwhile move the places of the others. Pages overlap by one id, for a call may be there twice.

        Raises:
            Garbled: A row is no call, or the 3CX's clock went back.
            And as `Client.read`.
        """
        query = {"$top": str(_PAGE_ROWS), "$count": "true", "$orderby": "Id"}
        calls: list[Call] = []
        first: Reply | None = None
        last: int | None = None
        for _ in range(_MOST_PAGES):
            more = {} if last is None else {"$filter": f"Id ge {last}"}
            reply = await self._client.read(Resource.ACTIVE_CALLS, query | more)
            first = first or reply
            page = self._calls(reply)
            calls += page
            highest = max((one.id for one in page), default=last)
            if (reply.count is not None and len(page) >= reply.count) or highest == last:
                return Poll(tuple(calls), first.asked_at, reply.came_at, self._ahead_ms)
            last = highest
        raise trouble.garbled("a list without end")

    def _calls(self, reply: Reply) -> list[Call]:
        try:
            calls = [call(row) for row in reply.rows]
        except ValueError:
            raise trouble.garbled("the active calls") from None
        told = [one.server_now for one in calls if one.server_now is not None]
        middle = (reply.asked_at + reply.came_at) // 2
        if told:
            if min(told) < self._server_now:
                raise trouble.backwards()
            self._server_now = max(told)
            self._ahead_ms = self._server_now - middle
        elif reply.date is not None:  # nobody calls, so no row tells the time; to half a second
            rough = reply.date + _DATE_MS // 2 - middle
            if (
                self._ahead_ms is None
                or abs(rough - self._ahead_ms) > _DATE_MS + reply.came_at - reply.asked_at
            ):
                self._ahead_ms = rough
        return calls


class Rhythm:
    """When the next poll is due, in the event loop's time: steady, never two at once, late after a slow one.

    Args:
        every_s: The interval.
    """

    def __init__(self, every_s: float) -> None:
        self.due = 0.0
        self._every_s = every_s
        self._slow_until = 0.0

    def begun(self, at: float) -> None:
        """Note that a poll begins, because it is due or was asked for. One far too late begins a new beat."""
        if at >= self.due:
            on_beat = self.due + self._pace(at)
            self.due = on_beat if on_beat > at else at + self._pace(at)

    def throttle(self, at: float, wait_s: float | None) -> None:
        """Ask at half the rate for a while, and not before it is allowed again.

        The next poll keeps its beat where nothing else is said: one that came later than that could
        not come within three intervals of the last good one.
        """
        self._slow_until = at + _SLOW_FOR_S
        if wait_s is not None:
            self.due = max(self.due, at + min(wait_s, LONGEST_WAIT_S))

    def _pace(self, at: float) -> float:
        return 2 * self._every_s if at < self._slow_until else self._every_s
