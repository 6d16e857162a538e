"""The highest value of a level in each UTC minute, and what is made from it.

Minutes without any observed time are absent, never zero. Only sums are kept
(how many minutes had which maximum, each local day's highest), so a period costs
the same memory however long it is; the minutes themselves are written down only
where a minute-series or a curve asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from meter.model import Instant
from meter.periods import MINUTE_MS, Period


class Minutes:
    """Minute maxima of one level.

    Args:
        days: The local days of the period, in order.
        series: Whether the minutes themselves are kept.

    Attributes:
        histogram: How many minutes had this maximum.
        daily: Each observed local day's highest minute, by the day's name.
        series: Runs of (number of minutes, maximum or None without observed time),
            from the first minute on; empty unless asked for.
    """

    __slots__ = ("_day", "_days", "_high", "_keep", "_minute", "_observed", "daily", "histogram", "series")

    def __init__(self, days: Sequence[Period], *, series: bool = False) -> None:
        self.histogram: dict[int, int] = {}
        self.daily: dict[str, int] = {}
        self.series: list[tuple[int, int | None]] = []
        self._keep = series
        self._days = days
        self._day = 0
        self._minute = -1  # the open minute: number since 1970; -1 before the first
        self._high = 0
        self._observed = False

    def copy(self) -> Minutes:
        """Return an independent copy."""
        twin = Minutes(self._days, series=self._keep)
        twin.histogram, twin.daily, twin.series = dict(self.histogram), dict(self.daily), list(self.series)
        twin._day, twin._minute = self._day, self._minute
        twin._high, twin._observed = self._high, self._observed
        return twin

    def stretch(self, start: Instant, end: Instant, level: int, *, observed: bool) -> None:
        """Take a stretch `[start, end)` of one level; stretches follow on from each other."""
        first, last = start // MINUTE_MS, (end - 1) // MINUTE_MS
        if first != self._minute:
            self.flush()
            self._minute = first
        self._high = max(self._high, level)
        self._observed = self._observed or observed
        if last > first:
            self.flush()
            if last > first + 1:
                self._write(first + 1, last - first - 1, level if observed else None)
            self._minute, self._high, self._observed = last, level, observed

    def flush(self) -> None:
        """Write the open minute down."""
        if self._minute >= 0:
            self._write(self._minute, 1, self._high if self._observed else None)
            self._minute, self._high, self._observed = -1, 0, False

    def _write(self, minute: int, count: int, high: int | None) -> None:
        if self._keep:
            if self.series and self.series[-1][1] == high:
                self.series[-1] = (self.series[-1][0] + count, high)
            else:
                self.series.append((count, high))
        if high is None:
            return
        self.histogram[high] = self.histogram.get(high, 0) + count
        start, end = minute * MINUTE_MS, (minute + count) * MINUTE_MS
        while self._days[self._day].end <= start:
            self._day += 1
        for day in self._days[self._day :] if self._days[self._day].end < end else (self._days[self._day],):
            if high >= self.daily.get(day.name, 0):
                self.daily[day.name] = high
            if day.end >= end:
                break


def percentile(histogram: dict[int, int], p: int) -> int | None:
    """Return the nearest-rank percentile of minute maxima; None without any observed minute.

    It is the value at position `ceil(p * n / 100)` of the n maxima in ascending order.
    """
    total = sum(histogram.values())
    if not total:
        return None
    rank = -(-p * total // 100)
    values = sorted(histogram)
    upto = accumulate(histogram[v] for v in values)
    return next(value for value, n in zip(values, upto, strict=True) if n >= rank)


class Hours:
    """The busy hour of one level: the local clock hour with the highest mean.

    An hour counts if it was observed for at least 54 minutes.

    Args:
        starts: The local clock hours of the period, by their first instants, in order.
    """

    __slots__ = ("_at", "_observed_ms", "_starts", "_sum", "busiest")

    LEAST_OBSERVED_MS = 54 * MINUTE_MS

    def __init__(self, starts: Sequence[Instant]) -> None:
        self.busiest: tuple[Instant, int] | None = None  # its start, its mean in thousandths
        self._starts = starts
        self._at = 0
        self._sum = 0
        self._observed_ms = 0

    def copy(self) -> Hours:
        """Return an independent copy."""
        twin = Hours(self._starts)
        twin.busiest, twin._at = self.busiest, self._at
        twin._sum, twin._observed_ms = self._sum, self._observed_ms
        return twin

    def stretch(self, start: Instant, end: Instant, level: int, *, observed: bool) -> None:
        """Take a stretch `[start, end)` of one level; stretches follow on from each other."""
        while start < end:
            upto = self._starts[self._at + 1] if self._at + 1 < len(self._starts) else end
            piece = (min(upto, end)) - start
            if piece <= 0:
                self.flush()
                self._at += 1
                continue
            if observed:
                self._sum += level * piece
                self._observed_ms += piece
            start += piece

    def flush(self) -> None:
        """Judge the open hour."""
        if self._observed_ms >= self.LEAST_OBSERVED_MS:
            mean = 1000 * self._sum // self._observed_ms
            if self.busiest is None or mean > self.busiest[1]:
                self.busiest = (self._starts[self._at], mean)
        self._sum = self._observed_ms = 0
