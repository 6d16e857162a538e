"""One level folded over a period: peak, time at level, minutes, busy hour.

The level comes in as stretches: half-open intervals in which neither it nor the
state of observation changes. What happens in one millisecond is one change, so a
level that was never held for a millisecond never was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from meter.minutes import Hours, Minutes, percentile
from meter.model import Instant
from meter.periods import Period


class Sight(IntEnum):
    """How much of a tenant is observed."""

    BLIND = 0  #: none of its PBXs, or there is no tenant: only what is proved is known
    PARTLY = 1  #: some: the level may peak, but how long it stood at what is not known
    WHOLE = 2  #: all


class Source(StrEnum):
    """How a peak is known."""

    SEEN = "seen"
    PROVED = "proved"  #: by legs that were up before a gap and still up after it
    SAMPLED = "sampled"
    CALL_LOG = "call_log"


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest value of a level in a period.

    Attributes:
        level: The value, >= 0.
        at: The first instant at which it was reached; None if it is 0.
        ms: The length of that first unbroken stretch; None if it is 0.
        source: How it is known.
    """

    level: int
    at: Instant | None
    ms: int | None
    source: Source


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """What the record states of one level. Without any observed time every field is None or empty.

    Attributes:
        peak: The peak; None if nothing was observed, not even partly.
        time_at_level_ms: Wholly observed milliseconds at each value; they add up to `observed_ms`.
        daily_peaks: Highest minute of each observed local day.
        percentiles: Of the minute maxima, by per cent.
        busy_hour: Its start and its mean level in thousandths, or None.
        series: Runs of minute maxima, where they were asked for.
    """

    peak: Peak | None
    time_at_level_ms: dict[int, int]
    daily_peaks: dict[str, int]
    percentiles: dict[int, int]
    busy_hour: tuple[Instant, int] | None
    series: tuple[tuple[int, int | None], ...] = ()


#: The percentiles that the record states.
PERCENTILES = (95, 98)


class LevelFold:
    """One level over one period.

    `change` and `breach` come in order of time; `figures` may be asked of a copy.

    Args:
        start: The period's first instant.
        level: The level at that instant.
        days, hours: The local days and clock hours of the period.
        series: Whether minute maxima are kept one by one.
    """

    __slots__ = (
        "_glimpsed", "_hours", "_minutes", "_peak", "_peak_at", "_peak_ms", "_rising", "_since", "_source", "_time", "level",
    )  # fmt: skip

    def __init__(
        self,
        start: Instant,
        days: Sequence[Period],
        hours: Sequence[Instant],
        *,
        series: bool = False,
    ) -> None:
        self.level = 0
        self._since = start
        self._time: dict[int, int] = {}
        self._minutes = Minutes(days, series=series)
        self._hours = Hours(hours)
        self._peak = 0
        self._peak_at = start
        self._peak_ms = 0
        self._source = Source.SEEN
        self._rising = False  # the peak's first stretch still lasts
        self._glimpsed = False

    def copy(self) -> LevelFold:
        """Return an independent copy."""
        twin = LevelFold.__new__(LevelFold)
        twin.level, twin._since, twin._rising = self.level, self._since, self._rising
        twin._peak, twin._peak_at, twin._peak_ms = self._peak, self._peak_at, self._peak_ms
        twin._source, twin._time, twin._glimpsed = self._source, dict(self._time), self._glimpsed
        twin._minutes, twin._hours = self._minutes.copy(), self._hours.copy()
        return twin

    def change(self, at: Instant, level: int, sight: Sight, source: Source) -> None:
        """Take a new value from `at` on; `sight` is of the stretch up to `at`."""
        self.account(at, sight)
        self._end_peak(at)
        self.level = level
        if level > self._peak:
            self._peak, self._peak_at, self._source, self._rising = level, at, source, True

    def account(self, at: Instant, sight: Sight) -> None:
        """Count the time up to `at` at the present value."""
        if at > self._since:
            whole, glimpsed = sight is Sight.WHOLE, sight is not Sight.BLIND
            if whole:
                self._time[self.level] = self._time.get(self.level, 0) + at - self._since
            self._glimpsed = self._glimpsed or glimpsed
            self._minutes.stretch(self._since, at, self.level, observed=glimpsed)
            self._hours.stretch(self._since, at, self.level, observed=whole)
            self._since = at

    def cut(self, at: Instant, sight: Sight) -> None:
        """Begin a new stretch at `at` with the same value: a gap's edge."""
        self.account(at, sight)
        self._end_peak(at)

    def _end_peak(self, at: Instant) -> None:
        if self._rising:
            self._peak_ms, self._rising = at - self._peak_at, False

    def figures(self) -> LevelFigures:
        """Return the figures so far; accounted up to the last instant given. Spends the fold."""
        self._end_peak(self._since)
        self._minutes.flush()
        self._hours.flush()
        if not self._glimpsed:
            return LevelFigures(None, {}, {}, {}, None, tuple(self._minutes.series))
        peak = (
            Peak(self._peak, self._peak_at, self._peak_ms, self._source)
            if self._peak
            else Peak(0, None, None, self._source)
        )
        high = self._minutes.histogram
        shares = {p: v for p in PERCENTILES if (v := percentile(high, p)) is not None}
        return LevelFigures(
            peak=peak,
            time_at_level_ms=dict(sorted(self._time.items())),
            daily_peaks=dict(self._minutes.daily),
            percentiles=shares,
            busy_hour=self._hours.busiest,
            series=tuple(self._minutes.series),
        )
