"""Asterisk's call detail records as legs. Pure: text or rows in, witnessed legs out.

The file is cdr_csv's Master.csv: 16 columns, then `uniqueid` (loguniqueid=yes), `userfield`
(loguserfield=yes), and `peeraccount`, `linkedid`, `sequence` (newcdrcolumns=yes). The order is
that of `build_csv_record` in cdr/cdr_csv.c. A table of cdr_sqlite3_custom or an ODBC export
has the same columns by name; `calldate` stands for `start` there, and `answer` and `end` may
have to be made from `duration` and `billsec`.

What call records can't tell:
- seconds are cut off; local times (usegmtime=no) of the hour that summer time repeats are
  taken for the first of the two;
- a record is of two channels. A channel that dialled several, or was transferred, stands in
  several: they are one leg from the first start to the last end;
- the id in a record is the calling channel's. A dialled channel's own id is in none, and
  neither is the moment at which it was made (`meter.witness.judged` says what it is taken for);
- calls that become one, as in a transfer, are two calls here: no record tells when they met;
- what was never answered nor dialled is in no record (unanswered=no), nor is what is still up.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Final

from connectors.asterisk.channels import endpoint_of
from meter.model import Direction, Instant
from meter.periods import instant
from meter.tenancy import Claims
from meter.witness import Witnessed

#: What every record has, in the file's order.
COLUMNS: Final = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata"),
    *("start", "answer", "end", "duration", "billsec", "disposition", "amaflags"),
)
_NEWER: Final = ("peeraccount", "linkedid", "sequence")
_UNIQUEID: Final = re.compile(r"(.+-)?\d+\.\d+")  # with systemname before it


#: What Asterisk itself gives as application to a channel that was dialled (app_dial.c, app_queue.c, dial.c).
_OUTGOING: Final = ("AppDial", "AppQueue")


class Unreadable(ValueError):  # noqa: N818 - it says what is so
    """This is no file of call records. The sentence names the line and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One call record: the channel that called, the one that it dialled ("": none), and when.

    `outgoing`: the first was dialled itself, and the record is of what it did afterwards.
    """

    channel: str
    dialled: str
    account: str = field(repr=False)
    peer_account: str = field(repr=False)
    context: str = field(repr=False)
    number: str = field(repr=False)
    start: Instant
    answer: Instant | None
    end: Instant
    uniqueid: str
    linkedid: str
    outgoing: bool


def read(text: str, tz: tzinfo) -> list[Record]:
    """Return the records of a Master.csv.

    Args:
        text: The file.
        tz: Of its times: UTC with usegmtime=yes, else the PBX's own.

    Raises:
        Unreadable: A line is none of cdr_csv's.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        return list(_read(lines, tz))
    except csv.Error:
        raise Unreadable(f"line {lines.line_num}: it is no line of a CSV file") from None


def _read(lines: Iterable[Sequence[str]], tz: tzinfo) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if line:
            yield _record(_named(line, number), tz, f"line {number}")


def _named(line: Sequence[str], number: int) -> dict[str, str]:
    extra = list(line[len(COLUMNS) :])
    if len(line) < len(COLUMNS) or len(extra) > 2 + len(_NEWER):
        raise Unreadable(f"line {number}: {len(line)} columns are not those of cdr_csv")
    named = dict(zip(COLUMNS, line, strict=False))
    if len(extra) >= len(_NEWER):
        named |= dict(zip(_NEWER, extra[-len(_NEWER) :], strict=True))
        extra = extra[: -len(_NEWER)]
    if extra and _UNIQUEID.fullmatch(extra[0]):
        named["uniqueid"] = extra[0]
    return named


def rows(found: Iterable[Mapping[str, str]], tz: tzinfo) -> list[Record]:
    """Return the records of a table, its rows by name of column.

    Raises:
        Unreadable: A column is missing, or holds something else.
    """
    return [_record(row, tz, f"row {number}") for number, row in enumerate(found, 1)]


