"""Calls as values: what is dialled, who answers, who hangs up, and which trunk legs that makes.

The wire says when; a script says what: which legs there will be, whether each is
answered, and which belong to one call.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.asterisk import configuration
from tests.asterisk.configuration import ACCESS, ONWARD, OUTSIDE, TENANTS, TRUNKS, Tenant
from tests.asterisk.sipp import Dialling, Part

#: A transferred call needs this long: answer, transfer, answer again, and some talk.
TRANSFER_MS: Final = 3_000


#: The talk of a call that ends with another one.
NO_END_MS: Final = 600_000


class Kind(StrEnum):
    """What happens in a scripted call."""

    ANSWERED = "answered"  #: in, a phone answers
    IVR = "ivr"  #: in, Asterisk itself answers
    UNANSWERED = "unanswered"  #: in, the phone rings until the dialplan gives up
    CANCELLED = "cancelled"  #: in, the caller gives up
    REJECTED = "rejected"  #: in, the phone is busy
    OUTBOUND = "outbound"  #: out, answered
    OUTBOUND_BUSY = "outbound-busy"
    OUTBOUND_CANCELLED = "outbound-cancelled"
    INTERNAL = "internal"  #: no trunk leg at all
    FORWARDED = "forwarded"  #: in on `trunk`, out on `onward`
    RING_GROUP = "ring-group"  #: in, three Local channels ring three phones
    QUEUE = "queue"  #: in, app_queue
    CONFERENCE = "conference"  #: in, ConfBridge; all of a tenant's meet in one room
    BLIND_TRANSFER = "blind-transfer"  #: in, then to a colleague, or out over `onward`
    ATTENDED_TRANSFER = (
        "attended-transfer"  #: in; its phone calls somebody else (`joins`) and hands the caller over
    )
    JOINED = "joined"  #: the same, but Asterisk is told to bridge the two


_UNANSWERED: Final = frozenset(
    {Kind.UNANSWERED, Kind.CANCELLED, Kind.REJECTED, Kind.OUTBOUND_BUSY, Kind.OUTBOUND_CANCELLED}
)
_OUTBOUND: Final = frozenset({Kind.OUTBOUND, Kind.OUTBOUND_BUSY, Kind.OUTBOUND_CANCELLED})
#: Which extension of the dialplan an inbound kind dials; FORWARDED: see `Script.dialling`.
_DIALS: Final = {
    Kind.IVR: configuration.IVR,
    Kind.UNANSWERED: configuration.BRIEFLY,
    Kind.CANCELLED: configuration.SILENT,
    Kind.RING_GROUP: configuration.GROUP,
    Kind.QUEUE: configuration.QUEUE,
    Kind.CONFERENCE: configuration.CONFERENCE,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """One trunk leg that a script makes."""

    trunk: str
    direction: str  #: "in" or "out"
    answered: bool
    tenant: str  #: whose line it holds: the trunk's own tenant, on the shared trunk the script's


@dataclass(frozen=True, slots=True)
class Script:
    """One call.

    Attributes:
        id: 0..999, unique among calls that are captured together; it stands in the
            display names and in the last digits of outside numbers.
        kind: What happens.
        tenant: Whose call it is.
        trunk: The trunk of its first trunk leg ("" for INTERNAL).
        onward: The trunk of its second, "" if it has none.
        at_ms: When it begins, after the start of the placing.
        ring_ms: How long the called party rings before it answers or is busy.
        talk_ms: From answer to the end; for cancelled calls from ringing to CANCEL.
        callee_ends: The called party hangs up, not the caller.
        marked: The phone that dials out carries the tenant's account code.
        joins: JOINED: the id of the outbound call that it becomes one with.
    """

    id: int
    kind: Kind
    tenant: str
    trunk: str = ""
    onward: str = ""
    at_ms: int = 0
    ring_ms: int = 200
    talk_ms: int = 500
    callee_ends: bool = False
    marked: bool = False
    joins: int | None = None

    @property
    def customer(self) -> Tenant:
        """Its tenant on the test PBX."""
        return TENANTS[self.tenant]

    def legs(self) -> tuple[Expected, ...]:
        """Return the trunk legs that it makes, in the order of their start."""
        if self.kind is Kind.INTERNAL:
            return ()
        direction = "out" if self.kind in _OUTBOUND else "in"
        first = Expected(self.trunk, direction, self.kind not in _UNANSWERED, self.whose(self.trunk))
        onward = Expected(self.onward, "out", True, self.whose(self.onward))
        return (first, onward) if self.onward else (first,)

    def whose(self, trunk: str) -> str:
        """Return the tenant of this script's leg on `trunk`: a trunk of somebody's own comes first."""
        return next((tenant.name for tenant in TENANTS.values() if tenant.trunk == trunk), self.tenant)

    def outside(self, trunk: str) -> str:
        """Return what a phone dials to reach this script's outside party over `trunk`."""
        return f"{ACCESS[trunk]}{OUTSIDE}{self.id:03d}"

    def dialling(self) -> tuple[str, Dialling]:
        """Return who calls (`phones` or a trunk) and how."""
        part = Part("answer", self.ring_ms, "bye" if self.callee_ends else "wait", self.talk_ms)
        if self.kind in {Kind.REJECTED, Kind.OUTBOUND_BUSY}:
            part = Part("busy", self.ring_ms)
        elif self.kind in _UNANSWERED:
            part = Part("ring")
        then = "wait" if self.callee_ends else "bye"
        if self.kind in {Kind.CANCELLED, Kind.OUTBOUND_CANCELLED}:
            then = "cancel"
        if self.kind in _OUTBOUND or self.kind is Kind.INTERNAL:
            phone = self.customer.marked_phone if self.marked else self.customer.phone
            dialled = self.outside(self.trunk) if self.trunk else self.customer.colleague
            return "phones", Dialling(self.id, phone, dialled, part, phone, self.at_ms, then, self.talk_ms)
        what = (
            ONWARD[self.onward] if self.kind is Kind.FORWARDED else _DIALS.get(self.kind, configuration.PHONE)
        )
        caller = f"{OUTSIDE}{self.id:03d}"
        return self.trunk, Dialling(
            self.id, caller, self.customer.did(what), part, "", self.at_ms, then, self.talk_ms
        )


