"""Whole calls on a simulated 3CX, one function for each way that a call can go.

    begin(exchange, "queue", extension="101", via="8003", ring_s=9, talk_s=60)

writes down, from now on, what `ActiveCalls` shows of such a call. Each function reads the
same `Plan` and takes of it what it needs. All times within a call are parts of its ring
and talk time, so a plan that is shrunk keeps its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from connectors.threecx.simulated.directory import outside_number
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.timeline import MAKE_CALL, ROUTER, Call, Party, Phase, Status
from meter.model import Instant


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call is to do.

    Attributes:
        at: When it begins, by the true clock.
        trunk: The DN of the line that it comes in on, or goes out over.
        out: The line that it is forwarded or transferred over.
        extension, other: Who calls or is called; `other` is the second one.
        via: The queue, IVR, ring group or parking on the way; "": the cycle's usual one.
        ring_s: How long until somebody answers, the way through queue and menu included.
        talk_s: How long it is talked from then on; None: nobody answers.
    """

    at: Instant
    trunk: str = "10000"
    out: str = "10000"
    extension: str = "100"
    other: str = "101"
    via: str = ""
    ring_s: float = 6.0
    talk_s: float | None = 60.0


@dataclass(slots=True)
class _Timeline:
    """Phases as they are thought up: in seconds since the call's beginning."""

    exchange: Exchange
    at: Instant
    phases: list[Phase] = field(default_factory=list)

    def then(
        self,
        at_s: float,
        caller: Party | None,
        callee: Party | None,
        status: Status,
        also: tuple[Party, Status] | None = None,
    ) -> _Timeline:
        """Add a phase; one that would last no time makes place for it."""
        phase = Phase(self.at + round(at_s * 1000), caller, callee, status, also)
        if self.phases and self.phases[-1].at == phase.at:
            self.phases.pop()
        self.phases.append(phase)
        return self

    def end(self, at_s: float, main: Call | None = None) -> Call:
        """Write the call down; what would begin with its end, never does."""
        end = self.at + round(at_s * 1000)
        first, *more = self.phases
        return self.exchange.plan([first, *(phase for phase in more if phase.at < end)], end, main=main)


def _outside(exchange: Exchange, dn: str) -> Party:
    party = exchange.party(dn, outside_number(exchange.next_place()))
    if not party.trunk:
        raise ValueError(f"{dn} is no trunk of this 3CX")
    return party


def _line(exchange: Exchange, plan: Plan) -> tuple[_Timeline, Party, Party]:
    """Begin as every inbound call does: the 3CX looks for whom it is."""
    caller = _outside(exchange, plan.trunk)
    timeline = _Timeline(exchange, plan.at).then(0, caller, ROUTER, Status.ROUTING)
    return timeline, caller, exchange.party(plan.extension)


def inbound(exchange: Exchange, plan: Plan) -> Call:
    """In on a trunk, to an extension."""
    timeline, caller, callee = _line(exchange, plan)
    timeline.then(plan.ring_s / 5, caller, callee, Status.ROUTING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, callee, Status.TALKING).end(plan.ring_s + plan.talk_s)


def unrouted(exchange: Exchange, plan: Plan) -> Call:
    """In on a trunk, and given up before the 3CX knows for whom."""
    return _line(exchange, plan)[0].end(plan.ring_s)


def queue(exchange: Exchange, plan: Plan) -> Call:
    """In on a trunk, music in a queue, an agent rings, and talks. Nobody answers: given up in the queue."""
    timeline, caller, agent = _line(exchange, plan)
    timeline.then(plan.ring_s / 5, caller, exchange.party(plan.via or "8003"), Status.TALKING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    timeline.then(plan.ring_s * 0.7, caller, agent, Status.REROUTING)
    return timeline.then(plan.ring_s, caller, agent, Status.TALKING).end(plan.ring_s + plan.talk_s)


def doubled(exchange: Exchange, plan: Plan) -> Call:
    """Like `queue`, but while the agent rings the call stands in the list twice, under one Id."""
    timeline, caller, agent = _line(exchange, plan)
    waiting = exchange.party(plan.via or "8003")
    timeline.then(plan.ring_s / 5, caller, waiting, Status.TALKING)
    timeline.then(plan.ring_s / 2, caller, waiting, Status.TALKING, (agent, Status.ROUTING))
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, agent, Status.TALKING).end(plan.ring_s + plan.talk_s)


