"""3CX's call records (CDR output) as legs. Pure: lines in, witnessed legs out; numbers and names are dropped at once.

A call is one line, written when it ends. Its columns and their order are chosen in the Admin Console's
CDR page; the usual full order is `COLUMNS`. A real line of 2024, its numbers changed:

    Call 288831,4cc2_26808,00:00:25,2024/06/17 05:59:49,2024/06/17 05:59:58,2024/06/17 06:00:23,TerminatedBySrc,
    Ext.10016,+465550,10016,10020,+465550,,+465550,10020,default,1,0.43,default,Chain: Ext.10016;+465550;,
    Extension,Line,Line,Backup no2,+465550,+465550,

A trunk is a side whose type is `Line`, never a number of so many digits: 10016 is an extension there.
Names may hold commas that nothing quotes. Such a line is taken if there is one way alone to read what
is needed of it, and refused otherwise: no call is better than a wrong one, and a refused line is counted.

What these records can't tell:
- seconds are cut off; local times of the hour that summer time repeats are taken for the first of the two;
- one line has three sides: who called, who was called, who it ended with. The leg of a call that is
  forwarded or transferred out has no times of its own (`meter.witness.judged` says what they are taken for).
  Of a call that tried a second trunk, or left its trunk before it ended, the trunk that it ended on is known,
  and the whole time is taken for it;
- the chain names everybody that a call went through, without a trunk or a time. Outside parties beyond
  the legs told are counted (`Record.untold`) and made no leg;
- bridges to other 3CX systems are lines like any other;
- what is still up is in no record. Nor is known whether an attended transfer joins two calls: they stay two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Final, TypeAlias

from meter.model import Direction, Instant
from meter.periods import instant
from meter.tenancy import Claims
from meter.witness import Witnessed

#: The usual full order.
COLUMNS: Final = (
    *("historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated"),
    *("from-no", "to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn"),
    *("bill-code", "bill-rate", "bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type"),
    *("from-dispname", "to-dispname", "final-dispname", "missed-queue-calls"),
)

_TIME: Final = r"\d{4}[/-]\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?"
_DN: Final = r"[\w.*#+-]{0,64}"

#: What is taken from a line, and how each is known among pieces that commas tore apart.
_TAKEN: Final = {
    "historyid": r"[\w.:-]{1,64}",
    "time-start": _TIME,
    "time-answered": f"(?:{_TIME})?",
    "time-end": _TIME,
    **dict.fromkeys(("from-dn", "to-dn", "final-dn"), _DN),
    **dict.fromkeys(("from-type", "to-type", "final-type"), r"[A-Za-z_]{0,40}"),
    "chain": r"(?:Chain:[^,]*)?",
}
#: A line can be read without it.
_OPTIONAL: Final = frozenset({"chain"})
_LEFT: Final = {"duration": r"[\d.:]*", "reason-terminated": r"\w*", "reason-changed": r"\w*"}
_PATTERNS: Final = {name: re.compile(pattern) for name, pattern in (_TAKEN | _LEFT).items()}

#: People name these as they like, with commas.
_FREE: Final = frozenset(
    {"bill-code", "bill-name", "from-dispname", "to-dispname", "final-dispname", "missed-queue-calls"}
)
#: More commas too many than these are no names.
_MOST_COMMAS: Final = 8
#: So many ways to read a line are too many to look for more.
_MOST_WAYS: Final = 8
#: How a side on a trunk is called: `Line` in CDR output; `ExternalLine` in 3CX's other interfaces.
_LINES: Final = frozenset({"line", "externalline"})
#: What stands before a `historyid`.
_CALL: Final = re.compile(r"^Call(?: |$)")
#: What an outside party looks like in a chain; those inside have a prefix (`Ext.100`).
_OUTSIDE: Final = re.compile(r"\+?\d")

#: Gives what the departments of a DN go by, the surest first; (): none known, or several of a trunk.
DepartmentsOf: TypeAlias = Callable[[str], tuple[str, ...]]


class Unreadable(ValueError):  # noqa: N818 - it says what is so
    """This is no line of call records that can be counted. The sentence quotes nothing of it."""


def nobodys(dn: str) -> tuple[str, ...]:  # noqa: ARG001 -- one of `DepartmentsOf`
    """Know of no departments."""
    return ()


def missing(fields: Sequence[str]) -> tuple[str, ...]:
    """Return the columns without which no line can be read; (): none is missing. No fields are the usual order."""
    chosen = {_named(name) for name in fields or COLUMNS}
    return tuple(name for name in _TAKEN if name not in chosen | _OPTIONAL)


def _named(field_name: str) -> str:
    return field_name.strip().lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Layout:
    """How lines are to be read.

    Attributes:
        fields: The columns and their order; (): `COLUMNS`.
        tz: Of their times; None: the machine's own.

    Raises:
        Unreadable: A column that is needed is missing.
    """

    fields: tuple[str, ...] = ()
    tz: tzinfo | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be read with."""
        if lacking := missing(self.fields):
            raise Unreadable(f"its columns lack {', '.join(lacking)}")
        object.__setattr__(self, "fields", tuple(_named(name) for name in self.fields or COLUMNS))


