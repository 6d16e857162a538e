"""One tenant's running account: the fold over what is settled, and the facts that may still change.

Up to the last instant at which every PBX of the tenant agreed with its snapshot,
nothing can change any more: those facts are folded once and let go. Younger facts are
kept and folded when somebody asks, over a copy; if a gap turns out to have begun in
between, or legs to have been missed, there is nothing to undo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meter.edges import edges, leg_edges
from meter.fold import Figures, Fold, Frame
from meter.model import Gap, Instant, Leg, Merge, Terms
from meter.presence import FOREVER


class Account:
    """One tenant's live figures.

    Args:
        frame_at: Returns the frame of the period that contains an instant.
        start_at: An instant of the first period to be folded; older facts count as its past.
    """

    def __init__(self, frame_at: Callable[[Instant], Frame], start_at: Instant) -> None:
        self._frame_at = frame_at
        self._fold = Fold(frame_at(start_at))
        self._settled_at: Instant = -FOREVER
        self._up: dict[int, Leg] = {}
        self._legs: dict[int, Leg] = {}  # those with an edge that is not folded yet
        self._gaps: dict[int, Gap] = {}  # those that are not folded whole
        self._merges: list[Merge] = []
        self._terms: list[Terms] = []

    def copy(self) -> Account:
        """Return an independent copy; facts are shared, they never change."""
        twin = Account.__new__(Account)
        twin._frame_at, twin._settled_at = self._frame_at, self._settled_at
        twin._fold = self._fold.copy()
        twin._up, twin._legs, twin._gaps = dict(self._up), dict(self._legs), dict(self._gaps)
        twin._merges, twin._terms = list(self._merges), list(self._terms)
        return twin

    def agree(self, terms: Terms) -> None:
        """Take the terms that hold from an instant on, which is not settled yet."""
        self._terms.append(terms)

    def take(self, legs: Iterable[Leg], gaps: Iterable[Gap], merges: Iterable[Merge]) -> None:
        """Take new or changed facts of this tenant and its PBXs."""
        for leg in legs:
            self._legs[leg.row] = leg
            if leg.end is None:
                self._up[leg.row] = leg
            else:
                self._up.pop(leg.row, None)
        for gap in gaps:
            self._gaps[gap.row] = gap
            # A gap tells of every leg that was up in it: it is proved through it, or cut by it.
            self._legs.update((row, leg) for row, leg in self._up.items() if leg.pbx == gap.pbx)
        self._merges += merges

    def drop(self, row: int) -> None:
        """Forget a leg that turned out to be another tenant's. It is not settled yet."""
        self._up.pop(row, None)
        self._legs.pop(row, None)

    def settle(self, upto: Instant) -> None:
        """Fold for good what lies before `upto`: no fact before it will change any more."""
        running = min((gap.start for gap in self._gaps.values() if gap.end is None), default=FOREVER)
        upto = min(upto, running)
        if upto <= self._settled_at or upto <= self._fold.frame.period.start:
            return
        self._fold = self._folded(self._fold, upto)
        self._settled_at = upto
        gaps = self._gaps_by_pbx()
        self._legs = {
            row: leg
            for row, leg in self._legs.items()
            if any(at >= upto for at, *_ in leg_edges(leg, gaps.get(leg.pbx, ())))
        }
        # A leg's bill is over its whole life: gaps are kept as long as a leg that is not billed yet may have lived in them.
        oldest: dict[str, Instant] = {}
        for leg in (*self._up.values(), *self._legs.values()):
            oldest[leg.pbx] = min(leg.start, oldest.get(leg.pbx, leg.start))
        self._gaps = {
            row: gap
            for row, gap in self._gaps.items()
            if gap.end is None or gap.end >= min(upto, oldest.get(gap.pbx, upto))
        }
        self._merges = [merge for merge in self._merges if merge.at >= upto]
        self._terms = [terms for terms in self._terms if terms.at >= upto]

    def _gaps_by_pbx(self) -> dict[str, list[Gap]]:
        gaps: dict[str, list[Gap]] = {}
        for gap in self._gaps.values():
            gaps.setdefault(gap.pbx, []).append(gap)
        return gaps

    def view(self, until: Instant) -> Figures:
        """Return the figures of the period that contains `until`, up to it."""
        until = max(until, self._settled_at)
        return self._folded(self._fold.copy(), until).figures(until)

    def _folded(self, fold: Fold, upto: Instant) -> Fold:
        """Return the fold of the period that contains `upto`, fed with every edge before it."""
        pending = [
            e
            for e in edges(self._legs.values(), self._merges, self._gaps_by_pbx(), self._terms)
            if self._settled_at <= e[0] < upto
        ]
        done = 0
        while (end := fold.frame.period.end) <= upto:
            part = [e for e in pending[done:] if e[0] < end]
            fold.feed(part)
            done += len(part)
            fold.advance(end)
            fold = fold.next(self._frame_at(end))
        fold.feed(pending[done:])
        fold.advance(upto)
        return fold
