"""What a correction lays over the ledger's facts; the facts themselves never change.

A correction says which legs it takes for what, which it leaves out, and which stretches of
gaps the PBX's own call records fill. Laid over the same facts again it gives the same
figures: that is how `recompute` proves a correction.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from meter.model import Direction, Gap, Instant, Known, Leg
from meter.presence import FOREVER, end_of
from meter.summary import Facts

#: A stretch of one PBX's time: (pbx, start, end).
Stretch = tuple[str, Instant, Instant]

#: Call records count whole seconds, and are a little behind what events told.
SLACK_MS = 2_000


@dataclass(frozen=True, slots=True)
class Amendment:
    """What one correction lays over the ledger.

    Attributes:
        legs: Legs as this correction takes them. Those with the row of a ledger's leg (>= 1)
            stand in its place; those that only call records tell of have rows below zero.
        dropped: Rows of legs that it leaves out.
        filled: Stretches of gaps that call records fill: disjoint for one PBX.
    """

    legs: tuple[Leg, ...] = ()
    dropped: tuple[int, ...] = ()
    filled: tuple[Stretch, ...] = ()


@dataclass(frozen=True, slots=True)
class Filling:
    """What call records say about gaps.

    Attributes:
        legs: Legs to be taken as the records tell them, those of the ledger under their rows.
        filled: The stretches of gaps that the records cover.
        doubtful: How many legs in them can't be: the ledger contradicts them. They are not used.
    """

    legs: tuple[Leg, ...]
    filled: tuple[Stretch, ...]
    doubtful: int


def amended(facts: Facts, amendment: Amendment) -> Facts:
    """Return a tenant's facts with an amendment laid over them."""
    replaced = {leg.row for leg in amendment.legs} | set(amendment.dropped)

    def over(legs: Sequence[Leg], tenant: str | None) -> list[Leg]:
        kept = [leg for leg in legs if leg.row not in replaced]
        added = [leg for leg in amendment.legs if leg.tenant == tenant]
        return sorted(kept + added, key=lambda leg: (leg.start, leg.row))

    return replace(
        facts,
        legs=over(facts.legs, facts.tenant),
        strays=None if facts.strays is None else over(facts.strays, None),
        gaps={
            pbx: [piece for gap in gaps for piece in without(gap, amendment.filled)]
            for pbx, gaps in facts.gaps.items()
        },
        filled=amendment.filled,
    )


def without(gap: Gap, filled: Iterable[Stretch]) -> list[Gap]:
    """Return what is left of a gap where stretches of it are filled."""
    pieces = [(gap.start, end_of(gap))]
    for pbx, start, end in filled:
        if pbx == gap.pbx:
            pieces = [
                piece
                for first, last in pieces
                for piece in ((first, min(last, start)), (max(first, end), last))
                if piece[0] < piece[1]
            ]
    return [replace(gap, start=first, end=None if last == FOREVER else last) for first, last in pieces]


def filling(
    ledger: Sequence[Leg],
    witnessed: Sequence[Leg],
    gaps: Iterable[Gap],
    told: tuple[Instant, Instant],
) -> Filling:
    """Fill the gaps of one PBX from its own call records.

    A leg that the ledger knows keeps its id, its tenant and every instant that was seen; what
    lies in a filled gap is taken from the records. A leg that only the records tell of is
    added if all of its life lies in one filled gap: had it been up before or after, it would
    have been seen. Anything else is doubtful and is left out, so that no peak is invented.

    Args:
        ledger: Every leg of the PBX in that time, whoever's.
        witnessed: What the records tell (meter.witness.judged), rows below zero.
        gaps: The gaps to be filled.
        told: From when to when the records tell of anything.
    """
    filled = tuple(
        (gap.pbx, max(gap.start, told[0]), min(end_of(gap), told[1]))
        for gap in gaps
        if max(gap.start, told[0]) < min(end_of(gap), told[1])
    )
    known_legs = _Known(ledger, {leg.leg for leg in witnessed})
    found: list[Leg] = []
    doubtful = 0
    for leg in witnessed:
        known = known_legs.find(leg)
        if known is not None:
            completed = known
            for stretch in filled:
                completed = _completed(completed, leg, stretch)
            if completed != known:
                found.append(completed)
            continue
        touched = next((s for s in filled if leg.start < s[2] and end_of(leg) > s[1]), None)
        if touched is None:
            continue
        if leg.start >= touched[1] - SLACK_MS and end_of(leg) <= touched[2]:
            found.append(_within(leg, touched))
        else:
            doubtful += 1
    return Filling(tuple(found), filled, doubtful)


class _Known:
    """The ledger's legs of one PBX, each of which is found at most once.

    A leg is found by the PBX's id; a dialled one, whose id call records don't tell, by its
    trunk and its call, or by its trunk and its start. One whose id is told is nobody else.
    """

    def __init__(self, legs: Sequence[Leg], told: AbstractSet[str]) -> None:
        self._by_id = {leg.leg: leg for leg in legs}
        self._by_call: dict[tuple[str, str], list[Leg]] = defaultdict(list)
        self._by_start: dict[str, list[Leg]] = defaultdict(list)
        for leg in sorted(legs, key=lambda leg: leg.start):
            if leg.direction is not Direction.IN and leg.leg not in told:
                self._by_call[leg.endpoint, leg.call].append(leg)
                self._by_start[leg.endpoint].append(leg)
        self._found: set[int] = set()

    def find(self, leg: Leg) -> Leg | None:
        """Return the leg that a witnessed one is; None: the ledger does not know it."""
        candidates: list[Leg] = []
        if leg.leg in self._by_id:
            candidates = [self._by_id[leg.leg]]
        elif leg.direction is Direction.OUT:
            started = self._by_start[leg.endpoint]
            first = bisect_left(started, leg.start - SLACK_MS, key=lambda known: known.start)
            last = bisect_right(started, leg.start + SLACK_MS, key=lambda known: known.start)
            near = sorted(started[first:last], key=lambda known: abs(known.start - leg.start))
            candidates = [*self._by_call[leg.endpoint, leg.call], *near]
        found = next(
            (
                known
                for known in candidates
                if known.row not in self._found
                and known.start < end_of(leg) + SLACK_MS
                and end_of(known) > leg.start - SLACK_MS
            ),
            None,
        )
        if found is not None:
            self._found.add(found.row)
        return found


def _within(leg: Leg, stretch: Stretch) -> Leg:
    start = max(leg.start, stretch[1])
    answer = None if leg.answer is None else max(leg.answer, start)
    return replace(leg, start=start, answer=answer, end=max(end_of(leg), answer or start))


def _completed(known: Leg, told: Leg, stretch: Stretch) -> Leg:
    """Take from the records what of a leg lies in one filled stretch."""
    _, first, last = stretch
    if known.end_known is Known.GAP and known.end == first and told.end is not None:
        known = replace(known, end=min(max(told.end, first), last), end_known=Known.CALL_LOG)
    if first < known.start <= last and known.start_known is not Known.SEEN:
        start = min(max(told.start, first), known.start)
        known = replace(known, start=start, start_known=Known.CALL_LOG)
    seen = known.answer is not None and known.answer_known is Known.SEEN
    if not seen and told.answer is not None and first <= told.answer <= last:
        answer = min(max(told.answer, known.start), end_of(known))
        known = replace(known, answer=answer, answer_known=Known.CALL_LOG)
    return known