@dataclass(frozen=True, slots=True)
class Side:
    """Who called, was called, or was in the call at its end: a DN of the PBX, and whether it is a trunk's."""

    dn: str
    line: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One call.

    Attributes:
        history: Its `historyid`: the PBX's own id of it.
        start, answer, end: Its life; answer None: never answered.
        caller, called, final: Its three sides.
        outside: How many outside parties its chain names.
    """

    history: str
    start: Instant
    answer: Instant | None
    end: Instant
    caller: Side = field(repr=False)
    called: Side = field(repr=False)
    final: Side = field(repr=False)
    outside: int = 0

    def earlier(self, by_ms: int) -> Record:
        """Return it with all its instants so much earlier: of a 3CX whose clock is so far ahead."""
        answer = None if self.answer is None else self.answer - by_ms
        return replace(self, start=self.start - by_ms, answer=answer, end=self.end - by_ms)

    @property
    def trunks(self) -> tuple[tuple[Direction, str], ...]:
        """The DNs of its trunk legs, and which side began each."""
        out = self.final if self.final.line else self.called
        found = ((Direction.IN, self.caller), (Direction.OUT, out))
        return tuple((direction, side.dn) for direction, side in found if side.line)

    @property
    def untold(self) -> int:
        """How many outside parties it went through of whose legs nothing is told."""
        return max(0, self.outside - len(self.trunks))


# --- reading ---------------------------------------------------------------------------------


def record(line: str, layout: Layout) -> Record:
    """Return what one line tells.

    Raises:
        Unreadable: It is none of these lines, or can be read in two ways.
    """
    row = _row(line, layout.fields)
    try:
        start, end = _instant(row["time-start"], layout.tz), _instant(row["time-end"], layout.tz)
        answer = None
        if row["time-answered"] and not row["time-answered"].startswith("0001"):  # .NET's "never"
            answer = _instant(row["time-answered"], layout.tz)
    except (ValueError, OverflowError, OSError):
        raise Unreadable("its times can't be read") from None
    if end < start or not start <= (start if answer is None else answer) <= end:
        raise Unreadable("it ends before it starts")
    caller, called, final = _sides(row)
    chain = row.get("chain", "").removeprefix("Chain:").split(";")
    outside = {party for name in chain if _OUTSIDE.match(party := name.strip())}
    return Record(row["historyid"], start, answer, end, caller, called, final, len(outside))


def _row(line: str, columns: tuple[str, ...]) -> dict[str, str]:
    """Return what is taken of a line, by column: there must be one way alone to read it."""
    pieces = [_CALL.sub("", piece.strip(' "\t\r\n\0')) for piece in line.split(",")]
    commas = len(pieces) - len(columns)
    if commas < 0 or commas > _MOST_COMMAS:
        raise Unreadable(f"it has {len(pieces)} columns where {len(columns)} are configured")
    readings = _readings(pieces, columns, commas)
    taken = [name for name in columns if name in _TAKEN]
    rows = [dict(zip(taken, reading, strict=True)) for reading in readings]
    if len(rows) < _MOST_WAYS:
        rows = [row for row in rows if _is_whole(row)] or rows[:1]
    if not rows:
        raise Unreadable("its columns are not those that are configured, or not in their order")
    if len(rows) > 1:
        raise Unreadable("commas in a name leave several ways to read it")
    if not _is_whole(rows[0]):
        raise Unreadable("it does not say which of its sides are trunks")
    return rows[0]


def _is_whole(row: dict[str, str]) -> bool:
    """Return whether a line says of who called what it is, and of each trunk which.

    A call that the PBX itself began has no caller.
    """
    named = all(side.dn for side in _sides(row) if side.line)
    return named and bool(row["from-type"] or not row["from-dn"])


def _sides(row: dict[str, str]) -> tuple[Side, Side, Side]:
    caller, called, final = (
        Side(row[f"{which}-dn"], row[f"{which}-type"].lower().replace("_", "") in _LINES)
        for which in ("from", "to", "final")
    )
    if final.line and not final.dn and called.line:
        final = called
    return caller, called, final


def _readings(pieces: Sequence[str], columns: Sequence[str], commas: int) -> set[tuple[str, ...]]:
    """Return the ways to read what is taken, `_MOST_WAYS` at most: each column a piece, a free one perhaps several.

    From the last column to the first; `after[n]` are the ways to read the columns behind
    this one if n commas lie before them.
    """
    if not commas:  # almost always
        named = list(zip(columns, pieces, strict=True))
        if all(name not in _PATTERNS or _PATTERNS[name].fullmatch(piece) for name, piece in named):
            return {tuple(piece for name, piece in named if name in _TAKEN)}
        return set()
    after: list[set[tuple[str, ...]]] = [set() for _ in range(commas)] + [{()}]
    for place in reversed(range(len(columns))):
        name = columns[place]
        pattern = _PATTERNS.get(name)
        here: list[set[tuple[str, ...]]] = []
        for before in range(commas + 1):
            ways: set[tuple[str, ...]] = set()
            piece = pieces[place + before]
            if pattern is None or pattern.fullmatch(piece):
                own = (piece,) if name in _TAKEN else ()
                for more in range(commas - before + 1) if name in _FREE else (0,):
                    ways |= {own + rest for rest in after[before + more]}
            here.append(ways if len(ways) <= _MOST_WAYS else set(sorted(ways)[:_MOST_WAYS]))
        after = here
    return after[0]


def _instant(text: str, tz: tzinfo | None) -> Instant:
    at = datetime.fromisoformat(text.replace("/", "-"))
    return instant(at.astimezone() if tz is None else at.replace(tzinfo=tz)) // 1000 * 1000


def read(
    text: str,
    tz: tzinfo | None,
    fields: tuple[str, ...] = (),
    refused: Callable[[Unreadable], None] | None = None,
) -> list[Record]:
    """Return the records of a whole cdr.log.

    Args:
        text: The file.
        tz: Of its times: UTC unless the 3CX says otherwise; None: the machine's own.
        fields: The columns and their order; (): the usual one.
        refused: Is told of each line that can't be read; None: one such line is enough.

    Raises:
        Unreadable: The columns can't be read with; a line can't be and nobody is to be told; no line can be.
    """
    return list(_read(text, Layout(fields, tz), refused))


def _read(text: str, layout: Layout, refused: Callable[[Unreadable], None] | None) -> Iterator[Record]:
    good, first = 0, None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = record(line, layout)
        except Unreadable as error:
            error = Unreadable(f"line {number}: {error}")
            first = first or error
            if refused is None:
                raise error from None
            refused(error)
        else:
            good += 1
            yield found
    if first is not None and not good:
        raise first


def span(records: Sequence[Record]) -> tuple[Instant, Instant] | None:
    """Return from when to when records tell of anything; None: there are none."""
    if not records:
        return None
    return min(record.start for record in records), max(record.end for record in records)


# --- legs ------------------------------------------------------------------------------------


def legs(records: Sequence[Record], departments_of: DepartmentsOf = nobodys) -> list[Witnessed]:
    """Return the trunk legs of external calls, in the order in which they began; a line told twice is one."""
    found = dict.fromkeys(leg for record in records for leg in legs_of(record, departments_of))
    return sorted(found, key=lambda leg: (leg.start, leg.channel))


def legs_of(record: Record, departments_of: DepartmentsOf = nobodys) -> tuple[Witnessed, ...]:
    """Return the trunk legs of one call, none of an internal one.

    Each may belong to the departments of those inside, the first of them first, then to its trunk's.
    """
    sides = (record.caller, record.called, record.final)
    inside = [name for side in sides if side.dn and not side.line for name in departments_of(side.dn)]
    claims = [
        Claims(f"3CX/{dn}", departments=tuple(dict.fromkeys((*inside, *departments_of(dn)))))
        for _, dn in record.trunks
    ]
    return tuple(
        Witnessed(
            channel=f"3CX/{dn}-{record.history}:{_ENDS[direction]}",
            endpoint=f"3CX/{dn}",
            leg=f"{record.history}:{_ENDS[direction]}",
            call=record.history,
            direction=direction,
            claims=own,
            start=record.start,
            answer=record.answer,
            end=record.end,
            asked_by=tuple(other for other in claims if other is not own),
        )
        for (direction, dn), own in zip(record.trunks, claims, strict=True)
    )


_ENDS: Final = {Direction.IN: "from", Direction.OUT: "to"}
