"""The one fold: edges in, every figure of a period out.

Live metering, recovery after a crash, sealing, `recompute` and corrections all run
this over the same facts, so there is no second way to arrive at a figure.

Rules of this file:
- everything at one instant is one change: levels are read after its last edge;
- time before the period's start is folded for its state and counted for nothing;
- it knows no connector, no clock and no database.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import groupby
from operator import itemgetter
from typing import Final

from meter import edges as edge
from meter.calls import CallKey, Calls
from meter.model import Direction, Gap, Instant, Leg, Level, Merge, Terms
from meter.overruns import OverrunFigures, Overruns
from meter.peaks import LevelFigures, LevelFold, Sight, Source
from meter.periods import Period, days, hours
from meter.traffic import DIRECTIONS, Traffic, TrafficFigures

#: Edges that may change how much of a tenant is observed.
_SIGHT: Final = edge.UNSEEN | edge.SEEN | edge.AGREED


@dataclass(frozen=True, slots=True)
class Frame:
    """A period with the local days and clock hours that its figures speak of."""

    period: Period
    days: tuple[Period, ...]
    hours: tuple[Instant, ...]
    series: bool = False  #: whether minute maxima are kept one by one


def frame(period: Period, tz: tzinfo, *, series: bool = False) -> Frame:
    """Return a period's frame in the tenant's time zone."""
    return Frame(
        period,
        tuple(days(period.start, period.end, tz)),
        tuple(hours(period.start, period.end, tz)),
        series,
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """Every figure of one tenant's period so far.

    Attributes:
        period: The period.
        as_of: Up to when; the period's end if it is over.
        observed_ms: Time in which all the tenant's PBXs were observed.
        levels: The three levels.
        overruns: Of the basis level; None if no capacity was ever in force.
        traffic: By direction.
        history: The terms in force in the period, the first from its start on (or from
            when they were first agreed).
    """

    period: Period
    as_of: Instant
    observed_ms: int
    levels: dict[Level, LevelFigures]
    overruns: OverrunFigures | None
    traffic: dict[Direction, TrafficFigures]
    history: tuple[Terms, ...]

    @property
    def expected_ms(self) -> int:
        """How long the period has been going on."""
        return self.as_of - self.period.start


class Fold:
    """One tenant's facts folded over one period.

    Args:
        frame: The period. State before it must be fed too (`feed` takes edges of any age).
    """

    def __init__(self, frame: Frame) -> None:
        self._calls = Calls()
        self._traffic = {d: Traffic() for d in DIRECTIONS}
        self._names: dict[CallKey, CallKey] = {}  # what became of merged calls
        self._on: dict[str, int] = {}  # known legs by PBX
        self._unseen: dict[str, int] = {}  # running gaps by PBX, where there are any
        self._terms: Terms | None = None
        self._history: list[Terms] = []
        self._open(frame)

    def _open(self, frame: Frame) -> None:
        start = frame.period.start
        self.frame = frame
        self._at = start
        self._observed_ms = 0
        self._levels = {
            level: LevelFold(start, frame.days, frame.hours, series=frame.series) for level in Level
        }
        self._overruns = Overruns()
        self._begun = False  # the levels at the first instant were read, after all edges of that instant
        self._over: tuple[Instant, int] | None = None  # since when the basis level is above, and how high
        self._history = [] if self._terms is None else [self._terms]

    def copy(self) -> Fold:
        """Return an independent copy."""
        twin = Fold.__new__(Fold)
        twin.__dict__.update(self.__dict__)
        twin._calls = self._calls.copy()
        twin._names = dict(self._names)
        twin._on, twin._unseen, twin._history = dict(self._on), dict(self._unseen), list(self._history)
        twin._levels = {level: fold.copy() for level, fold in self._levels.items()}
        twin._overruns = self._overruns.copy()
        twin._traffic = {d: t.copy() for d, t in self._traffic.items()}
        return twin

    def next(self, frame: Frame) -> Fold:
        """Return the fold of the period that follows on, with what is up and agreed at its start.

        `self` must have been advanced to the end of its own period.
        """
        twin = self.copy()
        twin._traffic = {d: t.next(frame.period.start) for d, t in self._traffic.items()}
        twin._open(frame)
        return twin

    @property
    def sight(self) -> Sight:
        """How much of the tenant is observed now: by the terms in force, all of its PBXs, some, or none."""
        pbxs = self._terms.pbxs if self._terms is not None else ()
        unseen = sum(1 for pbx in pbxs if self._unseen.get(pbx))
        if unseen == len(pbxs):
            return Sight.BLIND
        return Sight.PARTLY if unseen else Sight.WHOLE

    def feed(self, edges: Sequence[edge.Edge]) -> None:
        """Fold edges that follow on from those already fed, in their order.

        Edges before the period's start take effect at its start.
        """
        start = self.frame.period.start
        early = bisect_left(edges, start, key=itemgetter(0))
        for at, _, what, fact, _ in edges[:early]:
            self._apply(at, what & ~(edge.BEGAN | edge.ANSWERED | edge.ENDED), fact, 0)
        if early < len(edges) and edges[early][0] > start:
            self._begin()
        sight = (
            self.sight
        )  # looked at again only where it may change: every leg has three instants (bench/months.py)
        for at, group in groupby(edges[early:], key=itemgetter(0)):
            before, cut = sight, False
            for _, _, what, fact, talked in group:
                self._apply(at, what, fact, talked)
                if what & _SIGHT:
                    cut, sight = cut or what != edge.AGREED, self.sight
            self._read_levels(at, before, cut=cut or before is not sight)
        if not self._calls.channels and not self._unseen:
            self._names.clear()  # nothing that is up, or may turn out to be, goes by an old name

    def _begin(self) -> None:
        if not self._begun:
            self._read_levels(self.frame.period.start, self.sight, cut=False)

    def _apply(self, at: Instant, what: int, fact: Leg | Merge | Gap | Terms, talked: int) -> None:
        if isinstance(fact, Leg):
            self._apply_leg(at, what, fact, talked)
        elif isinstance(fact, Merge):
            gone, into = (fact.pbx, fact.gone), (fact.pbx, fact.into)
            self._names.pop(into, None)  # it is a name again, whatever it was before
            self._names[gone] = into
            self._calls.merge(gone, into)
        elif isinstance(fact, Gap):
            change = 1 if what & edge.UNSEEN else -1
            running = self._unseen.pop(fact.pbx, 0) + change
            if running:
                self._unseen[fact.pbx] = running
        else:
            self._agree(at, fact)

    def _apply_leg(self, at: Instant, what: int, leg: Leg, talked: int) -> None:
        if what & (edge.UP | edge.TALKS | edge.DOWN):
            self._count(at, what, leg)
        self._bill(at, what, leg, talked)

    def _count(self, at: Instant, what: int, leg: Leg) -> None:
        """Bring the levels' calls up to date with one edge of a leg."""
        key = (leg.pbx, leg.call)
        while key in self._names:
            key = self._names[key]
        if what & edge.UP:
            self._calls.up(key, answered=leg.answer is not None and leg.answer <= at)
            self._on[leg.pbx] = self._on.get(leg.pbx, 0) + 1
        if what & edge.TALKS:
            self._calls.answer(key)
        if what & edge.DOWN:
            self._calls.down(key, answered=leg.answer is not None and leg.answer < at)
            self._on[leg.pbx] -= 1

    def _bill(self, at: Instant, what: int, leg: Leg, talked: int) -> None:
        """Bring the traffic up to date with one edge of a leg."""
        traffic = self._traffic[leg.direction]
        answer, counts_from = leg.answer, max(at, self.frame.period.start)
        if what & edge.BEGAN:
            traffic.began()
        if what & edge.ANSWERED:
            traffic.was_answered()
        up_and_answered = what & edge.UP and answer is not None and answer <= at
        if up_and_answered or what & (edge.TALKS | edge.RESUMES):
            traffic.talks(counts_from)
        if what & edge.PAUSES:
            traffic.stops(counts_from)
        if what & edge.DOWN and answer is not None and answer < at:
            traffic.stops(counts_from)
        if what & edge.ENDED:
            traffic.ended(talked)

    def _agree(self, at: Instant, terms: Terms) -> None:
        before, self._terms = self._terms, terms
        if at <= self.frame.period.start:
            self._history = [terms]
            return
        self._history.append(terms)
        if before is not None and (before.lines, before.basis) != (terms.lines, terms.basis):
            self._note_overrun(at)
            self._overruns.split()
            self._over = None

    def _read_levels(self, at: Instant, sight: Sight, *, cut: bool) -> None:
        """Bring every level up to date at `at`; `sight` is of the time before it."""
        self._begun = True
        if sight is Sight.WHOLE:
            self._observed_ms += at - self._at
        self._at = at
        calls = self._calls
        proved = self._unseen and any(self._on.get(pbx) for pbx in self._unseen)
        source = Source.PROVED if proved else Source.SEEN
        values = (calls.channels, calls.calls, calls.answered)
        for fold, value in zip(self._levels.values(), values, strict=True):  # in the order of Level
            if fold.level != value:
                fold.change(at, value, sight, source)
            elif cut:
                fold.cut(at, sight)
        if cut:
            self._note_overrun(at)
            self._overruns.split()
        self._watch_capacity(at)

    def _watch_capacity(self, at: Instant) -> None:
        terms = self._terms
        level = self._levels[terms.basis].level if terms else 0
        over = terms is not None and terms.lines is not None and level > terms.lines
        if self._over is not None and not (over and self._over[1] == level):
            self._note_overrun(at)
        if over and self._over is None:
            self._over = (at, level)

    def _note_overrun(self, at: Instant) -> None:
        if self._over is not None:
            since, level = self._over
            if at > since:
                self._overruns.stretch(since, at, level)
            self._over = None

    def advance(self, until: Instant) -> None:
        """Let time pass up to `until`, at most the end of the period, without any change."""
        if until > self.frame.period.start:
            self._begin()
        sight = self.sight
        if sight is Sight.WHOLE:
            self._observed_ms += until - self._at
        self._at = until
        for fold in self._levels.values():
            fold.account(until, sight)

    def figures(self, as_of: Instant) -> Figures:
        """Return every figure, with time accounted up to `as_of`. Spends the fold: ask a copy."""
        self.advance(as_of)
        self._note_overrun(as_of)
        return Figures(
            period=self.frame.period,
            as_of=as_of,
            observed_ms=self._observed_ms,
            levels={level: fold.figures() for level, fold in self._levels.items()},
            overruns=self._overruns.figures() if any(t.lines for t in self._history) else None,
            traffic={d: self._traffic[d].figures(as_of) for d in DIRECTIONS},
            history=tuple(self._history),
        )
