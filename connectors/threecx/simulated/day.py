"""An office's day on a simulated 3CX: written down beforehand, or played as fast as wanted.

The office knows four kinds of call. Which way through the 3CX one takes (queue, menu,
transfer, ...) follows from the instant at which it begins, so a day is the same every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from connectors.office import Kind, Office, PlannedCall
from connectors.threecx.simulated import cycles
from connectors.threecx.simulated.directory import Directory
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.timeline import Call
from meter.model import Instant

#: Which ways each kind of call takes, out of a hundred.
_WAYS: Final[Mapping[Kind, tuple[tuple[str, int], ...]]] = {
    Kind.IN: (
        ("inbound", 40),
        ("queue", 18),
        ("ivr", 8),
        ("ring_group", 7),
        ("voicemail", 5),
        ("blind_transfer", 5),
        ("attended_transfer", 4),
        ("parked", 3),
        ("doubled", 3),
        ("null_caller", 2),
        ("unrouted", 2),
        ("bridge_in", 3),
    ),
    Kind.OUT: (("outbound", 88), ("make_call", 8), ("bridge_out", 4)),
    Kind.INTERNAL: (("internal", 100),),
    Kind.FORWARDED: (("forward_to_mobile", 50), ("blind_to_mobile", 30), ("attended_to_mobile", 20)),
}
#: How long to look away at most while a day is played.
_NAP_S: Final = 0.5


def office(directory: Directory, *, calls: int = 1200) -> Office:
    """Return the office that uses a directory's trunks and extensions: bridges and hot desks stand aside."""
    return Office(
        tuple(trunk.number for trunk in directory.trunks if not trunk.bridge),
        tuple(user.number for user in directory.users if user.enabled and not user.number.startswith("HD")),
        calls=calls,
    )


def way(planned: PlannedCall) -> str:
    """Return the name of the cycle that a planned call takes."""
    place = int(planned.at_s * 1000)
    ways = _WAYS[planned.kind]
    place %= sum(share for _, share in ways)
    for name, share in ways:
        if place < share:
            return name
        place -= share
    raise AssertionError


def schedule(
    exchange: Exchange, day: Iterable[PlannedCall], *, at: Instant, speed: float = 1, from_s: float = 0
) -> list[Call]:
    """Write down the calls that begin at or after `from_s`, and return them.

    Args:
        exchange: Where.
        day: The calls, in any order.
        at: The instant that `from_s` falls on.
        speed: Seconds of the day per true second; the lengths of the calls shrink with it.
        from_s: Seconds since midnight.
    """
    return [
        cycles.begin(
            exchange,
            way(planned),
            at=at + round((planned.at_s - from_s) * 1000 / speed),
            trunk=planned.trunk,
            out=planned.out or planned.trunk,
            extension=planned.extension,
            other=planned.other,
            ring_s=planned.ring_s / speed,
            talk_s=None if planned.talk_s is None else planned.talk_s / speed,
        )
        for planned in day
        if planned.at_s >= from_s
    ]


async def play(
    exchange: Exchange,
    day: Iterable[PlannedCall],
    *,
    speed: float,
    from_s: float = 0,
    advance: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Play the calls that begin at or after `from_s`, and return when the last has ended.

    The exchange's clock must be one that moves by itself.

    Args:
        exchange: Where.
        day: The calls, in any order.
        speed: Seconds of the day per true second; 1440 is a day in a minute.
        from_s: Seconds since midnight at which to begin.
        advance: `SimulatedThreeCX.advance`, which writes call records too.
    """
    calls = schedule(exchange, day, at=exchange.now(), speed=speed, from_s=from_s)
    last = max((call.end for call in calls if call.end is not None), default=exchange.now())
    while exchange.now() <= last:
        exchange.advance()
        if advance is not None:
            await advance()
        next_at = exchange.next_at
        wait_s = 0.0 if next_at is None else (next_at - exchange.now()) / 1000
        await asyncio.sleep(min(_NAP_S, max(0.01, wait_s)))
    exchange.advance()
    if advance is not None:
        await advance()
