"""What a connector may say. The only way into the meter.

A connector emits `Snapshot` first, then the others as they happen, in order per
leg; one that asks its PBX again and again emits polled snapshots and nothing else. It never says "link lost": its `serve` raises, once (connectors.errors).
Repeated, late and missing events are legal; the meter heals at the next
snapshot. Fields that may hold telephone numbers are kept out of `repr`, stay in
memory and are never stored.

What is made for every event of a busy PBX is a named tuple: a frozen dataclass of as many fields
takes three to five times as long to make (2.3 against 0.6 µs for a `LegChanged`), which was a third
of all decoding (bench/decoding.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from meter.model import Direction, Instant


class Sighting(NamedTuple):
    """One leg as the PBX shows it: at its birth in an event, or later in a snapshot.

    Attributes:
        leg: The PBX's own id of the leg, unique while the PBX runs.
        call: The PBX's id of its call (Asterisk: Linkedid).
        endpoint: The full endpoint (`PJSIP/kpn`); None for a leg that is no
            device's and never counts (Local, announcer, recorder).
        direction: As far as this sighting proves it.
        answered: Whether the leg is answered.
        created: When the PBX says it made the leg; None where it doesn't say.
        account: Account code, or "".
        context: Dialplan context, or "". In a snapshot the *current* one.
        dialled: The number dialled (Asterisk: Exten), or "". In a snapshot the current one.
        listed: The PBX itself lists the endpoint as a trunk (3CX): no rule has to.
        departments: 3CX: what the departments that it may belong to go by, the surest
            first; each by its name and its number (`("Sales", "GRP0001")`).
        provisional: The PBX is still looking for whom the call is for (3CX: `ROUTER`):
            whose it is may yet change.
    """

    leg: str
    call: str
    endpoint: str | None
    direction: Direction = Direction.UNKNOWN
    answered: bool = False
    created: Instant | None = None
    account: str = ""
    context: str = ""
    dialled: str = ""
    listed: bool = False
    departments: tuple[str, ...] = ()
    provisional: bool = False

    def __repr__(self) -> str:
        """Leave out what may hold telephone numbers."""
        return (
            f"Sighting(leg={self.leg!r}, call={self.call!r}, direction={self.direction!r}, answered={self.answered},"
            f" created={self.created}, listed={self.listed}, provisional={self.provisional})"
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All legs that are up, and with it the promise that later events follow on from here.

    A polled one promises less: it holds until the next one, and nothing in between is told.

    Attributes:
        at: When the list was complete.
        requested_at: When it was asked for: the list may show any instant in between.
        legs: The legs. Those whose birth was seen between request and completion
            may be missing: their own events tell of them.
        booted: Names this run of the PBX; a different value than before means that
            the PBX restarted and all its legs ended. "": the same run as before, for all
            that is known. None: unknown.
        polled: Nothing tells of changes but the next snapshot.
        missed: Polled: how many polls failed since the last good one.
        ahead_ms: How far the PBX's clock is ahead of ours; None: not known.
    """

    at: Instant
    requested_at: Instant
    legs: tuple[Sighting, ...]
    booted: str | None = None
    polled: bool = False
    missed: int = 0
    ahead_ms: int | None = None


class LegStarted(NamedTuple):
    """A leg was made."""

    at: Instant
    seen: Sighting


class LegChanged(NamedTuple):
    """A leg showed its state: answered or not, and perhaps which side began it.

    `bridge` names what it has just entered, where all that meet there become one call
    without any further event; "" for anything else, a conference among it.
    """

    at: Instant
    leg: str
    call: str  #: the call it shows; "" if the event doesn't say
    answered: bool = False
    direction: Direction = Direction.UNKNOWN
    bridge: str = ""


@dataclass(frozen=True, slots=True)
class LegRenamed:
    """A leg continues under another endpoint (Asterisk before 12)."""

    at: Instant
    leg: str
    endpoint: str | None = field(repr=False)


class LegEnded(NamedTuple):
    """A leg hung up."""

    at: Instant
    leg: str
    call: str = ""  #: as in LegChanged


Event: TypeAlias = Snapshot | LegStarted | LegChanged | LegRenamed | LegEnded
