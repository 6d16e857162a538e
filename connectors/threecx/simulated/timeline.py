"""A call on a simulated 3CX as a timeline: what stands on either side, in which status, from when on. Pure.

The trunk legs of a call are read off its timeline: consecutive phases with one trunk on
one side are one leg.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Final

from connectors.connector import Now
from connectors.threecx.simulated.directory import Kind
from meter.model import Direction, Instant


class Status(StrEnum):
    """What `ActiveCalls` says of a call. The field is text, no enumeration."""

    INITIATING = "Initiating"
    ROUTING = "Routing"
    REROUTING = "Rerouting"
    TALKING = "Talking"
    TRANSFERRING = "Transferring"


class Side(StrEnum):
    """Which end of a call."""

    CALLER = "caller"
    CALLEE = "callee"


#: Statuses of a call that is answered.
UP: Final = {Status.TALKING, Status.TRANSFERRING}


@dataclass(frozen=True, slots=True)
class Party:
    """What stands on one side of a call.

    Attributes:
        dn: Its number on the 3CX; a bare word (`ROUTER`, `MakeCall`) for what has none.
        kind: What it is; None: a bare word.
        name: As shown behind the number.
        number: The outside party's, in brackets; "": none.
        department: Number of its department; None: it has none, or is a trunk.
        voicemail: It is that extension's voice mail box.
    """

    dn: str
    kind: Kind | None = None
    name: str = ""
    number: str = field(default="", repr=False)
    department: str | None = None
    bridge: bool = False
    voicemail: bool = False

    @property
    def trunk(self) -> bool:
        """Whether it is a link to the outside, a bridge among them."""
        return self.kind is Kind.TRUNK

    @property
    def shown(self) -> str:
        """As `ActiveCalls` shows it."""
        named = f"{self.dn} {self.name}".strip()
        return f"{named} ({self.number})" if self.number else named


ROUTER: Final = Party("ROUTER")
MAKE_CALL: Final = Party("MakeCall")


@dataclass(frozen=True, slots=True)
class Phase:
    """What a call shows from one instant on.

    Attributes:
        at: From when.
        caller, callee: Its sides; None: shown as null.
        status: As shown.
        also: The same call a second time in the same answer, under its Id: its callee and status there.
    """

    at: Instant
    caller: Party | None
    callee: Party | None
    status: Status
    also: tuple[Party, Status] | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """One trunk leg as it truly was.

    Attributes:
        run: Which run of the 3CX, from 1: ids begin again with each.
        call: The Id of its call.
        side: On which side of it.
        trunk: The trunk's DN.
        department: Number of the department of the first DN on the call's other side that has one.
        start, answer, end: By the true clock; None: not (yet).
        bridge: It leads to another 3CX: no external leg.
    """

    run: int
    call: int
    side: Side
    trunk: str
    direction: Direction
    department: str | None
    start: Instant
    answer: Instant | None
    end: Instant | None
    bridge: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One call, from beginning to end.

    Attributes:
        now: Reads the true clock.
        serial: Its number among all calls ever planned.
        phases: Its timeline, at least one, each later than the one before.
        end: When it is over; None: until `hang_up`.
        main: The call that this one served (the consultation in an attended transfer).
        id, run: What it goes by once it has begun; 0 before.
        recorded: Whether call log and CDR tell of it; a restart leaves no records.
        ahead_ms: How far the 3CX's clock was ahead when it ended.
    """

    now: Now
    serial: int
    phases: list[Phase]
    end: Instant | None
    main: Call | None = None
    id: int = 0
    run: int = 0
    recorded: bool = True
    ahead_ms: int = 0

    @property
    def start(self) -> Instant:
        """When it begins."""
        return self.phases[0].at

    def phase(self, at: Instant) -> Phase:
        """Return what it shows at an instant of its life."""
        return next(phase for phase in reversed(self.phases) if phase.at <= at)

    def established(self, at: Instant) -> Instant | None:
        """Return since when it is talked, by an instant of its life; None: it isn't."""
        talked = (phase.at for phase in self.phases if phase.status is Status.TALKING and phase.at <= at)
        return next(talked, None)

    def hang_up(self, at: Instant | None = None) -> None:
        """End it, now if not told otherwise; nothing if it has ended by then."""
        at = self.now() if at is None else at
        if self.end is None or self.end > at:
            self.end = at
            self.phases[1:] = [phase for phase in self.phases[1:] if phase.at < at]

    def show(self, phase: Phase) -> None:
        """Put one more phase behind the others."""
        self.phases.append(phase)

    def legs(self) -> Iterator[Leg]:
        """Give its trunk legs as the whole timeline has them, those of the caller's side first."""
        parties = (party for phase in self.phases for party in (phase.caller, phase.callee))
        departments = (party.department for party in parties if party is not None)
        department = next((number for number in departments if number is not None), None)
        ends = [*(phase.at for phase in self.phases[1:]), self.end]
        for side in Side:
            stretches = [
                (phase.caller if side is Side.CALLER else phase.callee, phase, end)
                for phase, end in zip(self.phases, ends, strict=True)
            ]
            for trunk, group in groupby(stretches, lambda stretch: _trunk_dn(stretch[0])):
                if trunk is not None:
                    yield self._leg(side, department, list(group))

    def _leg(
        self,
        side: Side,
        department: str | None,
        stretches: Sequence[tuple[Party | None, Phase, Instant | None]],
    ) -> Leg:
        party, first, _ = stretches[0]
        assert party is not None  # noqa: S101 -- None is no trunk
        return Leg(
            run=self.run,
            call=self.id,
            side=side,
            trunk=party.dn,
            direction=Direction.IN if side is Side.CALLER else Direction.OUT,
            department=department,
            start=first.at,
            answer=next((phase.at for _, phase, _ in stretches if phase.status in UP), None),
            end=stretches[-1][2],
            bridge=party.bridge,
        )


def _trunk_dn(party: Party | None) -> str | None:
    return party.dn if party is not None and party.trunk else None
