"""Ended calls cut into segments, one for each party that was rung or reached. Pure.

The caller's leg lives from the start of the first segment to the end of the last: segments
follow each other without a hole. The time in which the 3CX looks for whom a call is
(`ROUTER`) belongs to whom it finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from connectors.threecx.simulated.timeline import ROUTER, UP, Call, Party
from meter.model import Instant


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of an ended call.

    Attributes:
        caller, callee: Its parties; the callee is `ROUTER` if nobody was found.
        start, answer, end: By the true clock; answer None: nobody.
    """

    caller: Party
    callee: Party
    start: Instant
    answer: Instant | None
    end: Instant


def segments(call: Call) -> list[Segment]:
    """Return the segments of an ended call, the earliest first; none if it showed nobody at all."""
    return list(_segments(call))


def _segments(call: Call) -> Iterator[Segment]:
    assert call.end is not None  # noqa: S101 -- only ended calls are recorded
    ends = [*(phase.at for phase in call.phases[1:]), call.end]
    open_: Segment | None = None
    for phase, end in zip(call.phases, ends, strict=True):
        if phase.caller is None or phase.callee is None:
            continue
        answer = phase.at if phase.status in UP else None
        if open_ is not None and open_.caller == phase.caller and open_.callee in {phase.callee, ROUTER}:
            answer = open_.answer if open_.answer is not None else answer
            open_ = Segment(phase.caller, phase.callee, open_.start, answer, end)
            continue
        if open_ is not None:
            yield open_
        open_ = Segment(phase.caller, phase.callee, phase.at, answer, end)
    if open_ is not None:
        yield open_
