"""A provider's fleet, simulated: agents with real keys that seal real records of a whole month, quickly.

Most tenants' figures are made minute by minute (a level holds for whole minutes), so a month
costs milliseconds and every figure of a record agrees with its minute-series. A few tenants
are folded from legs by the meter itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from meter import signature
from meter.canonical import canonical_bytes
from meter.model import DEFINITION, Cause, Direction, Gap, Leg, Level, Reading, Terms
from meter.periods import DAY_MS, MINUTE_MS, Period, days, iso, named
from meter.signature import PrivateKey, sha256_hex
from meter.summary import Facts, content, series_content, state

PERIOD = "2025-10"  # long over on every machine; its last Sunday has 25 hours
VERSION = "0.9.1"

Runs = list[tuple[int, int | None]]


@dataclass(frozen=True)
class Tenant:
    """A customer of one agent; `legs`: folded by the meter from so many legs, 0: made minute by minute."""

    id: str
    name: str = "Tenant"
    timezone: str = "Europe/Amsterdam"
    capacity: int | None = 8
    basis: str = "channels"
    height: int = 12
    gap: bool = False
    users: int | None = 10
    legs: int = 0


def calls(channels: int) -> int:
    """How many calls so many channels are, in this world."""
    return channels - channels // 3


def answered(channels: int) -> int:
    return calls(channels) - calls(channels) // 4


LEVELS = {"channels": lambda value: value, "calls": calls, "answered": answered}


class Account:
    """One tenant's period, taken minute by minute: what a summary of it states."""

    def __init__(self, tenant: Tenant, period: Period) -> None:
        self.tenant = tenant
        self.period = period
        self.runs: dict[str, tuple[Period, Runs]] = {}
        self.at = period.start
        self.times: dict[int, int] = {}
        self.daily: dict[str, int] = {}
        self.first: dict[int, tuple[int, int]] = {}  # channels: when first, and for how long
        self.gaps: list[tuple[int, int]] = []
        self.stretches: list[tuple[int, int, int]] = []  # above zero: start, end, channels
        self.wobble = 0

    def take(self, day: Period, runs: Runs) -> None:
        self.runs[day.name] = (day, runs)
        for count, value in runs:
            end = self.at + count * MINUTE_MS
            if value is None:
                self.gaps.append((self.at, end))
            else:
                self.times[value] = self.times.get(value, 0) + end - self.at
                self.first.setdefault(value, (self.at, end - self.at))
                self.daily[day.name] = max(self.daily.get(day.name, 0), value)
                if value:
                    self.stretches.append((self.at, end, value))
            self.at = end

    def data(self) -> dict[str, Any]:
        tenant, lost = self.tenant, sum(end - start for start, end in self.gaps)
        expected = self.at - self.period.start
        used = sum(end - start for start, end, _ in self.stretches)
        flow = {"legs": len(self.stretches), "answered": len(self.stretches), "answered_ms": used, "billable_s": used // 1000}  # fmt: skip
        nothing = {"legs": 0, "answered": 0, "answered_ms": 0, "billable_s": 0}
        return {
            "definition": DEFINITION,
            "as_of": iso(self.at),
            "tenant": {"id": tenant.id, "name": tenant.name},
            "period": self._period(),
            "levels": {name: self._level(name) for name in LEVELS},
            "capacity": self._capacity(),
            "traffic": {"in": flow, "out": nothing, "unknown": nothing},
            "users": {
                "at_close": tenant.users,
                "max": None if tenant.users is None else tenant.users + 2,
                "created": 1,
                "removed": 0,
                "failed_reads": 0,
                "pbxs": {},
            },
            "coverage": {
                "expected_ms": expected,
                "observed_ms": expected - lost,
                "gaps": {
                    "count": len(self.gaps),
                    "total_ms": lost,
                    "list": [
                        {"pbx": "pbx1", "start": iso(start), "end": iso(end), "cause": "link_lost"}
                        for start, end in self.gaps[:100]
                    ],
                },
            },
            "sampling": {"pbx1": {"method": "events"}},
            "reconciliation": {"snapshots": 1, "missed_starts": 0, "missed_hangups": 0},
            "clock": {"synchronised": True, "steps": 0, "largest_step_ms": 0, "repeated_ms": 0},
            "unclassified": {"legs": 0, "endpoints": []},
            "unassigned": {"legs": 0, "users": 0},
        }

    def series(self, name: str) -> dict[str, Any]:
        day, runs = self.runs[name]
        return {
            "definition": DEFINITION,
            "tenant": {"id": self.tenant.id, "name": self.tenant.name},
            "day": {
                "name": name,
                "start": iso(day.start),
                "end": iso(day.end),
                "timezone": self.tenant.timezone,
            },
            "minutes": {
                level: [[count, None if value is None else of(value)] for count, value in runs]
                for level, of in LEVELS.items()
            },
        }

    def _period(self) -> dict[str, str]:
        period = self.period
        return {
            "name": period.name,
            "start": iso(period.start),
            "end": iso(period.end),
            "timezone": self.tenant.timezone,
        }

    def _level(self, name: str) -> dict[str, Any]:
        of = LEVELS[name]
        lost = bool(self.gaps)
        if not self.times:
            return {
                "peak": None, "peak_at": None, "peak_ms": None, "peak_source": None, "lower_bound": lost,
                "evidence": None, "time_at_level_ms": None, "daily_peaks": None,
                "minute_peak_percentiles": None, "busy_hour": None,
            }  # fmt: skip
        times: dict[int, int] = {}
        for value, ms in self.times.items():
            times[of(value)] = times.get(of(value), 0) + ms
        peak = max(times)
        at, ms = min(first for value, first in self.first.items() if of(value) == peak)
        return {
            "peak": peak,
            "peak_at": iso(at) if peak else None,
            "peak_ms": ms if peak else None,
            "peak_source": "seen" if peak else None,
            "lower_bound": lost,
            "evidence": None,
            "time_at_level_ms": {str(value): ms for value, ms in sorted(times.items())},
            "daily_peaks": {day: of(value) for day, value in self.daily.items()},
            "minute_peak_percentiles": {"95": peak, "98": peak},
            "busy_hour": None,
        }

    def _capacity(self) -> dict[str, Any]:
        tenant = self.tenant
        lines, of = tenant.capacity, LEVELS[tenant.basis]
        over = [] if lines is None else [(s, e, of(v)) for s, e, v in self.stretches if of(v) > lines]
        worst = sorted(sorted(over, key=lambda one: -one[2])[:100])
        return {
            "basis": tenant.basis,
            "lines": lines,
            "history": [{"from": iso(self.period.start), "lines": lines}],
            "overruns": None
            if lines is None
            else {
                "count": len(over),
                "total_ms": sum(end - start for start, end, _ in over),
                "worst": [{"start": iso(s), "end": iso(e), "peak": level} for s, e, level in worst],
            },
            "smallest_fitting_package": None,
        }


def made_up(tenant: Tenant, day: Period, chance: random.Random) -> Runs:
    """Return a day of a tenant: a few busy stretches, rarely a gap."""
    left = (day.end - day.start) // MINUTE_MS
    runs: Runs = []
    for _ in range(chance.randrange(12)):
        idle, busy = chance.randrange(1, 90), chance.randrange(1, 30)
        if idle + busy >= left:
            break
        value: int | None = chance.randint(1, tenant.height)
        if tenant.gap and chance.random() < 0.05:
            value = None
        runs += [(idle, 0), (busy, value)]
        left -= idle + busy
    return [*runs, (left, 0)]


def facts(tenant: Tenant, period: Period, chance: random.Random) -> Facts:
    """Return a month of legs of a tenant, for the meter to fold."""
    legs = []
    for row in range(1, tenant.legs + 1):
        start = chance.randrange(period.start, period.end - DAY_MS)
        end = start + chance.randrange(5_000, 3_600_000)
        came = chance.choice([Direction.IN, Direction.OUT])
        legs.append(
            Leg(
                row, "pbx1", f"leg-{row}", "PJSIP/kpn", "PJSIP/kpn", came, f"call-{row}", tenant.id, start,
                answer=start + 3000, end=end,
            )
        )  # fmt: skip
    gap = Gap(1, "pbx1", period.start + DAY_MS, period.start + DAY_MS + 90_000, Cause.LINK_LOST)
    terms = Terms(
        tenant.id,
        period.start - DAY_MS,
        tenant.capacity,
        Level(tenant.basis),
        ("pbx1",),
        ("pbx1",),
        name=tenant.name,
    )
    read = [Reading("pbx1", tenant.id, period.end - 3_600_000, tenant.users, "pjsip")]
    return Facts(tenant.id, tenant.name, legs, (), {"pbx1": [gap]}, [terms], read, ("pbx1",))


@dataclass
class Agent:
    """One agent: its key, its chain, and what its tenants did.

    Attributes:
        id, tenants: Who it is, and for whom it reports.
        seed: Makes it this one and no other.
        key: Its key.
        tokens: All that it sealed, in order.
    """

    id: str
    tenants: Sequence[Tenant]
    seed: int = 0
    period: str = PERIOD
    key: PrivateKey = field(default_factory=signature.new_key)
    tokens: list[str] = field(default_factory=list)
    keep: bool = True

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}/{self.id}")
        self._last: str | None = None
        self._count = 0
        self._own: dict[str, tuple[int, str | None]] = {}
        self._interims: dict[str, int] = {}
        self._finals: dict[str, tuple[str, str, int]] = {}
        self.accounts = {}
        self.facts = {}
        for tenant in self.tenants:
            period = named(self.period, "month", ZoneInfo(tenant.timezone))
            self.accounts[tenant.id] = Account(tenant, period)
            if tenant.legs:
                self.facts[tenant.id] = facts(tenant, period, self._chance)

    def month(self, *, interims: bool = True, without_final: Sequence[str] = ()) -> Iterator[str]:
        """Seal the month, day by day: of each tenant an interim and a minute-series; at its end the finals."""
        for tenant in self.tenants:
            for day in self._days(tenant):
                if not tenant.legs:
                    self.accounts[tenant.id].take(day, made_up(tenant, day, self._chance))
                yield self._series(tenant, day)
                if interims:
                    yield self._interim(tenant, day)
        for tenant in self.tenants:
            if tenant.id not in without_final:
                yield self.final(tenant.id)

    def final(self, tenant: str) -> str:
        """Seal a tenant's final."""
        end = self.accounts[tenant].period.end
        data = self._data(tenant, end) | {"kind": "final", "revision": 1, "next_by": None}
        return self._summary(tenant, data, end + 600_000)

    def correct(self, tenant: str, lift: int) -> str:
        """Seal a correction that lifts every level's peak, as call records do that polls did not see."""
        id_, sha256, revision = self._finals[tenant]
        end = self.accounts[tenant].period.end
        data = self._data(tenant, end)
        for figures in data["levels"].values():
            figures["peak"] += lift
        data |= {"kind": "correction", "revision": revision + 1, "next_by": None}
        data |= {"replaces": {"id": id_, "sha256": sha256}, "reason": "call records came late"}
        return self._summary(tenant, data, end + DAY_MS)

    def _days(self, tenant: Tenant) -> Iterator[Period]:
        period = self.accounts[tenant.id].period
        return days(period.start, period.end, ZoneInfo(tenant.timezone))

    def _data(self, tenant: str, as_of: int) -> dict[str, Any]:
        nothing = {"replaces": None, "reason": None, "source": None}
        account = self.accounts[tenant]
        if tenant not in self.facts:
            return account.data() | nothing
        tz = ZoneInfo(account.tenant.timezone)
        return content(state(self.facts[tenant], account.period, as_of, tz), evidence=False) | nothing

    def _series(self, tenant: Tenant, day: Period) -> str:
        if tenant.legs:
            tz = ZoneInfo(tenant.timezone)
            data = series_content(state(self.facts[tenant.id], day, day.end, tz, series=True))
        else:
            data = self.accounts[tenant.id].series(day.name)
        data |= {"kind": "minute-series", "revision": 1}
        id_ = f"{tenant.id}/{day.name}/minute-series/1"
        return self._seal("pbx-meter.minute-series.v1", tenant.id, id_, day.end + 600_000, data)

    def _interim(self, tenant: Tenant, day: Period) -> str:
        number = self._interims[tenant.id] = self._interims.get(tenant.id, 0) + 1
        data = self._data(tenant.id, day.end)
        data |= {"kind": "interim", "revision": number, "next_by": iso(day.end + DAY_MS)}
        return self._summary(tenant.id, data, day.end)

    def _summary(self, tenant: str, data: dict[str, Any], at: int) -> str:
        id_ = f"{tenant}/{self.period}/{data['kind']}/{data['revision']}"
        token = self._seal("pbx-meter.usage-summary.v1", tenant, id_, at, data)
        if data["kind"] != "interim":
            self._finals[tenant] = (id_, sha256_hex(token), data["revision"])
        return token

    def _seal(self, type_: str, subject: str, id_: str, at: int, data: dict[str, Any]) -> str:
        own, before = self._own.get(subject, (0, None))
        self._count += 1
        record = {
            "specversion": "1.0",
            "type": type_,
            "source": f"/agents/{self.id}",
            "subject": subject,
            "id": id_,
            "time": iso(at),
            "datacontenttype": "application/json",
            "data": data
            | {
                "agent": {"id": self.id, "version": VERSION, "config_sha256": "9" * 64},
                "chain": {"id": f"c-{self.id}", "continues": None},
                "sequence": self._count,
                "previous_sha256": self._last,
                "tenant_sequence": own + 1,
                "tenant_previous_sha256": before,
            },
        }
        token = signature.sign(canonical_bytes(record), self.key, signature.TYP_RECORD)
        self._last = sha256_hex(token)
        self._own[subject] = (own + 1, self._last)
        if self.keep:
            self.tokens.append(token)
        return token


def fleet(size: int, seed: int = 1) -> list[Agent]:
    """Return that many agents, of one to three tenants each, in several zones, some billed otherwise."""
    chance = random.Random(seed)
    agents = []
    for number in range(size):
        tenants = [
            Tenant(
                f"t{index}",
                f"Customer {number}-{index}",
                timezone=chance.choice(["Europe/Amsterdam"] * 6 + ["Europe/Rome", "Europe/London", "UTC"]),
                capacity=chance.choice([None, 4, 8, 8, 16]),
                basis=chance.choice(["channels", "channels", "calls", "answered"]),
                height=chance.choice([2, 6, 12, 20]),
                gap=chance.random() < 0.1,
                users=chance.choice([None, *range(1, 60)]),
                legs=40 if number % 20 == 7 and not index else 0,
            )
            for index in range(chance.choice([1, 1, 1, 2, 3]))
        ]
        agents.append(Agent(f"agent-{number:05d}", tenants, seed))
    return agents
