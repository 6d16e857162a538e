"""What call records told and nobody has stored yet, and of which stretches of time it is all.

Rules:

1. A stretch is time in which every call that ended was told: it ends whenever a line may have been missed.
2. A leg is let go once `since` says that it was stored; until then it is told again.
3. Memory is bounded: of too many legs the oldest go, and the stretches begin after them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from connectors.connector import CallsTold
from meter.model import Instant
from meter.witness import Witnessed

#: So many legs wait at most: of two hours with 600 calls at once, each of three minutes.
MOST: Final = 50_000
#: A line may come so much later than its call ended, in ms. 3CX states no bound; it writes at the call's end.
SETTLE_MS: Final = 5_000
#: So many stretches are remembered at most, the newest.
_MOST_STRETCHES: Final = 1_000
#: Less than this is not worth telling, in ms: records count whole seconds.
_LEAST_MS: Final = 1_000
#: That no call ended is told so seldom, in ms.
_QUIET_MS: Final = 60_000


@dataclass(slots=True)
class _Waiting:
    """A leg, and up to which instant it was told with others; `old`: it stood in a file before we looked."""

    leg: Witnessed
    old: bool
    told: Instant | None = None


class Kept:
    """Legs that wait to be asked for.

    Args:
        most: How many wait at most.

    Attributes:
        lost: How many were let go unasked.
    """

    def __init__(self, most: int = MOST) -> None:
        self.lost = 0
        self._most = most
        self._waiting: deque[_Waiting] = deque()
        self._stretches: list[tuple[Instant, Instant | None]] = []
        self._opened: Instant | None = None

    def begin(self, at: Instant, opened: Instant | None = None) -> None:
        """Begin a stretch, unless one is open.

        Args:
            at: From when on every call that ended is told.
            opened: When we began to look, where the stretch reaches further back.
        """
        if self._opened is None:
            self._opened = at if opened is None else opened
        if not self._stretches or self._stretches[-1][1] is not None:
            self._stretches.append((at, None))
            del self._stretches[:-_MOST_STRETCHES]

    def end(self, at: Instant) -> None:
        """End the open stretch: of calls that ended at `at` or later, one may be missing."""
        if self._stretches and self._stretches[-1][1] is None:
            start, _ = self._stretches.pop()
            if at - start >= _LEAST_MS:
                self._stretches.append((start, at))

    def add(self, legs: Iterable[Witnessed], *, old: bool = False) -> None:
        """Keep legs until they are asked for."""
        self._waiting += (_Waiting(leg, old) for leg in legs)
        while len(self._waiting) > self._most:
            gone = self._waiting.popleft()
            if gone.told is None:
                self.lost += not gone.old
                first = gone.leg.end + _LEAST_MS
                self._stretches = [
                    (max(start, first), end) for start, end in self._stretches if end is None or end > first
                ]

    def take(self, since: Instant | None, until: Instant, *, soon: bool = True) -> CallsTold | None:
        """Return the oldest stretch that was not told, with every leg that waits and ended before its end.

        Ask again until nothing comes: after a break there are several stretches.

        Args:
            since: The end of what was told before and is stored; None: nothing was.
            until: Up to when lines would have been seen.
            soon: Tell of an open stretch without calls too, however short.
        """
        if since is not None:
            stored = since
            self._waiting = deque(w for w in self._waiting if w.told is None or w.told > stored)
        floor = (self._opened or 0) if since is None else since
        for first, last in tuple(self._stretches):
            start, end = max(first, floor), until - SETTLE_MS if last is None else last
            if last is not None and end <= start:
                self._stretches.remove((first, last))
            elif last is not None or end - start >= (
                _LEAST_MS if soon or self._has(start, end) else _QUIET_MS
            ):
                return CallsTold("cdr", start, end, self._told(start, end))
        return None

    def endpoints(self) -> tuple[str, ...]:
        """Return the endpoints of the legs that wait."""
        return tuple(sorted({waiting.leg.endpoint for waiting in self._waiting}))

    def _has(self, start: Instant, end: Instant) -> bool:
        return any(w.leg.end < end and not (w.old and w.leg.end < start) for w in self._waiting)

    def _told(self, start: Instant, end: Instant) -> tuple[Witnessed, ...]:
        self._waiting = deque(w for w in self._waiting if not w.old or w.leg.end >= start)
        told = [w for w in self._waiting if w.leg.end < end]
        for waiting in told:
            waiting.told = waiting.told or end
        return tuple(waiting.leg for waiting in told)
