"""The seam of everything that leaves: a courier takes one parcel and says what became of it.

A courier never decides when to try again and never forgets anything: it returns
an outcome; the outbox remembers (agent.store, provider) and `delivery.plan`
chooses the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Parcel:
    """One outbox row, ready to go.

    Attributes:
        id: Unchanged over all attempts; the receiver recognises a repetition by it
            (mail: Message-ID, webhook: webhook-id, record: its id).
        lane: Which courier carries it and which other parcels it queues with.
        target: Where to (an address, the name of a webhook), as configured.
        body: What to carry, made when the row was written: never made again.
        attempt: 1 for the first.
    """

    id: str
    lane: str
    target: str = field(repr=False)
    body: bytes = field(repr=False)
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Delivered:
    """The other side has it, durably. `receipt` is what it gave in return, or None."""

    receipt: bytes | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It did not arrive, and may later. `not_before_s`: the other side asked for at least this wait."""

    why: str
    not_before_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will never take it as it is. The row is parked and shown, never deleted."""

    why: str
    hint: str = ""


Outcome: TypeAlias = Delivered | TryAgain | Refused


class Courier(Protocol):
    """Carries parcels of one lane."""

    async def carry(self, parcel: Parcel) -> Outcome:
        """Carry one parcel, within a bounded time. Raises nothing but bugs and cancellation."""
        ...
