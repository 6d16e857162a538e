"""Plays an office's day on a simulated Asterisk, as fast as wanted."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

from connectors.asterisk.simulated import calls
from connectors.asterisk.simulated.exchange import Exchange
from connectors.office import Kind, PlannedCall


def begin(exchange: Exchange, planned: PlannedCall) -> calls.Call:
    """Begin one planned call now."""
    match planned.kind:
        case Kind.IN:
            return calls.ring_in(exchange, planned.trunk, planned.extension)
        case Kind.OUT:
            return calls.dial_out(exchange, planned.extension, planned.trunk)
        case Kind.INTERNAL:
            return calls.internal(exchange, planned.extension, planned.other)
        case Kind.FORWARDED:
            return calls.forward(exchange, planned.trunk, planned.out)


async def play(exchange: Exchange, day: Iterable[PlannedCall], *, speed: float, from_s: float = 0) -> None:
    """Play the calls that begin at or after `from_s`, and return when the last has ended.

    Everything is faster by `speed`, the lengths of the calls too, so there are as
    many at a time as on the real day. What could not be done in time is done at once.

    Args:
        exchange: Where.
        day: The calls, in any order.
        speed: Seconds of the day per real second; 1440 is a day in a minute.
        from_s: Seconds since midnight at which to begin.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    order = count()
    # What is to be done, the earliest first; `order` keeps equal times in line.
    due: list[tuple[float, int, Callable[[], None]]] = []

    def plan(at_s: float, deed: Callable[[], None]) -> None:
        heapq.heappush(due, (at_s, next(order), deed))

    def start(planned: PlannedCall) -> None:
        call = begin(exchange, planned)
        picked_up_s = planned.at_s + planned.ring_s
        if planned.talk_s is None:
            plan(picked_up_s, lambda: call.hang_up(19))
        else:
            plan(picked_up_s, call.answer)
            plan(picked_up_s + planned.talk_s, call.hang_up)

    for planned in day:
        if planned.at_s >= from_s:
            plan(planned.at_s, partial(start, planned))
    while due:
        at_s, _, deed = heapq.heappop(due)
        await asyncio.sleep(max(0.0, begun + (at_s - from_s) / speed - loop.time()))
        deed()
