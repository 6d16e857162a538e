"""What a leg proves, and when: its life less the gaps that it is not proved through.

Unknown is not zero, and not more than zero either: in a gap a leg is there only if it
was up before and is still up after it. This is the one place that says so; levels,
traffic and evidence all ask here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from meter.model import Gap, Instant, Leg

#: Later than any instant: the end of what lasts.
FOREVER: Final[Instant] = 1 << 60


def end_of(fact: Leg | Gap) -> Instant:
    """Return when a leg or a gap ended; FOREVER while it lasts."""
    return FOREVER if fact.end is None else fact.end


def proved_through(leg: Leg, gap: Gap) -> bool:
    """Return whether a leg existed all through a gap: up before it, and still up after it."""
    return leg.start <= gap.start and gap.end is not None and end_of(leg) >= gap.end


def presence(leg: Leg, gaps: Sequence[Gap]) -> list[tuple[Instant, Instant]]:
    """Return the half-open stretches in which a leg is known to have existed, in order.

    Args:
        leg: Any leg; one that still lasts ends at FOREVER.
        gaps: The gaps of its PBX, in any order.
    """
    known = [(leg.start, end_of(leg))]
    for gap in gaps:
        if proved_through(leg, gap):
            continue
        known = [
            piece
            for start, end in known
            for piece in ((start, min(end, gap.start)), (max(start, end_of(gap)), end))
            if piece[0] < piece[1]
        ]
    return [(start, end) for start, end in known if start < end]


def answered_ms(leg: Leg, pieces: Sequence[tuple[Instant, Instant]]) -> int:
    """Return how long an ended leg is known to have been answered, in ms; 0 if it never was."""
    if leg.answer is None:
        return 0
    return sum(max(0, end - max(start, leg.answer)) for start, end in pieces)


class Gaps:
    """The gaps of one PBX, so ordered that those which touch a leg's life are found at once."""

    __slots__ = ("_gaps", "_latest", "_starts")

    def __init__(self, gaps: Sequence[Gap]) -> None:
        self._gaps = sorted(gaps, key=lambda gap: gap.start)
        self._starts = [gap.start for gap in self._gaps]
        self._latest = list(accumulate((end_of(gap) for gap in self._gaps), max))  # end of any gap so far

    def touching(self, leg: Leg) -> list[Gap]:
        """Return the gaps that may touch a leg's life, and perhaps some that end before it."""
        first = bisect_left(self._latest, leg.start)
        return self._gaps[first : bisect_right(self._starts, end_of(leg))]


def merged(gaps: Sequence[Gap], start: Instant, end: Instant) -> list[tuple[Instant, Instant]]:
    """Return the union of gaps within `[start, end)`: disjoint, in order."""
    pieces: list[tuple[Instant, Instant]] = []
    for first, last in sorted((max(g.start, start), min(end_of(g), end)) for g in gaps):
        if first >= last:
            continue
        if pieces and first <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(pieces[-1][1], last))
        else:
            pieces.append((first, last))
    return pieces