def pair(
    kind: Kind,
    first: int,
    tenant: str,
    trunk: str,
    onward: str,
    *,
    at_ms: int = 0,
    talk_ms: int = TRANSFER_MS,
) -> tuple[Script, Script]:
    """Return two calls that become one: `first`, in on `trunk`, and the id after it, by the same phone.

    Args:
        kind: ATTENDED_TRANSFER or JOINED (which needs an `onward`).
        first: The id of the first script.
        tenant: Whose phone it is.
        trunk: The first call's.
        onward: The second call's; "": the phone calls a colleague.
        at_ms: When the first begins; the second follows.
        talk_ms: The talk of the first; both end with it.
    """
    inbound = Script(first, kind, tenant, trunk, at_ms=at_ms, talk_ms=talk_ms, joins=first + 1)
    second = Kind.OUTBOUND if onward else Kind.INTERNAL
    # It has no end of its own: it ends when the first one's caller hangs up.
    consultation = Script(
        first + 1, second, tenant, onward, at_ms=at_ms + 100, talk_ms=NO_END_MS, callee_ends=True
    )
    return inbound, consultation


#: How often each kind comes in a mix.
_WEIGHTS: Final = {
    Kind.ANSWERED: 20,
    Kind.IVR: 4,
    Kind.UNANSWERED: 5,
    Kind.CANCELLED: 6,
    Kind.REJECTED: 5,
    Kind.OUTBOUND: 16,
    Kind.OUTBOUND_BUSY: 4,
    Kind.OUTBOUND_CANCELLED: 4,
    Kind.INTERNAL: 6,
    Kind.FORWARDED: 10,
    Kind.RING_GROUP: 5,
    Kind.QUEUE: 5,
    Kind.CONFERENCE: 4,
    Kind.BLIND_TRANSFER: 3,
    Kind.ATTENDED_TRANSFER: 3,
    Kind.JOINED: 3,
}
_ENDED_BY_EITHER: Final = frozenset(
    {Kind.ANSWERED, Kind.OUTBOUND, Kind.FORWARDED, Kind.INTERNAL, Kind.RING_GROUP}
)


def mix(seed: int, trunk_legs: int, *, per_s: float = 6.0, longest_ms: int = 6_000) -> tuple[Script, ...]:
    """Return a random mix of calls with at least `trunk_legs` trunk legs, in the order of their begin.

    Args:
        seed: The same seed gives the same mix.
        trunk_legs: At least so many; a mix has at most 999 calls.
        per_s: Calls that begin in a second, on average.
        longest_ms: The longest talk; transferred calls last at least TRANSFER_MS.
    """
    draw = random.Random(seed)
    scripts: list[Script] = []
    at_ms = 0.0
    while sum(len(script.legs()) for script in scripts) < trunk_legs:
        at_ms += draw.expovariate(per_s / 1000)
        (kind,) = draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        scripts += _drawn(draw, len(scripts) + 1, kind, int(at_ms), longest_ms)
    return tuple(scripts)


