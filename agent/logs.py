"""Logging: one line an event, key=value, to standard error, or fields to the journal; never a secret or a telephone number."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Final, TextIO

import structlog

from agent import journal

#: Longer digit runs may be telephone numbers; within hexadecimal they are a hash's.
_NUMBER: Final = re.compile(r"(?<![0-9a-fA-F])\+?\d{6,}(?![0-9a-fA-F])")
_SECRET: Final = re.compile(r"secret|password|token|authorization", re.IGNORECASE)


def redact(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Hide what must not be in a log, whoever wrote it."""
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = "(hidden)"
        elif key != "timestamp" and not isinstance(value, int | float | bool | None):
            event[key] = _NUMBER.sub("(number)", str(value))
    return event


def set_up(level: str, stream: TextIO | None = None) -> None:
    """Send every log line, ours and the libraries', through one formatter."""
    stream = stream or sys.stderr
    renderer: Any = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    handler: logging.Handler = logging.StreamHandler(stream)
    if journal.takes(stream):
        renderer, handler = journal.entry, journal.Entries()
    elif stream.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("apscheduler", "aiohttp.access", "asyncio", "panoramisk"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
