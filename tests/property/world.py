"""PBXs that live: random calls, and what an unreliable link tells of them.

`World` is the truth. It tells a sink what a connector would: events in order per PBX,
each up to a second late, some twice, some never; snapshots that race with them; links
that break; PBXs that restart; an agent that stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from meter.events import Event, LegChanged, LegEnded, LegStarted, Sighting, Snapshot
from meter.model import Cause, Direction, Level
from meter.tenancy import PbxRules, Tenancy, TenantRules

#: 2026-11-21T20:03:20Z
START = 1_795_291_400_000
PBXS = ("one", "two")
TRUNKS = {"one": ("PJSIP/kpn", "PJSIP/kpn2"), "two": ("SIP/kpn", "SIP/kpn2")}
TENANTS = {"PJSIP/kpn": "acme", "PJSIP/kpn2": "globex", "SIP/kpn": "acme", "SIP/kpn2": "globex"}


def tenancy() -> Tenancy:
    import re  # noqa: PLC0415 - only here

    extensions = re.compile("1[0-9]{2}")
    return Tenancy(
        [PbxRules(pbx, TRUNKS[pbx], extensions) for pbx in PBXS],
        [TenantRules(tenant, trunks=(trunk,)) for trunk, tenant in TENANTS.items()],
        b"key",
    )


class Sink(Protocol):
    def take(self, pbx: str, events: list[Event]) -> None: ...

    def lost(self, pbx: str, at: int, cause: Cause) -> None: ...

    def stalled(self, since: int) -> None: ...

    def tick(self) -> None: ...


@dataclass
class Leg:
    id: str
    call: str
    endpoint: str | None
    start: int
    direction: Direction
    answered: bool = False


@dataclass
class Asked:
    at: int
    listed_at: int
    done_at: int
    legs: tuple[Sighting, ...] | None = None


@dataclass
class Pbx:
    name: str
    booted: int = 1
    legs: dict[str, Leg] = field(default_factory=dict)
    queue: list[tuple[int, Callable[[int], Event], bool]] = field(default_factory=list)
    linked: bool = False
    synced: bool = False  # the snapshot of this connection was given
    heard_at: int = START
    silent_until: int = 0  # nothing comes any more, and nobody has noticed yet
    asked: Asked | None = None
    next_snapshot: int = START


@dataclass
class World:
    rnd: Random
    sink: Sink
    lossy: bool = True  # else every event arrives, and no hangup later than a list that lacks its leg
    breaks: bool = True
    at: int = START
    pbxs: dict[str, Pbx] = field(default_factory=lambda: {name: Pbx(name) for name in PBXS})
    number: int = 0
    reconnect_at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PBXS, START))

    # --- time and the link -------------------------------------------------------------

    def tick(self, ms: int) -> None:
        """Let time pass, in which the links carry what they carry."""
        end = self.at + ms
        while self.at < end:
            self.at = min(end, self.at + 250)
            self.sink.tick()
            for pbx in self.pbxs.values():
                self._carry(pbx)

    def _carry(self, pbx: Pbx) -> None:
        if not pbx.linked:
            if self.at >= self.reconnect_at[pbx.name]:
                pbx.linked, pbx.synced, pbx.queue = True, False, []
                self.ask(pbx)
            return
        if pbx.silent_until:
            if self.at >= pbx.silent_until:
                self.lose_link(pbx)
            return
        pbx.heard_at = self.at
        due = []
        while pbx.queue and pbx.queue[0][0] <= self.at and pbx.synced:
            due.append(pbx.queue.pop(0)[1](self.at))
        asked = pbx.asked
        if asked is not None and asked.legs is None and self.at >= asked.listed_at:
            asked.legs = tuple(self._shown(leg) for leg in pbx.legs.values())
        ends_told = self.lossy or not any(ends for _, _, ends in pbx.queue)
        if asked is not None and asked.legs is not None and self.at >= asked.done_at and ends_told:
            snapshot = Snapshot(self.at, asked.at, asked.legs, f"{pbx.name}-{pbx.booted}")
            pbx.asked, pbx.next_snapshot = None, self.at + 30_000
            if not pbx.synced:  # what was buffered meanwhile comes after it
                pbx.synced = True
                buffered = [make(asked.done_at) for due_at, make, _ in pbx.queue if due_at <= self.at]
                pbx.queue = [q for q in pbx.queue if q[0] > self.at]
                due = [snapshot, *due, *buffered]
            else:
                due.append(snapshot)
        if due:
            self.sink.take(pbx.name, due)
        if pbx.asked is None and self.at >= pbx.next_snapshot:
            self.ask(pbx)

    def ask(self, pbx: Pbx) -> None:
        listed_at = self.at + self.rnd.randint(0, 400)
        pbx.asked = Asked(self.at, listed_at, listed_at + self.rnd.randint(0, 400))

    def _shown(self, leg: Leg) -> Sighting:
        age = (self.at - leg.start) // 1000 * 1000  # PBXs state ages in whole seconds
        return Sighting(leg.id, leg.call, leg.endpoint, answered=leg.answered, created=self.at - age)

    def tell(self, pbx: Pbx, make: Callable[[int], Event], *, ends: bool = False) -> None:
        if not pbx.linked or pbx.silent_until or (self.lossy and self.rnd.random() < 0.04):
            return
        due = max(self.at + self.rnd.randint(0, 700), pbx.queue[-1][0] if pbx.queue else 0)
        pbx.queue.append((due, make, ends))
        if self.rnd.random() < 0.06:
            pbx.queue.append((due + self.rnd.randint(0, 200), make, ends))

    def quiet(self) -> None:
        """Let everything arrive that is on its way, then take snapshots that race with nothing."""
        self.tick(26_000)
        for pbx in self.pbxs.values():
            self.reconnect_at[pbx.name] = min(self.reconnect_at[pbx.name], self.at)
        for _ in range(2):
            self.tick(4_000)
            for pbx in self.pbxs.values():
                if pbx.asked is None:
                    self.ask(pbx)
            self.tick(2_000)

    # --- what happens ------------------------------------------------------------------

    def act(self) -> None:
        """Let something happen on some PBX."""
        pbx = self.rnd.choice(list(self.pbxs.values()))
        what = self.rnd.choices(
            [self.new_call, self.internal, self.add_leg, self.answer, self.hang_up, self.merge,
             self.lose_link, self.go_silent, self.restart, self.stall, lambda _: None],
            [6, 2, 4, 5, 6, 2, *((0.5, 0.5, 0.3, 0.4) if self.breaks else (0, 0, 0, 0)), 2],
        )[0]  # fmt: skip
        what(pbx)

    def _leg(self, pbx: Pbx, call: str | None, endpoint: str | None, direction: Direction) -> Leg:
        self.number += 1
        id_ = f"{pbx.booted}.{self.number}"
        leg = Leg(id_, call or id_, endpoint, self.at, direction)
        pbx.legs[id_] = leg
        known = direction if direction is Direction.IN else Direction.UNKNOWN
        seen = Sighting(id_, leg.call, endpoint, direction=known)
        self.tell(pbx, lambda at: LegStarted(at, seen._replace(created=at)))
        if known is not direction:
            call_then = leg.call
            self.tell(pbx, lambda at: LegChanged(at, id_, call_then, direction=direction))
        return leg

    def new_call(self, pbx: Pbx) -> None:
        self._leg(pbx, None, self.rnd.choice(TRUNKS[pbx.name]), Direction.IN)

    def internal(self, pbx: Pbx) -> None:
        leg = self._leg(pbx, None, "PJSIP/101", Direction.IN)
        self._leg(pbx, leg.call, self.rnd.choice(["PJSIP/102", None]), Direction.OUT)

    def add_leg(self, pbx: Pbx) -> None:
        if pbx.legs:
            leg = self.rnd.choice(list(pbx.legs.values()))
            endpoint = self.rnd.choice([*TRUNKS[pbx.name], "PJSIP/103", None])
            self._leg(pbx, leg.call, endpoint, Direction.OUT)

    def answer(self, pbx: Pbx) -> None:
        waiting = [leg for leg in pbx.legs.values() if not leg.answered]
        if waiting:
            leg = self.rnd.choice(waiting)
            leg.answered = True
            id_, call = leg.id, leg.call
            self.tell(pbx, lambda at: LegChanged(at, id_, call, answered=True))

    def hang_up(self, pbx: Pbx) -> None:
        if pbx.legs:
            leg = pbx.legs.pop(self.rnd.choice(list(pbx.legs)))
            id_, call = leg.id, leg.call
            self.tell(pbx, lambda at: LegEnded(at, id_, call), ends=True)

    def merge(self, pbx: Pbx) -> None:
        calls = sorted({leg.call for leg in pbx.legs.values()})
        if len(calls) > 1:
            into, gone = self.rnd.sample(calls, 2)
            for leg in pbx.legs.values():
                if leg.call == gone:
                    leg.call = into
                    id_, answered = leg.id, leg.answered
                    self.tell(pbx, lambda at, i=id_, a=answered: LegChanged(at, i, into, answered=a))

    def lose_link(self, pbx: Pbx) -> None:
        if pbx.linked:
            pbx.linked, pbx.synced, pbx.queue, pbx.asked, pbx.silent_until = False, False, [], None, 0
            self.reconnect_at[pbx.name] = self.at + self.rnd.choice([1_000, 20_000, 200_000])
            self.sink.lost(pbx.name, pbx.heard_at, Cause.LINK_LOST)

    def go_silent(self, pbx: Pbx) -> None:
        if pbx.linked and not pbx.silent_until:
            pbx.silent_until = self.at + 25_000

    def restart(self, pbx: Pbx) -> None:
        self.lose_link(pbx)
        pbx.legs.clear()
        pbx.booted += 1

    def stall(self, _: Pbx) -> None:
        since = self.at
        self.at += self.rnd.choice([2_500, 40_000])
        for pbx in self.pbxs.values():
            if pbx.asked is not None and pbx.synced:
                pbx.asked = None
        self.sink.stalled(since)
        for pbx in self.pbxs.values():
            if pbx.linked and pbx.synced and not pbx.silent_until:
                self.ask(pbx)

    # --- the truth ---------------------------------------------------------------------

    def levels(self, tenant: str) -> dict[Level, int]:
        up = [
            (pbx.name, leg)
            for pbx in self.pbxs.values()
            for leg in pbx.legs.values()
            if TENANTS.get(leg.endpoint or "") == tenant
        ]
        return {
            Level.CHANNELS: len(up),
            Level.CALLS: len({(pbx, leg.call) for pbx, leg in up}),
            Level.ANSWERED: len({(pbx, leg.call) for pbx, leg in up if leg.answered}),
        }
