"""A day's minutes as lines to be drawn. Pure: minutes in, paths of an SVG out.

The drawing is as many units wide as the day has minutes and 100 high; the page stretches it.
Minutes without observation are no line at zero but a mark of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: The highest line leaves so much room above it.
_HEADROOM: Final = 1.18
_TALL: Final = 100


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn.

    Attributes:
        width: Units, as many as the day has minutes.
        area, line: Paths of the level: filled, and its upper edge.
        over: Path of what is above the capacity.
        gaps: (from, width) of what was not observed.
        capacity: How far down the capacity's line is, in units; None: there is none.
        peak: Where the first highest minute is: right and down, in units; None: nothing was observed.
    """

    width: int
    area: str
    line: str
    over: str
    gaps: tuple[tuple[int, int], ...]
    capacity: float | None
    peak: tuple[int, float] | None


def draw(runs: Sequence[tuple[int, int | None]], width: int, capacity: int | None) -> Drawing:
    """Return the drawing of a day so far.

    Args:
        runs: (number of minutes, highest level or None), from the day's first minute on.
        width: How many minutes the whole day has.
        capacity: The line to draw it against.
    """
    highest = max((high for _, high in runs if high is not None), default=None)
    top = max(highest or 0, capacity or 0, 1) * _HEADROOM

    def down(level: float) -> float:
        return round(_TALL - _TALL * level / top, 1)

    area, line, over = [], [], []
    gaps: list[tuple[int, int]] = []
    peak: tuple[int, float] | None = None
    at, drawing = 0, False
    for count, high in runs:
        end = at + count
        if high is None:
            area += [f"V{_TALL}Z"] if drawing else []
            gaps.append((at, count))
        else:
            y = down(high)
            area.append(f"V{y}H{end}" if drawing else f"M{at} {_TALL}V{y}H{end}")
            line.append(f"V{y}H{end}" if drawing else f"M{at} {y}H{end}")
            if capacity is not None and high > capacity:
                over.append(f"M{at} {down(capacity)}V{y}H{end}V{down(capacity)}Z")
            if high == highest and peak is None:
                peak = (at, y)
        drawing, at = high is not None, end
    if drawing:
        area.append(f"V{_TALL}Z")
    return Drawing(
        width=width,
        area="".join(area),
        line="".join(line),
        over="".join(over),
        gaps=tuple(gaps),
        capacity=None if capacity is None else down(capacity),
        peak=peak,
    )
