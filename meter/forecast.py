"""What a period will come to if the rest of it is like what was observed so far. An estimate, never billed."""

from __future__ import annotations

from dataclasses import dataclass

from meter.fold import Figures

#: Nothing is said before this part of the period was observed: one of so many.
LEAST_PART = 10


@dataclass(frozen=True, slots=True)
class Forecast:
    """A period's likely end.

    Attributes:
        overruns: How many overruns, rounded down.
        over_ms: How long above the capacity in all.
        rise_percent: The chance, at most, that the peak still rises.
    """

    overruns: int
    over_ms: int
    rise_percent: int


def forecast(figures: Figures) -> Forecast | None:
    """Return what a period will come to; None: too little of it was observed, or it has no capacity.

    Overruns and the time above the capacity grow in proportion to time. The peak can only rise:
    if every moment of the period is as likely as any other to hold its highest level, the chance
    that this one is still to come is the share of the time to come. Time that was not observed,
    in gaps, is taken to be like the rest too: it is not in the measure.
    """
    observed, to_come = figures.observed_ms, figures.period.end - figures.as_of
    whole = figures.period.end - figures.period.start
    if figures.overruns is None or observed * LEAST_PART < whole:
        return None
    over = figures.overruns
    return Forecast(
        overruns=over.count + over.count * to_come // observed,
        over_ms=over.total_ms + over.total_ms * to_come // observed,
        rise_percent=100 * to_come // (observed + to_come),
    )