def _record(row: Mapping[str, str], tz: tzinfo, where: str) -> Record:
    try:
        start = _instant(row.get("start") or row["calldate"], tz)
        end = _instant(row["end"], tz) if row.get("end") else start + _ms(row["duration"])
        answer = None
        if row["disposition"].upper() == "ANSWERED":
            answer = _instant(row["answer"], tz) if row.get("answer") else end - _ms(row["billsec"])
        channel, dialled = row["channel"], row["dstchannel"]
    except KeyError as error:
        raise Unreadable(f"{where}: no column {error}") from None
    except (ValueError, OverflowError):
        raise Unreadable(f"{where}: its times can't be read") from None
    if end < start or not start <= (answer or start) <= end:
        raise Unreadable(f"{where}: it ends before it starts")
    return Record(
        channel=channel,
        dialled=dialled,
        account=row.get("accountcode", ""),
        peer_account=row.get("peeraccount", ""),
        context=row.get("dcontext", ""),
        number=row.get("dst", ""),
        start=start,
        answer=answer,
        end=end,
        uniqueid=row.get("uniqueid", ""),
        linkedid=row.get("linkedid", ""),
        outgoing=row.get("lastapp", "").startswith(_OUTGOING),
    )


def _instant(text: str, tz: tzinfo) -> Instant:
    at = datetime.fromisoformat(text.strip())
    return instant(at if at.tzinfo else at.replace(tzinfo=tz)) // 1000 * 1000


def _ms(text: str) -> int:
    return timedelta(seconds=int(text)) // timedelta(milliseconds=1)


def span(records: Sequence[Record]) -> tuple[Instant, Instant] | None:
    """Return from when to when records tell of anything; None: there are none."""
    if not records:
        return None
    return min(record.start for record in records), max(record.end for record in records)


def legs(records: Sequence[Record]) -> list[Witnessed]:
    """Return one leg for each channel with a device behind it, in the order in which they began."""
    calls = _calls(records)
    callers = {record.channel for record in records if not record.outgoing}
    made = {record.channel for record in records if record.outgoing}
    found: dict[str, Witnessed] = {}
    for record in records:
        for channel, own in ((record.channel, True), (record.dialled, False)):
            endpoint = endpoint_of(channel)
            if endpoint is None:
                continue
            # Two that call in and meet in a conference are in one record too: a record of its own tells.
            inbound = channel in callers and channel not in made
            piece = _piece(record, channel, endpoint, own=own, inbound=inbound, call=calls[channel])
            known = found.get(channel)
            found[channel] = piece if known is None else _joined(known, piece)
    return sorted(found.values(), key=lambda leg: (leg.start, leg.channel))


def _piece(record: Record, channel: str, endpoint: str, *, own: bool, inbound: bool, call: str) -> Witnessed:
    caller = Claims(endpoint_of(record.channel) or "", record.account, record.context, record.number)
    if not own:
        claims = Claims(endpoint, record.peer_account)
    elif inbound:
        claims = caller
    else:
        claims = Claims(endpoint, record.account)
    return Witnessed(
        channel=channel,
        endpoint=endpoint,
        leg=record.uniqueid if own else "",
        call=call,
        direction=Direction.IN if inbound else Direction.OUT,
        claims=claims,
        start=record.start,
        answer=record.answer,
        end=record.end,
        asked_by=() if own else (caller,),
    )


def _joined(known: Witnessed, piece: Witnessed) -> Witnessed:
    answers = [at for at in (known.answer, piece.answer) if at is not None]
    first, then = known.claims, piece.claims
    return replace(
        known,
        leg=known.leg or piece.leg,
        claims=Claims(
            first.trunk, first.account or then.account, first.context or then.context, first.did or then.did
        ),
        start=min(known.start, piece.start),
        answer=min(answers, default=None),
        end=max(known.end, piece.end),
        asked_by=(*known.asked_by, *piece.asked_by),
    )


def _calls(records: Sequence[Record]) -> dict[str, str]:
    """Return each channel's call: the Linkedid of its own record, else of the one that dialled it.

    Where none is logged, channels that share a record are one call. Calls that became one
    (a transfer) stay two: no record tells when.
    """
    names: dict[str, str] = {}
    for record in records:
        names.setdefault(record.channel, record.linkedid)
    for record in records:
        if record.dialled:
            names.setdefault(record.dialled, record.linkedid)
    if all(names.values()):
        return names
    names = {name: name for name in names}

    def root(name: str) -> str:
        while names[name] != name:
            name = names[name]
        return name

    for record in records:
        if record.dialled:
            names[root(record.dialled)] = root(record.channel)
    return {name: root(name) for name in names}
