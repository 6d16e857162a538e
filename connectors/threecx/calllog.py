"""What the call log (`ReportCallLogData`) tells of calls that ended. Pure but for the reading.

Several rows a call, one for each segment, under one CallHistoryId. A segment rings, then
talks: it ends after both. The caller's trunk leg lives from the first segment's start to
the last one's end, a called trunk's from its own segment's start to its end. What the
fields mean is partly inferred: no real 3CX has confirmed it yet.

Numbers and names are dropped as a row is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from connectors.connector import CallsTold
from connectors.threecx import trouble
from connectors.threecx.calls import dn
from connectors.threecx.client import Client
from connectors.threecx.directory import Directory
from connectors.threecx.instants import duration_ms, instant
from connectors.threecx.line import Resource
from connectors.threecx.run import LONGEST_MS
from meter.model import Direction, Instant
from meter.tenancy import Claims
from meter.witness import Witnessed

#: Reports take more than the 100 rows of the entity sets.
_PAGE_ROWS: Final = 500
#: The first look back; and the most that is told at once: 3CX answers 504 to a huge period.
_FIRST_MS: Final = 24 * 3_600_000
_MOST_MS: Final = 2 * 3_600_000
#: What ended less than this ago is not told yet: its rows, or those of the segment that follows, come a little later.
SETTLE_MS: Final = 15_000
#: A row may be written so much after its call's end and is told all the same. 3CX states no bound: under load,
#: or while its database restarts, minutes are likely. Whoever listens knows what it was told before.
LATE_MS: Final = 15 * 60_000
#: A call began so much earlier than polls and clocks make it.
_BEFORE_SEEN_MS: Final = 60_000
#: A call that ended so shortly before a poll may still be in it.
_STILL_SHOWN_MS: Final = 5_000
#: `SourceType` and `DestinationType` of a trunk, as a third party read it.
_TRUNK: Final = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """One row, its instants by our clock.

    Attributes:
        call: CallHistoryId.
        call_id: CallId, perhaps the one of `ActiveCalls`; None: it has none.
        number: SegmentId.
        source, destination: The DNs of both sides; "" if one has none.
        source_is_trunk, destination_is_trunk: What the row itself says of them.
        start, answer, end: Its life; answer None: never answered.
    """

    call: str
    call_id: int | None
    number: int
    source: str = field(repr=False)
    destination: str = field(repr=False)
    source_is_trunk: bool
    destination_is_trunk: bool
    start: Instant
    answer: Instant | None
    end: Instant


def segment(row: Mapping[str, Any], ahead_ms: int) -> Segment:
    """Return one row.

    Args:
        row: As it came.
        ahead_ms: How far the 3CX's clock is ahead of ours.

    Raises:
        ValueError: It is no segment of a call.
    """
    call, number, call_id = row.get("CallHistoryId"), row.get("SegmentId"), row.get("CallId")
    source, destination = row.get("SourceDn"), row.get("DestinationDn")
    start = instant(row.get("StartTime"))
    texts = isinstance(source, str | None) and isinstance(destination, str | None)
    if not isinstance(call, str) or not call or not isinstance(number, int) or start is None or not texts:
        raise ValueError("no segment")
    start -= ahead_ms
    picked_up = start + duration_ms(row.get("RingingDuration"))
    return Segment(
        call,
        call_id if isinstance(call_id, int) else None,
        number,
        dn(source),
        dn(destination),
        row.get("SourceType") == _TRUNK,
        row.get("DestinationType") == _TRUNK,
        start,
        picked_up if row.get("Answered") is True else None,
        picked_up + duration_ms(row.get("TalkingDuration")),
    )


async def read(client: Client, start: Instant, end: Instant, ahead_ms: int) -> list[Segment]:
    """Read every segment that began in `[start, end]`, by our clock, each once.

    Raises:
        Garbled: A row is no segment.
        And as `Client.read`: `Forbidden` without the role System Owner, `Absent` before V20 Update 6.
    """
    found: dict[tuple[str, int], Segment] = {}
    period = (start + ahead_ms, end + ahead_ms + 999)  # whole seconds, cut off
    pages = client.pages(Resource.CALL_LOG, {"$orderby": "StartTime"}, top=_PAGE_ROWS, period=period)
    async for page in pages:
        for row in page.rows:
            try:
                one = segment(row, ahead_ms)
            except ValueError:
                raise trouble.garbled("the call log") from None
            found[one.call, one.number] = one
    return list(found.values())


def told(
    segments: Iterable[Segment],
    known: Directory,
    *,
    bridges: bool,
    start: Instant,
    end: Instant,
    late_from: Instant,
    up: Mapping[int, Instant],
    polled_at: Instant,
) -> CallsTold:
    """Return the trunk legs of the calls that ended in `[start, end)`, and again of those since `late_from`.

    A call that the last poll shows is left for later: only part of it is written yet. If it may have ended since,
    the stretch ends there. Where `CallId` is not the id of `ActiveCalls`, nothing says that a call goes on behind
    its last row: a row that is written more than `SETTLE_MS` before the next one's is told as a call's end.

    Args:
        segments: What was read, in any order.
        known: What the DNs are.
        bridges: Whether bridges to other systems count as trunks.
        start: The first instant of the stretch that is told.
        end: The instant after its last.
        late_from: From when rows of earlier calls may have come late; what ended between then and `start` is told again.
        up: Since when each call is up, at the earliest, that the last poll showed, by its id.
        polled_at: When that was.
    """
    ordered = sorted(segments, key=attrgetter("call", "start", "number"))
    over: list[tuple[Instant, list[Segment]]] = []
    for _, group in groupby(ordered, key=attrgetter("call")):
        call = list(group)
        last = max(one.end for one in call)
        seen = None if call[0].call_id is None else up.get(call[0].call_id)
        if seen is None or call[0].start < seen - _BEFORE_SEEN_MS:
            over.append((last, call))
        elif last >= max(start, polled_at - _STILL_SHOWN_MS):
            end = min(end, last)
    legs = [
        leg
        for last, call in over
        if min(late_from, start) <= last < end
        for leg in _legs(call, last, known, bridges=bridges)
    ]
    return CallsTold("call_log", start, end, tuple(legs))


def _legs(call: Sequence[Segment], over: Instant, known: Directory, *, bridges: bool) -> Iterator[Witnessed]:
    """Give the trunk legs of one call: the caller's, then each run of segments over another trunk."""
    first = call[0]
    inside = [
        side
        for one in call
        for side, said in (
            (one.source, one.source_is_trunk),
            (one.destination, one.destination_is_trunk),
        )
        if side and side not in known.trunks and (known.knows(side) or not said)
    ]

    def leg(side: str, trunk: str, part: Sequence[Segment], end: Instant, direction: Direction) -> Witnessed:
        name, endpoint = f"{first.call}:{side}", f"3CX/{trunk}"
        answer = next((one.answer for one in part if one.answer is not None), None)
        claims = Claims(trunk=endpoint, departments=known.of_leg(trunk, inside))
        return Witnessed(name, endpoint, name, first.call, direction, claims, part[0].start, answer, end)

    def counts(side: str, said: bool) -> bool:
        trunk = known.trunks.get(side)
        if trunk is None:  # what its type says is inferred; the 3CX's own lists are not
            return bool(side) and said and not known.knows(side)
        return bridges or not trunk.bridge

    caller = first.source if counts(first.source, first.source_is_trunk) else ""
    if caller:
        yield leg("from", caller, call, over, Direction.IN)
    for (side, said), group in groupby(call, key=lambda one: (one.source, one.source_is_trunk)):
        part = list(group)
        if side != caller and counts(side, said):
            yield leg(f"from{part[0].number}", side, part, part[-1].end, Direction.IN)
    for (side, said), group in groupby(call, key=lambda one: (one.destination, one.destination_is_trunk)):
        part = list(group)
        if counts(side, said):
            yield leg(f"to{part[0].number}", side, part, part[-1].end, Direction.OUT)


class Reach:
    """How far back a reading has to look for calls that were up when the last one ended."""

    def __init__(self) -> None:
        self._end: Instant | None = None
        self._oldest: Instant = 0

    def note(self, end: Instant, oldest: Instant) -> None:
        """Remember, for a reading that ended a moment ago, since when the oldest call is up that was up then."""
        self._end, self._oldest = end, oldest

    def span(self, since: Instant | None, until: Instant) -> tuple[Instant, Instant, Instant]:
        """Return from when to read segments, and of which `[start, end)` every ended call is then among them.

        What ended up to `LATE_MS` before is whole among them, too.

        Args:
            since: The end of what was told before; None: nothing was.
            until: Up to when everything is written.
        """
        if since is None:
            since = until - _FIRST_MS + LONGEST_MS
        back = since - LONGEST_MS
        if since == self._end:
            back = min(self._oldest, since) - _BEFORE_SEEN_MS
        return back - LATE_MS, since, min(until, since + _MOST_MS)
