"""Whole calls on a simulated Asterisk, as a script writes them: begin one, answer it, hang it up.

Each makes the channels that a real Asterisk makes for it, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.asterisk.simulated.exchange import DOWN, RING, RINGING, UP, Channel, Exchange, outside_number


@dataclass(slots=True, eq=False)
class Call:
    """One call on the exchange.

    Attributes:
        caller: The channel that began it.
        called: Those that ring for it; one of them answers.
        helpers: Halves of Local channels.
    """

    exchange: Exchange
    caller: Channel
    called: list[Channel]
    helpers: list[Channel] = field(default_factory=list)

    @property
    def trunks(self) -> list[Channel]:
        """The trunk legs among its legs, the oldest first."""
        return [leg for leg in (self.caller, *self.called) if leg.endpoint in self.exchange.trunks]

    def answer(self, place: int = 0) -> None:
        """Let the called leg at `place` answer; the others stop ringing."""
        answering = self.called[place]
        self.exchange.show(answering, UP)
        for other in [leg for leg in self.called if leg is not answering]:
            self.called.remove(other)
            self.exchange.hang_up(other, 26)
        self.exchange.show(self.caller, UP)
        self.exchange.join(self.caller, answering)

    def hang_up(self, cause: int = 16) -> None:
        """End all its legs."""
        for leg in (*self.called, *self.helpers, self.caller):
            self.exchange.hang_up(leg, cause)


def ring_in(
    exchange: Exchange,
    trunk: str,
    extension: str,
    *,
    account: str = "",
    context: str = "from-trunk",
    did: str = "",
) -> Call:
    """A call comes in on a trunk and rings an extension."""
    caller = exchange.make(
        trunk,
        RING,
        context=context,
        exten=did or outside_number(1),
        account=account,
        number=outside_number(2),
    )
    exchange.run(caller, "Dial", f"{extension},30")
    return Call(exchange, caller, [_ringing(exchange, extension, caller)])


def dial_out(exchange: Exchange, extension: str, trunk: str, *, account: str = "") -> Call:
    """An extension calls out over a trunk; the far end rings."""
    caller = exchange.make(
        extension,
        RING,
        context="from-internal",
        exten=outside_number(3),
        account=account,
        number=extension[-3:],
    )
    exchange.run(caller, "Dial", f"{trunk},60")
    return Call(exchange, caller, [_ringing(exchange, trunk, caller)])


def internal(exchange: Exchange, extension: str, other: str) -> Call:
    """An extension rings another."""
    caller = exchange.make(extension, RING, context="from-internal", exten=other[-3:], number=extension[-3:])
    exchange.run(caller, "Dial", f"{other},30")
    return Call(exchange, caller, [_ringing(exchange, other, caller)])


def forward(exchange: Exchange, trunk: str, out: str) -> Call:
    """A call comes in on a trunk and is forwarded out again: two lines, one call."""
    caller = exchange.make(
        trunk, RING, context="from-trunk", exten=outside_number(4), number=outside_number(5)
    )
    exchange.run(caller, "Dial", f"{out},60")
    return Call(exchange, caller, [_ringing(exchange, out, caller)])


def ring_group(exchange: Exchange, trunk: str, extensions: list[str]) -> Call:
    """A call comes in and rings several extensions, each through a pair of Local channels."""
    caller = exchange.make(
        trunk, RING, context="from-trunk", exten=outside_number(6), number=outside_number(7)
    )
    exchange.run(caller, "Queue", "sales")
    call = Call(exchange, caller, [])
    for place, extension in enumerate(extensions):
        pair = f"Local/{extension[-3:]}@queues-{place:08x}"
        first = exchange.make("", DOWN, by=caller, name=f"{pair};1")
        second = exchange.make("", RING, by=caller, name=f"{pair};2")
        call.helpers += (first, second)
        call.called.append(_ringing(exchange, extension, second))
    return call


def _ringing(exchange: Exchange, endpoint: str, caller: Channel) -> Channel:
    leg = exchange.make(endpoint, DOWN, by=caller)
    exchange.show(leg, RINGING)
    return leg
