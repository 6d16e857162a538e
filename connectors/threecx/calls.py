"""What `ActiveCalls` shows, as legs. Pure; numbers in brackets and names are dropped at once.

A side is text: `10000 ACME SIP (+15550100111)`, `8003 Queue 1`, `ROUTER`, null. Its
first word is the DN, and the 3CX's own list of trunks says whether that is one: never
the number of its digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.threecx.directory import Directory
from connectors.threecx.instants import instant
from meter.events import Sighting
from meter.model import Direction, Instant

#: Every status that was seen on a real one. Another one's calls count just as well.
STATUSES: Final = frozenset({"Routing", "Rerouting", "Initiating", "Talking", "Transferring"})
_UP: Final = frozenset({"Talking", "Transferring"})

#: Shown while the 3CX looks for whom a call is.
_ROUTER: Final = "ROUTER"

#: An unknown word like this may be a trunk that was added a moment ago.
_NUMBER: Final = re.compile(r"\+?\d{5,}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """One row.

    Attributes:
        id: Small, and given again after a restart.
        caller, callee: The DN of each side; "" if it shows none.
        status: As shown.
        established: Since when it is talked, by the 3CX's clock; None: it isn't, or nobody says.
        server_now: The 3CX's clock; None: it doesn't say.
    """

    id: int
    caller: str = field(repr=False)
    callee: str = field(repr=False)
    status: str
    established: Instant | None
    server_now: Instant | None

    @property
    def answered(self) -> bool:
        """Whether its trunk legs count as answered: by a person, a queue or a menu."""
        return self.established is not None or self.status in _UP


@dataclass(frozen=True, slots=True)
class Shown:
    """What a poll shows.

    Attributes:
        legs: The legs of external calls, and those whose number nothing is known of.
        calls: How many calls there are, of every sort.
        bridged: Calls over bridges to other systems.
        odd: Calls whose status is none that is known.
        unknown: DNs that look like a trunk's and are in no list.
    """

    legs: tuple[Sighting, ...]
    calls: int
    bridged: int
    odd: int
    unknown: frozenset[str] = field(default=frozenset(), repr=False)


def dn(side: str | None) -> str:
    """Return the DN of one side: its first word; "" if there is none."""
    words = (side or "").split(maxsplit=1)
    return words[0] if words else ""


def call(row: Mapping[str, Any]) -> Call:
    """Return one row as a call.

    Raises:
        ValueError: It is none.
    """
    number, caller, callee = row.get("Id"), row.get("Caller"), row.get("Callee")
    texts = isinstance(caller, str | None) and isinstance(callee, str | None)
    if not isinstance(number, int) or isinstance(number, bool) or not texts:
        raise ValueError("no call")
    return Call(
        number,
        dn(caller),
        dn(callee),
        str(row.get("Status") or ""),
        instant(row.get("EstablishedAt")),
        instant(row.get("ServerNow")),
    )


def shown(calls: Iterable[Call], known: Directory, *, bridges: bool) -> Shown:
    """Return what a poll shows.

    A call may be there twice (it waits in a queue and rings an agent): it is one, external if either is.

    Args:
        calls: Every row of a poll.
        known: What the DNs are.
        bridges: Whether bridges to other systems count as trunks.
    """
    calls = list(calls)
    legs: dict[str, Sighting] = {}
    unknown: set[str] = set()
    bridged: set[int] = set()
    for one in calls:
        for leg in _legs(one, known, bridges=bridges):
            before = legs.get(leg.leg)
            legs[leg.leg] = leg if before is None else _surer(before, leg)
        sides = {one.caller, one.callee}
        unknown |= {side for side in sides if _is_odd(side, known)}
        if not bridges and any(side in known.trunks and known.trunks[side].bridge for side in sides):
            bridged.add(one.id)
    return Shown(
        legs=tuple(legs.values()),
        calls=len({one.id for one in calls}),
        bridged=len(bridged),
        odd=len({one.id for one in calls if one.status not in STATUSES}),
        unknown=frozenset(unknown),
    )


def _legs(one: Call, known: Directory, *, bridges: bool) -> Iterator[Sighting]:
    for side, own, other, direction in (
        ("from", one.caller, one.callee, Direction.IN),
        ("to", one.callee, one.caller, Direction.OUT),
    ):
        trunk = known.trunks.get(own)
        if trunk is None and not _is_odd(own, known):
            continue
        if trunk is not None and trunk.bridge and not bridges:
            continue
        inside = [] if other in known.trunks else [other]
        yield Sighting(
            # A word that is no trunk's may be a telephone number: it names no leg.
            leg=f"{one.id}:{side}:{'?' if trunk is None else own}",
            call=str(one.id),
            endpoint=f"3CX/{own}",
            direction=direction,
            answered=one.answered,
            listed=trunk is not None,
            departments=() if trunk is None else known.of_leg(own, inside),
            provisional=other in {_ROUTER, ""},
        )


def _is_odd(side: str, known: Directory) -> bool:
    return _NUMBER.fullmatch(side) is not None and not known.knows(side)


def _surer(one: Sighting, other: Sighting) -> Sighting:
    """Return one leg of two copies: the first that is settled tells whose it is."""
    told = other if one.provisional and not other.provisional else one
    return told._replace(answered=one.answered or other.answered)
