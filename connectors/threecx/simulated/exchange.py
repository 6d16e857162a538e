"""A model of the calls on a 3CX: what it would show of them, and what was true. No socket, no clock of its own.

Rules of this file:
- a call is a timeline, written down when it is planned. What is up is a function of the
  clock that was given, so a day of thousands of calls passes as quickly as somebody asks;
- `advance` moves what is planned into what is up and out again, and is called before every
  answer. Ids are given in the order in which calls begin, from 1 after every restart;
- the truth (`legs`) is read off the timelines, to the millisecond. Where an attended
  transfer joins two calls, the second one's trunk leg ends and goes on, in the same
  instant, as a leg of the first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from operator import attrgetter

from connectors.connector import Now
from connectors.threecx.simulated.directory import Directory, Kind
from connectors.threecx.simulated.timeline import Call, Leg, Party, Phase
from meter.model import Instant


class Exchange:
    """The calls of one simulated 3CX.

    Args:
        now: Reads the true clock.
        directory: Who and what has a number.

    Attributes:
        up: The calls that are up, by Id, the oldest first.
        ended: Those that are over, in the order of their ends.
        run: Which run this is, from 1.
        ahead_ms: How far the 3CX's own clock is ahead of the true one.
        on_end: Told of every recorded call as it is found to be over.
    """

    def __init__(self, now: Now, directory: Directory, *, ahead_ms: int = 0) -> None:
        self.now = now
        self.directory = directory
        self.ahead_ms = ahead_ms
        self.up: dict[int, Call] = {}
        self.ended: list[Call] = []
        self.run = 1
        self.on_end: Callable[[Call], None] = lambda _: None
        self._planned: list[tuple[Instant, int, Call]] = []
        self._serials = count(1)
        self._ids = count(1)
        self._numbers = count(1)

    @property
    def legs(self) -> list[Leg]:
        """Every trunk leg so far, in the order of their beginnings; what lies ahead is None."""
        self.advance()
        at = self.now()
        known = [
            replace(leg, answer=_past(leg.answer, at), end=_past(leg.end, at))
            for call in (*self.ended, *self.up.values())
            for leg in call.legs()
            if leg.start <= at
        ]
        return sorted(known, key=attrgetter("start", "run", "call", "side"))

    @property
    def next_at(self) -> Instant | None:
        """When the next planned call begins or the next one ends; None: nothing is planned."""
        coming = [call.end for call in self.up.values() if call.end is not None]
        return min([*coming, *(at for at, _, _ in self._planned[:1])], default=None)

    def plan(self, phases: Sequence[Phase], end: Instant | None, *, main: Call | None = None) -> Call:
        """Write a call down. It begins with its first phase, whenever that is."""
        call = Call(self.now, next(self._serials), list(phases), end, main)
        heapq.heappush(self._planned, (call.start, call.serial, call))
        return call

    def advance(self) -> None:
        """Let begin what has begun by now, and end what has ended."""
        at = self.now()
        while self._planned and self._planned[0][0] <= at:
            call = heapq.heappop(self._planned)[2]
            if call.end is not None and call.end <= call.start:
                continue  # hung up before it began
            call.id, call.run = next(self._ids), self.run
            self.up[call.id] = call
        over = [call for call in self.up.values() if call.end is not None and call.end <= at]
        for call in sorted(over, key=attrgetter("end", "serial")):
            del self.up[call.id]
            call.ahead_ms = self.ahead_ms
            self.ended.append(call)
            self.on_end(call)

    def restart(self) -> None:
        """Lose every call that is up, and begin another run; what is planned for later still comes."""
        self.advance()
        for call in self.up.values():
            call.hang_up()
            call.recorded = False
            self.ended.append(call)
        self.up.clear()
        self.run += 1
        self._ids = count(1)

    def next_place(self) -> int:
        """Return a number that was not returned before, to make others of."""
        return next(self._numbers)

    def party(self, dn: str, number: str = "", *, voicemail: bool = False) -> Party:
        """Return what stands behind a DN; a bare word if nothing does."""
        if (trunk := self.directory.trunk(dn)) is not None:
            return Party(dn, Kind.TRUNK, trunk.name, number, bridge=trunk.bridge)
        if (user := self.directory.user(dn)) is not None:
            name = f"{user.last}, {user.first}"
            shown = f"VoiceMail {name}" if voicemail else name
            return Party(dn, Kind.EXTENSION, shown, department=user.department, voicemail=voicemail)
        if (service := self.directory.service(dn)) is not None:
            return Party(dn, service.kind, service.name, department=service.department)
        return Party(dn)


def _past(instant: Instant | None, at: Instant) -> Instant | None:
    return instant if instant is not None and instant <= at else None
