"""How a PBX is watched: by events, by polls, or by its call records alone; as plans say it and records state it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Where the polled connectors were proved so far. To be changed when a real system has confirmed them.
PROVEN_ON: Final = "a simulator"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one PBX is watched, and how that went over a stretch of time.

    Attributes:
        method: `events`, `polled` or `cdr`.
        interval_ms: Polled: how far apart polls are.
        peak_from: Which may set the billed peak: `polls` or `call_log`. Events: None.
        polls, missed: How many polls succeeded and failed.
        ahead_ms: The largest lead of the PBX's clock over ours, either way; None: not known.
        source: Which call records tell of it beside the polls; None: none did.
        told_ms: Of how much of the time they tell everything that ended in it; None: the
            ledger says.
    """

    method: str = "events"
    interval_ms: int | None = None
    peak_from: str | None = None
    polls: int = 0
    missed: int = 0
    ahead_ms: int | None = None
    source: str | None = None
    told_ms: int | None = None

    @property
    def sampled(self) -> bool:
        """Whether something may have happened that nothing tells of."""
        return self.method != "events"

    def said(self) -> dict[str, Any]:
        """Return it as a record states it."""
        if not self.sampled:
            return {"method": self.method}
        return {
            "method": self.method,
            "interval_ms": self.interval_ms,
            "polls": self.polls,
            "missed_polls": self.missed,
            "ahead_ms": self.ahead_ms,
            "peak_from": self.peak_from,
            "call_records": None
            if self.source is None
            else {"source": self.source, "told_ms": self.told_ms or 0},
            "proven_on": PROVEN_ON,
        }


def sampled(sampling: Mapping[str, Sampling]) -> list[str]:
    """Return the PBXs that are only sampled."""
    return [pbx for pbx, how in sampling.items() if how.sampled]


def by_call_log(sampling: Mapping[str, Sampling]) -> list[str]:
    """Return the PBXs whose own call records set the peak."""
    return [pbx for pbx, how in sampling.items() if how.peak_from == "call_log"]


def any_sampled(sampling: Iterable[Sampling]) -> bool:
    """Return whether any of these PBXs is only sampled."""
    return any(one.sampled for one in sampling)
