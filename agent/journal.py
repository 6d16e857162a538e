"""The log as fields in systemd's journal: `journalctl PBX_METER_EVENT=link.down`, `-o json`, by priority.

The protocol is one datagram an entry (systemd.io/JOURNAL_NATIVE_PROTOCOL): `KEY=value`
lines, and for a value of several lines its length. An entry that the journal does not take
at once is let go: nobody here waits for a log.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

SOCKET: Final = Path("/run/systemd/journal/socket")

#: What syslog calls the levels.
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def takes(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the journal is at the other end of a stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        at = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{at.st_dev}:{at.st_ino}"


def entry(_: Any, __: str, event: dict[str, Any]) -> str:
    """Return what is sent for a log line, as the text that structlog wants of its last processor: see `datagram`."""
    event = {key: value for key, value in event.items() if key != "timestamp"}  # the journal has its own
    level, name = str(event.pop("level", "info")), str(event.pop("event", ""))
    said = " ".join([name, *(f"{key}={value}" for key, value in event.items() if key != "exception")])
    fields = {
        "MESSAGE": f"{said}\n{event['exception']}" if "exception" in event else said,
        "PRIORITY": str(_PRIORITIES.get(level, 6)),
        "SYSLOG_IDENTIFIER": "pbx-meter",
        "PBX_METER_EVENT": name,
        **{f"PBX_METER_{key.upper()}": str(value) for key, value in event.items() if key.isidentifier()},
    }
    made = b"".join(_field(key, value.encode(errors="replace")) for key, value in fields.items())
    return made.decode(errors="surrogateescape")


def datagram(text: str) -> bytes:
    """Return the bytes of an entry: the lengths in it are no text."""
    return text.encode(errors="surrogateescape")


def _field(key: str, value: bytes) -> bytes:
    if b"\n" in value:
        return key.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return key.encode() + b"=" + value + b"\n"


class Entries(logging.Handler):
    """Sends each record, as `entry` made it, to the journal.

    Args:
        path: The journal's socket.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; what can't be sent is let go."""
        try:
            self._socket.sendto(datagram(self.format(record)), self._path)
        except OSError:
            return

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()