def _drawn(draw: random.Random, first: int, kind: Kind, at_ms: int, longest_ms: int) -> tuple[Script, ...]:
    tenant = draw.choice(list(TENANTS.values()))
    # Two calls of three over the tenant's own trunk, the others over the shared one.
    trunk = draw.choice((tenant.trunk, tenant.trunk, "trunk-shared"))
    talk_ms = draw.randrange(300, longest_ms)
    if kind in {Kind.CANCELLED, Kind.OUTBOUND_CANCELLED}:
        talk_ms = draw.randrange(200, 1_500)
    if kind in {Kind.ATTENDED_TRANSFER, Kind.JOINED}:
        onward = draw.choice(
            (tenant.trunk, "trunk-shared", "" if kind is Kind.ATTENDED_TRANSFER else tenant.trunk)
        )
        return pair(kind, first, tenant.name, trunk, onward, at_ms=at_ms, talk_ms=TRANSFER_MS + talk_ms)
    onward = draw.choice(TRUNKS) if kind is Kind.FORWARDED else ""
    if kind is Kind.BLIND_TRANSFER:
        talk_ms += TRANSFER_MS
        onward = draw.choice(("", tenant.trunk, "trunk-shared"))
    if kind is Kind.QUEUE:
        talk_ms += 1_500  # counted from the queue's own answer; the phones ring half a second later
    return (
        Script(
            first,
            kind,
            tenant.name,
            "" if kind is Kind.INTERNAL else trunk,
            onward,
            at_ms,
            ring_ms=draw.randrange(100, 1_200),
            talk_ms=talk_ms,
            callee_ends=kind in _ENDED_BY_EITHER and draw.random() < 0.5,
            marked=draw.random() < 0.3,
        ),
    )


#: One call of every kind and of every way that matters, all at once.
EVERY_KIND: Final = (
    Script(1, Kind.ANSWERED, "acme", "trunk-kpn"),
    Script(2, Kind.ANSWERED, "globex", "trunk-kpn2", callee_ends=True),
    Script(3, Kind.ANSWERED, "globex", "trunk-shared"),
    Script(4, Kind.IVR, "acme", "trunk-shared"),
    Script(5, Kind.UNANSWERED, "acme", "trunk-kpn"),
    Script(6, Kind.CANCELLED, "globex", "trunk-kpn2"),
    Script(7, Kind.REJECTED, "acme", "trunk-kpn"),
    Script(8, Kind.OUTBOUND, "acme", "trunk-kpn", marked=True),
    Script(9, Kind.OUTBOUND, "globex", "trunk-shared", callee_ends=True),
    Script(10, Kind.OUTBOUND_BUSY, "globex", "trunk-kpn2"),
    Script(11, Kind.OUTBOUND_CANCELLED, "acme", "trunk-shared"),
    Script(12, Kind.INTERNAL, "acme"),
    Script(13, Kind.FORWARDED, "acme", "trunk-kpn", "trunk-kpn"),
    Script(14, Kind.FORWARDED, "acme", "trunk-kpn", "trunk-kpn2", callee_ends=True),
    Script(15, Kind.FORWARDED, "globex", "trunk-kpn2", "trunk-shared"),
    Script(16, Kind.RING_GROUP, "acme", "trunk-kpn"),
    Script(17, Kind.QUEUE, "globex", "trunk-kpn2", talk_ms=2_000),
    Script(18, Kind.CONFERENCE, "acme", "trunk-kpn", talk_ms=1_000),
    Script(19, Kind.CONFERENCE, "acme", "trunk-shared", talk_ms=1_500),
    Script(20, Kind.BLIND_TRANSFER, "acme", "trunk-kpn", talk_ms=2_000),
    Script(21, Kind.BLIND_TRANSFER, "globex", "trunk-kpn2", "trunk-shared", talk_ms=2_000),
    *pair(Kind.ATTENDED_TRANSFER, 22, "acme", "trunk-kpn", ""),
    *pair(Kind.ATTENDED_TRANSFER, 24, "globex", "trunk-shared", "trunk-kpn2"),
    *pair(Kind.JOINED, 26, "acme", "trunk-kpn", "trunk-kpn"),
)
