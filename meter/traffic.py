"""Trunk legs and their answered time, by direction."""

from __future__ import annotations

from dataclasses import dataclass

from meter.model import Direction, Instant


@dataclass(frozen=True, slots=True)
class TrafficFigures:
    """What one direction carried in a period.

    Attributes:
        legs: Trunk legs that began in it.
        answered: Trunk legs that were answered in it.
        answered_ms: Answered time within its bounds; gap time only where proved.
        billable_s: Answered times rounded up to whole seconds per leg, of the legs that ended in it.
    """

    legs: int = 0
    answered: int = 0
    answered_ms: int = 0
    billable_s: int = 0


class Traffic:
    """Folds the legs of one direction. Answered time is a sum of ends less a sum of starts."""

    __slots__ = ("_answered", "_billable_s", "_legs", "_sum_ms", "_talking")

    def __init__(self) -> None:
        self._legs = 0
        self._answered = 0
        self._billable_s = 0
        self._sum_ms = 0
        self._talking = 0

    def copy(self) -> Traffic:
        """Return an independent copy."""
        twin = Traffic()
        twin._legs, twin._answered, twin._billable_s = self._legs, self._answered, self._billable_s
        twin._sum_ms, twin._talking = self._sum_ms, self._talking
        return twin

    def next(self, at: Instant) -> Traffic:
        """Return the fold of the period that starts at `at`, with the legs that talk on."""
        twin = Traffic()
        twin._talking, twin._sum_ms = self._talking, -self._talking * at
        return twin

    def began(self) -> None:
        """Count a leg."""
        self._legs += 1

    def was_answered(self) -> None:
        """Count an answered leg."""
        self._answered += 1

    def talks(self, at: Instant) -> None:
        """Answered time of one more leg runs from `at`."""
        self._talking += 1
        self._sum_ms -= at

    def stops(self, at: Instant) -> None:
        """Answered time of one leg stands still from `at`."""
        self._talking -= 1
        self._sum_ms += at

    def ended(self, answered_ms: int) -> None:
        """Bill an ended leg that was answered so long in all."""
        self._billable_s += -(-answered_ms // 1000)

    def figures(self, until: Instant) -> TrafficFigures:
        """Return the figures up to `until`."""
        return TrafficFigures(
            self._legs, self._answered, self._sum_ms + self._talking * until, self._billable_s
        )


#: The order in which records state directions.
DIRECTIONS = (Direction.IN, Direction.OUT, Direction.UNKNOWN)
