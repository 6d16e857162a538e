"""When the level was above the capacity in force, how often and how long."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from meter.model import Instant


@dataclass(frozen=True, slots=True)
class Overrun:
    """One unbroken interval above one capacity, seen or proved; a gap's edge ends it and another may follow at once.

    Attributes:
        start, end: Half-open.
        peak: The highest level in it.
    """

    start: Instant
    end: Instant
    peak: int


@dataclass(frozen=True, slots=True)
class OverrunFigures:
    """All overruns of a period.

    Attributes:
        count, total_ms: How many, how long together.
        worst: Those with the highest level, at most 100, highest first, of equals the earlier first.
    """

    count: int
    total_ms: int
    worst: tuple[Overrun, ...]


class Overruns:
    """Folds stretches of the basis level into overruns."""

    __slots__ = ("_count", "_open", "_total_ms", "_worst")

    MOST = 100

    def __init__(self) -> None:
        self._count = 0
        self._total_ms = 0
        self._open: Overrun | None = None
        self._worst: list[tuple[int, int, int]] = []  # (peak, -start, end): the least bad is on top

    def copy(self) -> Overruns:
        """Return an independent copy."""
        twin = Overruns()
        twin._count, twin._total_ms = self._count, self._total_ms
        twin._open, twin._worst = self._open, list(self._worst)
        return twin

    def stretch(self, start: Instant, end: Instant, level: int) -> None:
        """Take a stretch `[start, end)` above the capacity; one that follows on joins the last."""
        last = self._open
        if last is not None and last.end == start:
            self._open = Overrun(last.start, end, max(last.peak, level))
        else:
            self.split()
            self._open = Overrun(start, end, level)

    def split(self) -> None:
        """End the running overrun: what follows, even at once, is another one."""
        last, self._open = self._open, None
        if last is None:
            return
        self._count += 1
        self._total_ms += last.end - last.start
        heapq.heappush(self._worst, (last.peak, -last.start, last.end))
        if len(self._worst) > self.MOST:
            heapq.heappop(self._worst)

    def figures(self) -> OverrunFigures:
        """Return the figures so far, a running overrun up to where it is known. Spends the fold."""
        self.split()
        worst = sorted(self._worst, reverse=True)
        return OverrunFigures(
            self._count, self._total_ms, tuple(Overrun(-start, end, peak) for peak, start, end in worst)
        )
