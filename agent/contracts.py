"""What was agreed with each tenant, as the loops need it: made from the configuration by agent.app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import cast

from meter.capacity import Limits
from meter.fold import Frame, frame
from meter.model import Instant, Terms
from meter.periods import Kind, Period, following, period_of


@dataclass(frozen=True, slots=True)
class Contract:
    """One tenant of the configuration.

    Attributes:
        terms: What the record states; `at` is when it was first in force.
        tz: The zone of its days and months.
        limits: What its level is judged against; None: no capacity agreed.
    """

    terms: Terms
    tz: tzinfo
    limits: Limits | None

    @property
    def tenant(self) -> str:
        """The tenant's id."""
        return self.terms.tenant

    @property
    def kind(self) -> Kind:
        """The kind of its periods."""
        return cast("Kind", self.terms.period)


def same(old: Terms, new: Terms) -> bool:
    """Return whether two terms agree in everything but when."""
    return replace(old, at=0) == replace(new, at=0)


class Calendar:
    """A tenant's billing periods: consecutive, each with the bounds that it had when it was opened.

    Args:
        contract: The tenant's.
        last: The youngest period that the ledger knows; None: none.
        now: The present instant.
    """

    def __init__(self, contract: Contract, last: Period | None, now: Instant) -> None:
        self._contract = contract
        self._periods = [last or period_of(now, contract.kind, contract.tz)]
        self._kept = last is not None

    def at(self, at: Instant) -> Period:
        """Return the period that contains an instant, opening what lies in between; never an older one."""
        while self._periods[-1].end <= at:
            self._periods.append(following(self._periods[-1], self._contract.kind, self._contract.tz))
        return next((p for p in reversed(self._periods) if p.start <= at), self._periods[0])

    def frame_at(self, at: Instant) -> Frame:
        """Return the frame of the period that contains an instant."""
        return frame(self.at(at), self._contract.tz)

    def opened(self, now: Instant) -> list[Period]:
        """Return the periods up to `now` that the ledger does not know yet. Say `keep` once it does."""
        self.at(now)
        return self._periods[1:] if self._kept else list(self._periods)

    def keep(self, known: Sequence[Period]) -> None:
        """Take it that the ledger knows these periods, which `opened` returned."""
        if known:
            self._periods = self._periods[self._periods.index(known[-1]) :]
            self._kept = True
