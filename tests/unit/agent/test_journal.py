"""Log lines as the journal gets them: real datagrams on a real socket."""

from __future__ import annotations

import io
import logging
import os
import socket
import struct
from pathlib import Path

import structlog

from agent import journal, logs

LEVELS = [structlog.stdlib.add_log_level, structlog.processors.format_exc_info, logs.redact]


def fields(datagram: bytes) -> dict[str, str]:
    """Read an entry as journald does."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if equals:
            datagram = rest
        else:
            (length,) = struct.unpack("<Q", rest[:8])
            value, datagram = rest[8 : 8 + length], rest[9 + length :]
        found[key.decode()] = value.decode()
    return found


def test_an_event_is_fields() -> None:
    """Each key is a field of its own; the message is what a person reads."""
    event = {
        "timestamp": "2026-11-22T00:00:00Z",
        "level": "warning",
        "event": "link.down",
        "pbx": "pbx1",
        "hint": "a b",
    }

    assert fields(journal.datagram(journal.entry(None, "", event))) == {
        "MESSAGE": "link.down pbx=pbx1 hint=a b",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "pbx-meter",
        "PBX_METER_EVENT": "link.down",
        "PBX_METER_PBX": "pbx1",
        "PBX_METER_HINT": "a b",
    }


def test_a_traceback_stays_whole_and_nothing_can_forge_a_field() -> None:
    """Values of several lines keep them; a line break in a value begins no other field."""
    event = {"event": "loop.failed", "exception": "a\nb", "error": "x\nPRIORITY=0"}
    found = fields(journal.datagram(journal.entry(None, "", event)))

    assert found["MESSAGE"] == "loop.failed error=x\nPRIORITY=0\na\nb"
    assert (found["PRIORITY"], found["PBX_METER_ERROR"]) == ("6", "x\nPRIORITY=0")


def test_it_arrives_redacted(tmp_path: Path) -> None:
    """What comes through the formatter reaches the socket, without telephone numbers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
        ear.bind(str(tmp_path / "journal"))
        handler = journal.Entries(tmp_path / "journal")
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=LEVELS,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, journal.entry],
            )
        )
        handler.handle(
            logging.makeLogRecord({"msg": "called 0031201234567", "levelname": "ERROR", "levelno": 40})
        )
        handler.close()

        found = fields(ear.recv(4096))
    assert (found["MESSAGE"], found["PRIORITY"]) == ("called (number)", "3")


def test_a_journal_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """An entry that can't be sent is let go."""
    handler = journal.Entries(tmp_path / "nobody")
    handler.handle(logging.makeLogRecord({"msg": "said"}))
    handler.close()


def test_only_the_journals_own_stream_is_taken_for_it(tmp_path: Path) -> None:
    """A stream is the journal's if JOURNAL_STREAM names it: an inherited variable alone means nothing."""
    with (tmp_path / "log").open("w") as stream:
        at = os.fstat(stream.fileno())
        assert journal.takes(stream, {"JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino}"})
        assert not journal.takes(stream, {"JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino + 1}"})
        assert not journal.takes(stream, {})
    assert not journal.takes(io.StringIO(), {"JOURNAL_STREAM": "1:1"})
