"""Facts of the ledger as edges: what changes at which instant.

A leg becomes two to four edges; a merge, a gap and a change of terms one or two. The
order within one instant only keeps the counting whole (up before merged before
down); the levels are read after all edges of an instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, TypeAlias

from meter.model import Cause, Gap, Instant, Leg, Merge, Terms
from meter.presence import FOREVER, Gaps, end_of, presence, proved_through

# What an edge of a leg says; several may hold at once.
BEGAN: Final = 1  #: the PBX made the leg
ANSWERED: Final = 2  #: it was answered
ENDED: Final = 4  #: it hung up
UP: Final = 8  #: it is known to exist from here
TALKS: Final = 16  #: known to exist, it is answered from here
DOWN: Final = 32  #: it is not known to exist any more
PAUSES: Final = 1024  #: answered, but time that the wall clock skips is nobody's to pay
RESUMES: Final = 2048  #: ... up to here
# Edges of the other facts.
MERGED: Final = 64
UNSEEN: Final = 128  #: a gap begins
SEEN: Final = 256  #: a gap ends
AGREED: Final = 512  #: terms hold

_OPENING: Final = 0
_CHANGING: Final = 1
_MERGING: Final = 2
_CLOSING: Final = 3

#: (instant, rank within the instant, what it says, the fact, a leg's answered ms at its end)
Edge: TypeAlias = tuple[Instant, int, int, "Leg | Merge | Gap | Terms", int]

#: The order in which edges are folded.
in_order = itemgetter(0, 1)


def leg_edges(leg: Leg, gaps: Sequence[Gap]) -> list[Edge]:
    """Return the edges of one leg, given the gaps of its PBX."""
    if not gaps and (plain := _plain_edges(leg)):
        return plain
    pieces = presence(leg, gaps) if gaps else [(leg.start, end_of(leg))]
    answer = leg.answer
    says: dict[tuple[Instant, int], int] = {(leg.start, _OPENING): BEGAN}
    talked = 0
    for start, end in pieces:
        if start == end:
            continue
        says[start, _OPENING] = says.get((start, _OPENING), 0) | UP
        if answer is not None:
            if start < answer < end:
                says[answer, _CHANGING] = says.get((answer, _CHANGING), 0) | TALKS
            talked += max(0, end - max(start, answer))
            talked -= _skipped(says, leg, answer, (start, end), gaps)
        if end < FOREVER:
            says[end, _CLOSING] = DOWN
    if answer is not None:
        says[answer, _CHANGING] = says.get((answer, _CHANGING), 0) | ANSWERED
    if leg.end is not None:
        says[leg.end, _CLOSING] = says.get((leg.end, _CLOSING), 0) | ENDED
    return [(at, rank, what, leg, talked if what & ENDED else 0) for (at, rank), what in says.items()]


def _plain_edges(leg: Leg) -> list[Edge]:
    """Return the same of a leg without gaps that lasted, and was answered, if at all, between its ends; else nothing.

    Nearly every leg is one: what holds for all of them takes three times as long (bench/months.py).
    """
    start, answer, end = leg.start, leg.answer, end_of(leg)
    if not start < end or (answer is not None and not start < answer < end):
        return []
    found: list[Edge] = [(start, _OPENING, BEGAN | UP, leg, 0)]
    talked = 0
    if answer is not None:
        found.append((answer, _CHANGING, TALKS | ANSWERED, leg, 0))
        talked = end - answer
    if leg.end is not None:
        found.append((end, _CLOSING, DOWN | ENDED, leg, talked))
    return found


def _skipped(
    says: dict[tuple[Instant, int], int],
    leg: Leg,
    answer: Instant,
    piece: tuple[Instant, Instant],
    gaps: Sequence[Gap],
) -> int:
    """Leave out what a forward step of the wall clock skipped within a proved piece of a leg; return how much."""
    skipped = 0
    for gap in gaps:
        if gap.cause is not Cause.CLOCK_STEP or not proved_through(leg, gap):
            continue
        first, last = max(gap.start, answer, piece[0]), min(end_of(gap), piece[1])
        if first < last:
            says[first, _CHANGING] = says.get((first, _CHANGING), 0) | PAUSES
            says[last, _CHANGING] = says.get((last, _CHANGING), 0) | RESUMES
            skipped += last - first
    return skipped


def gap_edges(gap: Gap) -> list[Edge]:
    """Return the edges of one gap."""
    edges: list[Edge] = [(gap.start, _OPENING, UNSEEN, gap, 0)]
    if gap.end is not None:
        edges.append((gap.end, _CLOSING, SEEN, gap, 0))
    return edges


def edges(
    legs: Iterable[Leg],
    merges: Iterable[Merge],
    gaps: Mapping[str, Sequence[Gap]],
    terms: Iterable[Terms],
) -> list[Edge]:
    """Return all edges of one tenant's facts, in the order in which they are folded.

    Args:
        legs: Its legs.
        merges: The merges of calls on its PBXs, in the ledger's order.
        gaps: The gaps of each of its PBXs.
        terms: Its terms.
    """
    found: list[Edge] = []
    near = {pbx: Gaps(of_pbx) for pbx, of_pbx in gaps.items()}
    for leg in legs:
        of_pbx = near.get(leg.pbx)
        found += leg_edges(leg, of_pbx.touching(leg) if of_pbx else ())
    found += [(merge.at, _MERGING, MERGED, merge, 0) for merge in merges]
    found += [edge for of_pbx in gaps.values() for gap in of_pbx for edge in gap_edges(gap)]
    found += [(agreed.at, _OPENING, AGREED, agreed, 0) for agreed in terms]
    found.sort(key=in_order)
    return found
