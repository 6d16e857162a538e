"""The CDR output of a simulated 3CX: one CSV line for each call, at its end.

`ActiveSocket`: the 3CX connects to us and writes; or a file, to which it appends. The
order of the fields is the usual full one; times are UTC, in whole seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connectors.threecx.simulated.directory import Kind
from connectors.threecx.simulated.segments import segments
from connectors.threecx.simulated.timeline import Call, Party
from meter.model import Instant

FIELDS: Final = (
    *("historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated"),
    *("from-no", "to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn"),
    *("bill-code", "bill-rate", "bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type"),
    *("from-dispname", "to-dispname", "final-dispname", "missed-queue-calls"),
)
_TYPES: Final = {
    Kind.TRUNK: "Line",
    Kind.EXTENSION: "Extension",
    Kind.QUEUE: "Queue",
    Kind.IVR: "IVR",
    Kind.RING_GROUP: "RingGroup",
    Kind.PARKING: "Parking",
}
#: How many lines are kept for a receiver that is not there.
_KEPT: Final = 10_000
#: How long a receiver may take to accept a connection.
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where the lines go: a receiver's port, or a file."""

    host: str = ""
    port: int = 0
    file: Path | None = None


def target(cdr: tuple[str, str, int] | tuple[str, Path] | None) -> Target | None:
    """Return what `("connect", host, port)` or `("file", path)` says. Raises ValueError."""
    match cdr:
        case None:
            return None
        case ("connect", str(host), int(port)):
            return Target(host, port)
        case ("file", path):
            return Target(file=Path(path))
        case _:
            raise ValueError(f"no CDR output: {cdr!r}")


def settings(where: Target | None) -> dict[str, Any]:
    """Return what CDRSettings says."""
    return {
        "Enabled": where is not None,
        "LogType": "ActiveSocket" if where and where.port else "SingleFileForAllCalls",
        "SocketIpAddress": where.host if where else "",
        "SocketPort": where.port if where else 0,
        "LogSize": 10,
        "RemoveCommaDelimiters": False,
        "EnabledFields": [{"Name": name, "Length": 0} for name in FIELDS],
        "PossibleFields": list(FIELDS),
    }


def line(call: Call) -> str | None:
    """Return the line of an ended call; None: it showed nobody."""
    parts = segments(call)
    if not parts:
        return None
    first, last = parts[0], parts[-1]
    answer = next((part.answer for part in parts if part.answer is not None), None)
    ahead = call.ahead_ms
    end = last.end + ahead
    talked = "" if answer is None else _length(end // 1000 - (answer + ahead) // 1000)
    chain = "".join(f"{_number(party)};" for party in (first.caller, *(part.callee for part in parts)))
    values = {
        "historyid": f"Call {call.serial}",
        "callid": f"{call.serial:016x}_{call.id}",
        "duration": talked,
        "time-start": _stamp(first.start + ahead),
        "time-answered": "" if answer is None else _stamp(answer + ahead),
        "time-end": _stamp(end),
        "reason-terminated": "TerminatedBySrc",
        "from-no": _number(first.caller),
        "to-no": _number(first.callee),
        "from-dn": _dn(first.caller),
        "to-dn": _dn(first.callee),
        "dial-no": first.callee.number or _dn(first.callee),
        "final-number": _number(last.callee),
        "final-dn": _dn(last.callee),
        "bill-code": "default",
        "bill-rate": "1",
        "bill-cost": "0",
        "bill-name": "default",
        "reason-changed": "ReplacedDst" if len(parts) > 1 else "",
        "chain": f"Chain: {chain}",
        "from-type": _type(first.caller),
        "to-type": _type(first.callee),
        "final-type": _type(last.callee),
        "from-dispname": first.caller.name.replace(",", ""),
        "to-dispname": first.callee.name.replace(",", ""),
        "final-dispname": last.callee.name.replace(",", ""),
    }
    return ",".join(values.get(name, "") for name in FIELDS)


class Output:
    """Writes the lines. Lines for a receiver that is not there are kept, and sent when it is."""

    def __init__(self, where: Target | None) -> None:
        self.where = where
        self.waiting: list[str] = []
        self._writing = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def add(self, call: Call) -> None:
        """Take an ended call's line, for the next `flush`."""
        if self.where is None:
            return
        text = line(call)
        if text is not None:
            self.waiting.append(text)
            del self.waiting[:-_KEPT]

    async def flush(self) -> None:
        """Write what waits; connect first, if need be and if anybody listens."""
        if self.where is None:
            return
        if self.where.file is not None:
            if self.waiting:
                with self.where.file.open("a", encoding="utf-8") as file:
                    file.writelines(f"{text}\r\n" for text in self.waiting)
                self.waiting.clear()
            return
        async with self._writing:
            await self._connect(self.where)
            if self._writer is None:
                return
            leaving, self.waiting = self.waiting, []
            try:
                self._writer.write("".join(f"{text}\r\n" for text in leaving).encode())
                await self._writer.drain()
            except OSError:
                self.waiting[:0] = leaving
                self._drop()

    def cut(self) -> None:
        """Cut the connection to the receiver; the next `flush` makes another."""
        self._drop()

    async def close(self) -> None:
        """End the connection properly."""
        writer = self._writer
        self._reader = self._writer = None
        if writer is not None:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                return

    async def _connect(self, where: Target) -> None:
        if self._reader is not None and self._reader.at_eof():
            self._drop()
        if self._writer is None:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    self._reader, self._writer = await asyncio.open_connection(where.host, where.port)
            except OSError:  # a timeout is one
                return

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def _number(party: Party) -> str:
    if party.number:
        return party.number
    return f"Ext.{party.dn}" if party.kind is not None else ""


def _dn(party: Party) -> str:
    return party.dn if party.kind is not None else ""


def _type(party: Party) -> str:
    if party.voicemail:
        return "VoiceMail"
    return "" if party.kind is None else _TYPES.get(party.kind, "Extension")


def _stamp(at: Instant) -> str:
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y/%m/%d %H:%M:%S}"


def _length(length_s: int) -> str:
    return f"{length_s // 3600:02d}:{length_s // 60 % 60:02d}:{length_s % 60:02d}"
