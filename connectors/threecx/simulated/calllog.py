"""The call log of a simulated 3CX: `ReportCallLogData/Pbx.GetCallLogData(...)`.

Several rows a call, one for each segment, under one CallHistoryId; ended calls only (unless a fault wants it otherwise).
The numbers of SourceType and DestinationType are those that a third party uses for
CallHistoryView (0 extension, 1 trunk, 5 voice mail, 6 IVR, 7 queue, 12 end of call);
those of the ring group and the parking are ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from connectors.threecx.simulated.directory import Kind
from connectors.threecx.simulated.odata import EntitySet
from connectors.threecx.simulated.segments import Segment, segments
from connectors.threecx.simulated.states import millisecond
from connectors.threecx.simulated.timeline import Call, Party
from meter.model import Instant

#: All parameters of the function; a call that lacks one is for a path that does not exist.
PARAMETERS: Final = frozenset(
    {
        *("periodfrom", "periodto", "sourcetype", "sourcefilter", "destinationtype", "destinationfilter"),
        *("callstype", "calltimefiltertype", "calltimefilterfrom", "calltimefilterto", "hidepcalls"),
    }
)
_TYPES: Final = {
    Kind.EXTENSION: 0,
    Kind.TRUNK: 1,
    Kind.RING_GROUP: 4,
    Kind.IVR: 6,
    Kind.QUEUE: 7,
    Kind.PARKING: 8,
}
_VOICEMAIL: Final = 5
_END_OF_CALL: Final = 12
_CALL_TYPES: Final = {
    Kind.EXTENSION: "Extension",
    Kind.TRUNK: "External",
    Kind.QUEUE: "Queue",
    Kind.IVR: "Digital Receptionist",
}
_FIELDS: Final = frozenset(
    {
        *("CallHistoryId", "MainCallHistoryId", "CdrId", "CallId", "SegmentId", "Indent", "StartTime"),
        *("SourceType", "SourceDn", "SourceCallerId", "SourceDisplayName", "DestinationType"),
        *("DestinationDn", "DestinationCallerId", "DestinationDisplayName", "RingingDuration"),
        *("TalkingDuration", "Answered", "Direction", "CallType", "Status", "Reason", "RecordingUrl"),
        *("CallCost", "QualityReport"),
    }
)


#: When it starts by the 3CX's clock, when its call ended, and what it shows.
_Row: TypeAlias = tuple[Instant, Instant, dict[str, Any]]


class CallLog:
    """The rows of all calls that have ended.

    Args:
        same_call_id: Whether CallId is the Id that ActiveCalls showed.
    """

    def __init__(self, *, same_call_id: bool = True) -> None:
        self._same = same_call_id
        self._rows: list[_Row] = []

    def add(self, call: Call) -> None:
        """Write an ended call down."""
        over = call.end or 0
        self._rows += [
            (start, over, row) for start, row in self._written(call, segments(call), call.ahead_ms)
        ]

    def between(
        self, first: Instant, last: Instant, *, ended_by: Instant | None = None, more: Sequence[_Row] = ()
    ) -> EntitySet:
        """Return the rows that start in `[first, last]`, by the 3CX's clock.

        Args:
            first: Of the period that is asked for.
            last: Likewise.
            ended_by: Calls that ended later are not written yet; None: all are.
            more: Rows beside those of ended calls.
        """
        written = [one for one in self._rows if ended_by is None or one[1] <= ended_by]
        rows = [row for start, _, row in (*written, *more) if first <= start <= last]
        return EntitySet("Collection(Pbx.CallLogData)", "CallLogData", rows, _FIELDS)

    def so_far(self, call: Call, at: Instant, ahead_ms: int) -> list[_Row]:
        """Return the rows of those segments of a call that is still up that have ended."""
        begun = replace(call, end=at, phases=[phase for phase in call.phases if phase.at < at])
        parts = [part for part in segments(begun) if part.end < at] if begun.phases else []
        return [(start, at, row) for start, row in self._written(call, parts, ahead_ms)]

    def _written(
        self, call: Call, parts: Sequence[Segment], ahead_ms: int
    ) -> Iterator[tuple[Instant, dict[str, Any]]]:
        queued = any(part.callee.kind is Kind.QUEUE for part in parts)
        for number, part in enumerate(parts, start=1):
            start = part.start + ahead_ms
            yield start, self._row(call, part, number, start, queued=queued)

    def _row(self, call: Call, part: Segment, number: int, start: Instant, *, queued: bool) -> dict[str, Any]:
        main = call if call.main is None else call.main
        answered = part.answer is not None
        picked_up = part.end if part.answer is None else part.answer
        return {
            "CallHistoryId": _uuid(0x8000, call.serial),
            "MainCallHistoryId": _uuid(0x8000, main.serial),
            "CdrId": _uuid(0x9000, call.serial * 100 + number),
            "CallId": call.id if self._same else 100_000 + call.serial,
            "SegmentId": number,
            "Indent": 0 if number == 1 else 1,
            "StartTime": millisecond(start),
            "SourceType": _type(part.caller),
            "SourceDn": _dn(part.caller),
            "SourceCallerId": part.caller.number or _dn(part.caller),
            "SourceDisplayName": part.caller.name,
            "DestinationType": _type(part.callee),
            "DestinationDn": _dn(part.callee),
            "DestinationCallerId": part.callee.number or _dn(part.callee),
            "DestinationDisplayName": part.callee.name,
            "RingingDuration": duration(picked_up - part.start),
            "TalkingDuration": duration(part.end - picked_up),
            "Answered": answered,
            "Direction": _direction(part, queued=queued),
            "CallType": _call_type(part.callee),
            "Status": "Answered" if answered else "Unanswered",
            "Reason": "Ended by the caller",
            "RecordingUrl": "",
            "CallCost": 0,
            "QualityReport": False,
        }


def parameters(text: str) -> dict[str, str] | None:
    """Return a function's parameters by their names in lower case; None: one is missing or none of its."""
    found = {name.lower(): value for name, value in re.findall(r"(\w+)=('(?:[^']|'')*'|[^,']*)(?:,|$)", text)}
    return found if found.keys() == PARAMETERS else None


def bound(text: str) -> Instant:
    """Return the instant of a date parameter. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip("'"))
    if moment.tzinfo is None:
        raise ValueError("a date without a zone")
    return round(moment.timestamp() * 1000)


def duration(length_ms: int) -> str:
    """Return a length of time as ISO 8601 has it, `PT1M12.577S`."""
    minutes, rest_ms = divmod(length_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".")
    parts: Sequence[str] = (
        f"{hours}H" if hours else "",
        f"{minutes}M" if minutes else "",
        f"{seconds}S" if rest_ms or length_ms < 1 else "",
    )
    return "PT" + "".join(parts)


def _type(party: Party) -> int:
    if party.voicemail:
        return _VOICEMAIL
    return _END_OF_CALL if party.kind is None else _TYPES.get(party.kind, _END_OF_CALL)


def _dn(party: Party) -> str:
    return party.dn if party.kind is not None else ""


def _call_type(callee: Party) -> str:
    if callee.voicemail or callee.kind is None:
        return "System"
    return _CALL_TYPES.get(callee.kind, "System")


def _direction(part: Segment, *, queued: bool) -> str:
    if part.caller.trunk:
        return "Inbound Queue" if queued else "Inbound"
    return "Outbound" if part.callee.trunk else "Internal"


def _uuid(family: int, number: int) -> str:
    return f"0199a1c2-0000-7000-{family:04x}-{number:012x}"
