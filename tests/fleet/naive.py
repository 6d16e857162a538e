"""What every report has to say, added up by hand from the raw records: no code of the reports is used here.

Straight from the definition: dictionaries, every minute written out, nothing clever.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

DIRECTIONS = ("in", "out", "unknown")


def content(token: str) -> dict[str, Any]:
    """What a signed record says."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def ms(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)


class Tenant:
    """All that came of one tenant, and what was agreed about it."""

    def __init__(self, agent: str, tenant: str) -> None:
        self.key = (agent, tenant)
        self.summary: dict[str, Any] | None = None
        self.days: list[dict[str, Any]] = []
        self.capacity: int | None = None
        self.basis: str | None = None
        self._minutes: dict[int, int] | None = None

    def take(self, record: dict[str, Any]) -> None:
        data = record["data"]
        if data["kind"] == "minute-series":
            self.days.append(data)
        elif self.summary is None or rank(data) > rank(self.summary):
            self.summary = data

    @property
    def state(self) -> str:
        if self.summary is None:
            return "missing"
        return {"interim": "open", "final": "final", "correction": "corrected"}[self.summary["kind"]]

    @property
    def billed(self) -> str:
        return self.basis or (self.summary["capacity"]["basis"] if self.summary else "channels")

    @property
    def lines(self) -> int | None:
        if self.capacity is not None or self.summary is None:
            return self.capacity
        return self.summary["capacity"]["lines"]

    @property
    def level(self) -> dict[str, Any]:
        return self.summary["levels"][self.billed]

    @property
    def peak(self) -> int | None:
        return None if self.summary is None else self.level["peak"]

    @property
    def sealed(self) -> bool:
        """A final came, or a correction of one."""
        return self.state in ("final", "corrected")

    @property
    def unseen(self) -> bool:
        """Something may have happened that nobody saw."""
        return self.level["lower_bound"] or self.summary["coverage"]["gaps"]["count"] > 0

    @property
    def users(self) -> int | None:
        return None if self.summary is None else self.summary["users"]["at_close"]

    def over_ms(self) -> int | None:
        if self.summary is None or self.lines is None or self.level["time_at_level_ms"] is None:
            return None
        return sum(ms for level, ms in self.level["time_at_level_ms"].items() if int(level) > self.lines)

    def minutes(self) -> dict[int, int]:
        """Each minute of its period: its maximum, or the peak of the period where that is not known."""
        if self._minutes is None:
            self._minutes = {} if self.peak is None else self._written_out()
        return self._minutes

    def _written_out(self) -> dict[int, int]:
        period = self.summary["period"]
        stated: dict[int, int | None] = {}
        for day in self.days:
            minute = ms(day["day"]["start"]) // 60_000
            for count, value in day["minutes"][self.billed]:
                for _ in range(count):
                    stated[minute] = value
                    minute += 1
        if self.level["peak_at"] is not None:
            then = stated.get(ms(self.level["peak_at"]) // 60_000)
            if then is not None and then < self.peak:
                stated = {}
        found = {}
        for minute in range(ms(period["start"]) // 60_000, ms(period["end"]) // 60_000):
            value = stated.get(minute)
            found[minute] = self.peak if value is None else value
        return found


def rank(data: dict[str, Any]) -> tuple[bool, int]:
    return data["kind"] != "interim", data["revision"]


def tenants(tokens: Iterable[str], also: Iterable[tuple[str, str]] = ()) -> dict[tuple[str, str], Tenant]:
    """Everybody of whom something came, or should have."""
    found = {key: Tenant(*key) for key in also}
    for token in tokens:
        record = content(token)
        key = (record["data"]["agent"]["id"], record["subject"])
        found.setdefault(key, Tenant(*key)).take(record)
    return found


def heap(those: Iterable[Tenant]) -> dict[str, Any]:
    """Several tenants as one."""
    those = list(those)
    together: dict[int, int] = {}
    for one in those:
        for minute, value in one.minutes().items():
            together[minute] = together.get(minute, 0) + value
    peaks = [one.peak for one in those if one.peak is not None]
    known = [one for one in those if one.users is not None]
    told = [one.summary for one in those if one.summary is not None]
    return {
        "tenants": len(those),
        "missing": len([one for one in those if one.state in ("open", "missing")]),
        "users": sum(one.users for one in known),
        "users_max": sum(one.summary["users"]["max"] for one in known),
        "users_unknown": len(those) - len(known),
        "capacity": sum(one.lines for one in those if one.lines is not None),
        "peak": (max(peaks), max([*together.values(), *peaks])) if peaks else None,
        "peak_unknown": len(those) - len(peaks),
        "capacity_unknown": len([one for one in those if one.summary is None and one.lines is None]),
        "peak_unsure": len([one for one in those if one.peak is not None and (one.unseen or not one.sealed)]),
        "traffic_unsure": len([one for one in those if one.summary is None or not one.sealed]),
        "traffic": {
            direction: {
                name: sum(data["traffic"][direction][name] for data in told) if told else None
                for name in ("legs", "answered_ms", "billable_s")
            }
            for direction in DIRECTIONS
        },
    }
