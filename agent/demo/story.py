"""What happens in the demo, as values that a screen can draw: it looks, it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from agent.app import Agent
from agent.demo.script import CLOSES_S, DAY_S, OPENS_S
from agent.demo.stage import CLOUD, ON_3CX, Mail, Stage
from agent.store import ledger, records, told
from agent.store.database import Database
from agent.store.records import Sealed
from meter.model import Instant, Level
from meter.presence import FOREVER

#: How often the agent itself is asked what it knows, in ms; the levels are looked at each time.
_ASK_EVERY_MS: Final = 500
#: The curve of the day has a place for each five minutes of it.
_PLACE_S: Final = 300


def office_clock(at_s: float) -> str:
    """Return a time of the simulated day, `10:42`."""
    return f"{int(at_s // 3600) % 24:02d}:{int(at_s // 60) % 60:02d}"


@dataclass(slots=True)
class Tenant:
    """One tenant as the agent sees it now, and on what kind of PBX. None: not known."""

    id: str
    name: str
    pbx: str
    capacity: int
    level: int | None = None
    peak: int | None = None
    users: int | None = None
    over_since: Instant | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened: when on the simulated day, what, and how it looks."""

    at_s: float
    said: str
    style: str = ""


@dataclass(slots=True)
class Story:
    """The story so far.

    Attributes:
        stage, agent: What is looked at.
        closes_at: When the agent's period closes; the simulated day ends then too.
        opened_at: When the simulated day began; None: not yet.
        tenants: By id.
        curve: The first tenant's highest level in each five minutes of the day.
        notes: What happened, oldest first.
        mails: How many arrived.
        letter: The one that tells of the overrun.
        finals: The sealed records of the period, by tenant, once the provider has counted them.
        seen, told: How many legs of the 3CX its polls saw, and how many there are with its call
            log; None: the log was not read to the end of the period yet.
        found: The agent's last answer, as `pbx-meter status` shows it; empty: not asked yet.
    """

    stage: Stage
    agent: Agent
    closes_at: Instant
    opened_at: Instant | None = None
    tenants: dict[str, Tenant] = field(default_factory=dict)
    curve: list[int | None] = field(default_factory=lambda: [None] * round(DAY_S / _PLACE_S))
    notes: list[Note] = field(default_factory=list)
    mails: int = 0
    letter: Mail | None = None
    finals: dict[str, Sealed] = field(default_factory=dict)
    seen: int | None = None
    told: int | None = None
    found: dict[str, Any] = field(default_factory=dict)
    _asked_at: Instant = 0
    _place: int = 0
    _said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tenants = {
            t.id: Tenant(t.id, t.name, "3CX" if t.id == ON_3CX else "Asterisk", t.capacity or 0)
            for t in self.stage.config.tenant
        }

    @property
    def speed(self) -> float:
        """How much faster than a real day this one passes; 1 before it begins."""
        return 1 if self.opened_at is None else DAY_S * 1000 / (self.closes_at - self.opened_at)

    @property
    def at_s(self) -> float:
        """The time of the simulated day."""
        if self.opened_at is None:
            return OPENS_S
        return OPENS_S + (self.stage.clock.now() - self.opened_at) / 1000 * self.speed

    @property
    def linked(self) -> bool:
        """Whether the agent follows both PBXs."""
        return all(link.up for link in self.agent.links)

    def note(self, said: str, style: str = "") -> None:
        """Remember that something happened."""
        self.notes.append(Note(self.at_s, said, style))

    async def look(self) -> None:
        """Look at everything once."""
        for tenant in self.tenants.values():
            self._look_at(tenant)
        self._draw_on()
        self._open_mails()
        now = self.stage.clock.now()
        if now - self._asked_at >= _ASK_EVERY_MS:
            self._asked_at = now
            await self._ask(now)

    def _look_at(self, tenant: Tenant) -> None:
        sampling, now = self.agent.sampling, self.stage.clock.now()
        if not sampling.observed(tenant.id):
            tenant.level = None
            return
        level = sampling.levels.now(tenant.id)[Level.CHANNELS]
        tenant.level = level
        tenant.peak = max(level, tenant.peak or 0)
        if level > tenant.capacity and tenant.over_since is None:
            tenant.over_since = now
            self.note(
                f"{tenant.name} is over: {level} lines, {tenant.capacity} bought. No call is blocked.",
                "bold red",
            )
        elif level <= tenant.capacity and tenant.over_since is not None:
            lasted_s = (now - tenant.over_since) / 1000
            tenant.over_since = None
            self.note(f"{tenant.name} is back within its {tenant.capacity} lines after {lasted_s:.1f} s")

    def _draw_on(self) -> None:
        """Carry the curve on to where the day is."""
        if self.opened_at is None or self.at_s >= CLOSES_S:
            return
        level = next(iter(self.tenants.values())).level
        place = int((self.at_s - OPENS_S) / _PLACE_S)
        for skipped in range(self._place + 1, place):
            self.curve[skipped] = level
        before = self.curve[place]
        self.curve[place] = level if before is None else max(before, level or 0)
        self._place = place

    def _open_mails(self) -> None:
        box = self.stage.box.mails
        for mail in sorted(box[self.mails :], key=lambda mail: mail.over):  # the warning was written first
            self.note(f"mail: {mail.subject}", "yellow")
            if mail.over and self.letter is None:
                self.letter = mail
        self.mails = len(box)

    async def _ask(self, now: Instant) -> None:
        self.found = await self.agent.status.read(now)
        for id_, said in self.found["tenants"].items():
            tenant, basis = self.tenants[id_], said["levels"][said["basis"]]
            tenant.users = said["users"]
            tenant.peak = max(
                (peak for peak in (tenant.peak, basis["peak"]) if peak is not None), default=None
            )
        if self.linked:
            self._once("the agent has logged in over AMI and taken its first snapshot")
            self._once("the agent has a token of the 3CX, knows its trunks and polls it")
        if all(tenant.users is not None for tenant in self.tenants.values()):
            self._once(
                "extensions read: " + ", ".join(f"{t.users} users of {t.name}" for t in self.tenants.values())
            )
        if self.found["records"]["receipted"]:
            self._once("the provider has counted the first interim record and signed a receipt")
        if now >= self.closes_at:
            self._once("the billing period is over", "bold")
            await self._look_for_told()
            await self._look_for_finals()

    async def _look_for_told(self) -> None:
        """Note that the 3CX's call log has told the whole period: its final waits for that."""
        if self.told is not None or not self.closes_at <= self.agent.calls.known_up_to(ON_3CX) < FOREVER:
            return
        span = (self.opened_at or 0, self.closes_at)

        def count(db: Database) -> tuple[int, int]:
            polled = ledger.legs(db, ON_3CX, *span)
            return len(polled), len(told.laid_over(db, polled, {CLOUD}, ON_3CX, span))

        self.seen, self.told = await self.agent.store.read(count)
        self._once(f"the 3CX's call log is read: {self.told} legs, of which polls saw {self.seen}")

    async def _look_for_finals(self) -> None:
        """Note the finals as they are sealed and counted."""
        sealed = await self.agent.store.read(lambda db: list(records.every(db)))
        for final in sealed:
            if final.kind != "final" or final.tenant is None:
                continue
            self._once(f"{final.id} is sealed and signed", "bold")
            if final.status is not None:
                self.finals[final.tenant] = final
                style = "bold green" if final.status == "counted" else "bold red"
                self._once(f"{final.id} {final.status}, with a signed receipt", style)

    def _once(self, said: str, style: str = "") -> None:
        if said not in self._said:
            self._said.add(said)
            self.note(said, style)
