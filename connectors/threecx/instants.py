"""How a 3CX writes instants and durations. Pure; what it can't have meant is a ValueError.

Seen live: `2024-09-12T03:26:41+00:00`, `...Z`, with up to seven decimals (.NET); its
specification allows none to twelve. "Never" is null or the year 1.
"""

from __future__ import annotations

import datetime as dt
import re
from email.utils import parsedate_to_datetime
from typing import Final

from meter.model import Instant

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS: Final = dt.timedelta(milliseconds=1)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_DURATION: Final = re.compile(
    r"P(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,8})(?:\.(\d{1,12}))?S)?)?", re.ASCII
)


def instant(value: object) -> Instant | None:
    """Return the instant that a field tells, decimals cut off at milliseconds; None: null, or the year 1.

    Raises:
        ValueError: It is neither.
    """
    if value is None:
        return None
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("no instant")
    day, minute, second, decimals, sign, hours, minutes = found.groups()
    if day.startswith("0001"):
        return None
    told = dt.datetime.fromisoformat(f"{day}T{minute}:{second or '00'}+00:00")
    at = (told - _EPOCH) // _MS + int(((decimals or "") + "000")[:3])
    if sign is None:
        return at
    offset = (int(hours) * 60 + int(minutes)) * 60_000
    return at - offset if sign == "+" else at + offset


def duration_ms(value: object) -> int:
    """Return an ISO 8601 duration (`PT1M12.577027S`), cut off at milliseconds; null is none at all.

    Raises:
        ValueError: It is neither, or has years or months, whose length nobody knows.
    """
    if value is None:
        return 0
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("no duration")
    days, hours, minutes, seconds, decimals = found.groups()
    whole = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * 1000 + int(((decimals or "") + "000")[:3])


def written(at: Instant) -> str:
    """Return an instant as the 3CX takes it: UTC, whole seconds, cut off."""
    return (_EPOCH + dt.timedelta(seconds=at // 1000)).strftime("%Y-%m-%dT%H:%M:%SZ")


def dated(header: str | None) -> Instant | None:
    """Return the instant of a `Date` header, which counts whole seconds; None: there is none to be read."""
    if not header:
        return None
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return None
    return None if at.tzinfo is None else (at - _EPOCH) // _MS