def ivr(exchange: Exchange, plan: Plan) -> Call:
    """In on a trunk, a menu, then an extension. Nobody answers: hung up in the menu."""
    timeline, caller, callee = _line(exchange, plan)
    timeline.then(plan.ring_s / 5, caller, exchange.party(plan.via or "8010"), Status.TALKING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    timeline.then(plan.ring_s * 0.6, caller, callee, Status.REROUTING)
    return timeline.then(plan.ring_s, caller, callee, Status.TALKING).end(plan.ring_s + plan.talk_s)


def ring_group(exchange: Exchange, plan: Plan) -> Call:
    """In on a trunk, all members ring, one talks."""
    timeline, caller, callee = _line(exchange, plan)
    timeline.then(plan.ring_s / 5, caller, exchange.party(plan.via or "8020"), Status.ROUTING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, callee, Status.TALKING).end(plan.ring_s + plan.talk_s)


def voicemail(exchange: Exchange, plan: Plan) -> Call:
    """In on a trunk, nobody answers, the voice mail box does."""
    timeline, caller, callee = _line(exchange, plan)
    box = exchange.party(plan.extension, voicemail=True)
    timeline.then(plan.ring_s / 5, caller, callee, Status.ROUTING)
    timeline.then(plan.ring_s, caller, box, Status.TALKING)
    return timeline.end(plan.ring_s + (plan.talk_s or 0))


def outbound(exchange: Exchange, plan: Plan) -> Call:
    """An extension calls out over a trunk."""
    caller, callee = exchange.party(plan.extension), _outside(exchange, plan.trunk)
    timeline = _Timeline(exchange, plan.at).then(0, caller, None, Status.INITIATING)
    timeline.then(plan.ring_s / 5, caller, callee, Status.ROUTING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, callee, Status.TALKING).end(plan.ring_s + plan.talk_s)


def internal(exchange: Exchange, plan: Plan) -> Call:
    """An extension calls another."""
    caller, callee = exchange.party(plan.extension), exchange.party(plan.other)
    timeline = _Timeline(exchange, plan.at).then(0, caller, callee, Status.ROUTING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, callee, Status.TALKING).end(plan.ring_s + plan.talk_s)


def make_call(exchange: Exchange, plan: Plan) -> Call:
    """A program calls an extension, and then out for it."""
    caller, callee = exchange.party(plan.extension), _outside(exchange, plan.trunk)
    timeline = _Timeline(exchange, plan.at).then(0, MAKE_CALL, caller, Status.ROUTING)
    timeline.then(plan.ring_s / 2, caller, callee, Status.ROUTING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, callee, Status.TALKING).end(plan.ring_s + plan.talk_s)


def null_caller(exchange: Exchange, plan: Plan) -> Call:
    """Like `inbound`, but for a moment the caller is null."""
    caller, callee = _outside(exchange, plan.trunk), exchange.party(plan.extension)
    timeline = _Timeline(exchange, plan.at).then(0, None, ROUTER, Status.INITIATING)
    timeline.then(plan.ring_s / 5, caller, callee, Status.ROUTING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, callee, Status.TALKING).end(plan.ring_s + plan.talk_s)


def _answered(exchange: Exchange, plan: Plan) -> tuple[_Timeline, Party, Party, float]:
    """Begin a call that is answered by the extension; return how long it is talked, too."""
    timeline, caller, callee = _line(exchange, plan)
    timeline.then(plan.ring_s / 5, caller, callee, Status.ROUTING)
    timeline.then(plan.ring_s, caller, callee, Status.TALKING)
    return timeline, caller, callee, plan.talk_s or 0


def _blind(exchange: Exchange, plan: Plan, target: Party) -> Call:
    if plan.talk_s is None:
        return inbound(exchange, plan)
    timeline, caller, callee, talk_s = _answered(exchange, plan)
    timeline.then(plan.ring_s + talk_s * 0.3, caller, callee, Status.TRANSFERRING)
    timeline.then(plan.ring_s + talk_s * 0.35, caller, target, Status.REROUTING)
    timeline.then(plan.ring_s + talk_s * 0.5, caller, target, Status.TALKING)
    return timeline.end(plan.ring_s + talk_s)


def blind_transfer(exchange: Exchange, plan: Plan) -> Call:
    """In, answered, given to another extension without asking: the Id stays."""
    return _blind(exchange, plan, exchange.party(plan.other))


def blind_to_mobile(exchange: Exchange, plan: Plan) -> Call:
    """In, answered, given to a mobile without asking: both sides are trunks then."""
    return _blind(exchange, plan, _outside(exchange, plan.out))


def forward_to_mobile(exchange: Exchange, plan: Plan) -> Call:
    """In for an extension that is forwarded to a mobile: in on one line, out on another."""
    timeline, caller, callee = _line(exchange, plan)
    mobile = _outside(exchange, plan.out)
    timeline.then(plan.ring_s / 5, caller, callee, Status.ROUTING)
    timeline.then(plan.ring_s / 2, caller, mobile, Status.REROUTING)
    if plan.talk_s is None:
        return timeline.end(plan.ring_s)
    return timeline.then(plan.ring_s, caller, mobile, Status.TALKING).end(plan.ring_s + plan.talk_s)


def _attended(exchange: Exchange, plan: Plan, target: Party) -> Call:
    if plan.talk_s is None:
        return inbound(exchange, plan)
    timeline, caller, callee, talk_s = _answered(exchange, plan)
    asked_s, joined_s = plan.ring_s + talk_s * 0.3, plan.ring_s + talk_s * 0.6
    timeline.then(joined_s, caller, target, Status.TALKING)
    call = timeline.end(plan.ring_s + talk_s)
    asking = _Timeline(exchange, plan.at).then(asked_s, callee, target, Status.ROUTING)
    asking.then(plan.ring_s + talk_s * 0.4, callee, target, Status.TALKING)
    asking.end(joined_s, main=call)
    return call


def attended_transfer(exchange: Exchange, plan: Plan) -> Call:
    """In, answered; a second call asks another extension; then the two become the first."""
    return _attended(exchange, plan, exchange.party(plan.other))


def attended_to_mobile(exchange: Exchange, plan: Plan) -> Call:
    """In, answered; a second call asks a mobile; then the two become the first, with both sides trunks."""
    return _attended(exchange, plan, _outside(exchange, plan.out))


def parked(exchange: Exchange, plan: Plan) -> Call:
    """In, answered, parked, and taken up by another extension."""
    if plan.talk_s is None:
        return inbound(exchange, plan)
    timeline, caller, callee, talk_s = _answered(exchange, plan)
    timeline.then(plan.ring_s + talk_s * 0.3, caller, callee, Status.TRANSFERRING)
    timeline.then(plan.ring_s + talk_s * 0.35, caller, exchange.party(plan.via or "SP0"), Status.TALKING)
    timeline.then(plan.ring_s + talk_s * 0.6, caller, exchange.party(plan.other), Status.TALKING)
    return timeline.end(plan.ring_s + talk_s)


def _bridge(exchange: Exchange, plan: Plan) -> Plan:
    """Let a plan use a bridge, if the trunk that it names is none."""
    named = exchange.directory.trunk(plan.trunk)
    if named is not None and named.bridge:
        return plan
    bridge = next(trunk for trunk in exchange.directory.trunks if trunk.bridge)
    return replace(plan, trunk=bridge.number)


def bridge_in(exchange: Exchange, plan: Plan) -> Call:
    """In from another 3CX, to an extension."""
    return inbound(exchange, _bridge(exchange, plan))


def bridge_out(exchange: Exchange, plan: Plan) -> Call:
    """An extension calls over to another 3CX."""
    return outbound(exchange, _bridge(exchange, plan))


Cycle: TypeAlias = Callable[[Exchange, Plan], Call]

#: Every way that a call can go, by its name in scenarios.
CYCLES: Final[Mapping[str, Cycle]] = {
    cycle.__name__: cycle
    for cycle in (
        *(inbound, unrouted, queue, doubled, ivr, ring_group, voicemail, outbound, internal, make_call),
        *(null_caller, blind_transfer, blind_to_mobile, forward_to_mobile, attended_transfer),
        *(attended_to_mobile, parked, bridge_in, bridge_out),
    )
}


def begin(exchange: Exchange, cycle: str, *, at: Instant | None = None, **wishes: Any) -> Call:
    """Write down one call.

    Args:
        exchange: Where.
        cycle: Its name in `CYCLES`.
        at: When it begins; None: now.
        **wishes: What of the plan is not as usual.

    Raises:
        KeyError: There is no such cycle.
        TypeError: A plan knows no such wish.
        ValueError: What it calls a trunk is none.
    """
    return CYCLES[cycle](exchange, Plan(exchange.now() if at is None else at, **wishes))
