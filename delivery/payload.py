"""A notice as the JSON that webhooks carry. Field names are fixed: fields may be added, never renamed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from meter.model import Instant
from meter.notices import Notice

#: Names the shape of `data`; a change of meaning is a new name.
NOTICE_TYPE: Final = "pbx-meter.notice.v1"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def notice_payload(notice: Notice) -> bytes:
    """Return a notice as minified JSON, UTF-8: `type`, `timestamp` and `data`. The same notice, the same bytes.

    Instants are ISO 8601 in UTC with milliseconds, durations whole milliseconds
    (`_ms`). The fields of `data`, each with the meaning that `meter.notices` gives it:

    | field | value |
    |---|---|
    | `id` | names the notice for ever |
    | `kind` | `over`, `warning` or `ended` |
    | `reason` | `first`, `repeat`, `episode_ended`, or `told_late`: call records told it after the fact |
    | `agent` | the agent's id |
    | `tenant` | `id` and `name` |
    | `basis` | what is counted: `channels`, `calls` or `answered` |
    | `level`, `capacity`, `over_by` | the level at `at`, the lines in force, and how many too many (0 if none) |
    | `at`, `over_since` | when; since when without a break, null unless over now (`told_late`: when it began) |
    | `episode` | null, or `start` and `peak` so far |
    | `period` | `name`, `start`, `end`, `timezone` |
    | `peak`, `peak_at` | the period's highest level so far; null if nothing was observed |
    | `overruns` | `count` and `total_ms` this period so far, the running one included |
    | `package`, `packages` | the smallest that fits the period's peak, null if none does; all of them |
    | `warn_at` | per cent of the capacity at which a warning is given |
    | `incomplete` | true: a gap touches the period, the figures are lower bounds |
    """
    data = {
        "id": notice.id,
        "kind": notice.kind,
        "reason": notice.reason,
        "agent": notice.agent,
        "tenant": {"id": notice.tenant, "name": notice.tenant_name},
        "basis": notice.basis,
        "level": notice.level,
        "capacity": notice.capacity,
        "over_by": max(0, notice.level - notice.capacity),
        "at": _iso(notice.at),
        "over_since": _iso(notice.over_since),
        "episode": None
        if notice.episode_start is None
        else {"start": _iso(notice.episode_start), "peak": notice.episode_peak},
        "period": {
            "name": notice.period,
            "start": _iso(notice.period_start),
            "end": _iso(notice.period_end),
            "timezone": notice.timezone,
        },
        "peak": notice.peak,
        "peak_at": _iso(notice.peak_at),
        "overruns": {"count": notice.overruns, "total_ms": notice.overruns_ms},
        "package": notice.package,
        "packages": list(notice.packages),
        "warn_at": notice.warn_at,
        "incomplete": notice.incomplete,
    }
    whole = {"type": NOTICE_TYPE, "timestamp": _iso(notice.at), "data": data}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _iso(at: Instant | None) -> str | None:
    """Write an instant as `2026-11-12T09:31:07.412Z`; None stays None."""
    if at is None:
        return None
    moment = _EPOCH + timedelta(milliseconds=at)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
