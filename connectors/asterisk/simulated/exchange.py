"""A model of Asterisk's channels: what it would say of them, and what was true. No socket, no clock of its own.

It says what a real Asterisk says, in its formats (seen on 16.28 and 22.10), about
channels that exist only here; `simulator` speaks it over TCP. Beside that it keeps
the truth: every line that was in use, from when to when.

Telephone numbers are from 020 7946 0000-0999, which Ofcom keeps free for fiction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeAlias

from connectors.connector import Now
from meter.model import Direction, Instant

#: Takes (class of event, its name, the whole message).
Tell: TypeAlias = Callable[[str, str, bytes], None]

DOWN, RING, RINGING, UP = 0, 4, 5, 6  # AST_STATE_*
_STATES: Final = {DOWN: "Down", RING: "Ring", RINGING: "Ringing", UP: "Up"}
_CAUSES: Final = {
    16: "Normal Clearing",
    17: "User busy",
    19: "User alerting, no answer",
    26: "Answered elsewhere",
}


def message(kind: str, name: str, *headers: tuple[str, str | int]) -> bytes:
    """Return one message in the form of the wire."""
    lines = [f"{kind}: {name}", *(f"{header}: {value}" for header, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def outside_number(place: int) -> str:
    """Return one of the thousand numbers that belong to nobody."""
    return f"+442079460{place % 1000:03d}"


@dataclass(slots=True, eq=False)
class Channel:
    """One channel that is up."""

    name: str
    uniqueid: str
    linkedid: str
    state: int
    created: Instant
    context: str = "default"
    exten: str = ""
    account: str = ""
    number: str = ""
    application: str = ""
    data: str = ""
    bridge: str = ""

    @property
    def endpoint(self) -> str:
        """The device behind it; nonsense for a channel that has none."""
        return self.name.rpartition("-")[0]

    def headers(self) -> tuple[tuple[str, str | int], ...]:
        """The block that every channel event carries, in Asterisk's order."""
        return (
            ("Channel", self.name),
            ("ChannelState", self.state),
            ("ChannelStateDesc", _STATES[self.state]),
            ("CallerIDNum", self.number or "<unknown>"),
            ("CallerIDName", "<unknown>"),
            ("ConnectedLineNum", "<unknown>"),
            ("ConnectedLineName", "<unknown>"),
            ("Language", "en"),
            ("AccountCode", self.account),
            ("Context", self.context),
            ("Exten", self.exten),
            ("Priority", 1),
            ("Uniqueid", self.uniqueid),
            ("Linkedid", self.linkedid),
        )


@dataclass(slots=True)
class Line:
    """One trunk leg as it truly was.

    Attributes:
        leg, endpoint, direction: As the meter should know them.
        call: The Linkedid that it showed last.
        start, answer, end: When; None: not (yet).
    """

    leg: str
    endpoint: str
    direction: Direction
    call: str
    start: Instant
    answer: Instant | None = None
    end: Instant | None = None


@dataclass(slots=True)
class Exchange:
    """The channels of one simulated Asterisk.

    Attributes:
        now: Reads the clock.
        tell: Takes every event as it happens.
        trunks, extensions: Full endpoints (`PJSIP/trunk-kpn`, `PJSIP/101`).
        noisy: Tell VarSet events too, as a real Asterisk does, two of three.
        booted_at: When this run began.
        channels: Those that are up, by Uniqueid.
        lines: The truth, oldest first.
    """

    now: Now
    tell: Tell
    trunks: tuple[str, ...]
    extensions: tuple[str, ...]
    noisy: bool = False
    booted_at: Instant = field(init=False)
    channels: dict[str, Channel] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    _open: dict[str, Line] = field(default_factory=dict)
    _serial: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.booted_at = self.now()

    def make(
        self,
        endpoint: str,
        state: int,
        *,
        by: Channel | None = None,
        name: str = "",
        context: str = "default",
        exten: str = "s",
        account: str = "",
        number: str = "",
    ) -> Channel:
        """Make a channel. `by`: the one that dials it; `name`: whole, where it is no device's."""
        at, serial = self.now(), next(self._serial)
        uniqueid = f"{at // 1000}.{serial}"
        channel = Channel(
            name or f"{endpoint}-{serial:08x}",
            uniqueid,
            by.linkedid if by else uniqueid,
            state,
            at,
            context=context,
            exten=exten,
            account=account,
            number=number,
            application="AppDial" if by else "",
            data="(Outgoing Line)" if by else "",
        )
        self.channels[uniqueid] = channel
        if endpoint in self.trunks and not name:
            direction = Direction.OUT if state == DOWN else Direction.IN
            line = Line(uniqueid, endpoint, direction, channel.linkedid, at)
            self._open[uniqueid] = line
            self.lines.append(line)
        self.say("call", "Newchannel", *channel.headers())
        self._chatter(channel)
        return channel

    def show(self, channel: Channel, state: int) -> None:
        """Move a channel to another state; nothing if it has ended."""
        if channel.uniqueid not in self.channels:
            return
        channel.state = state
        line = self._open.get(channel.uniqueid)
        if line is not None and state == UP and line.answer is None:
            line.answer = self.now()
        self.say("call", "Newstate", *channel.headers())
        self._chatter(channel)

    def run(self, channel: Channel, application: str, data: str = "") -> None:
        """Let a channel's dialplan run an application. It shows in lists only."""
        channel.application, channel.data = application, data

    def join(self, *channels: Channel) -> None:
        """Bridge channels: they become one call, under the oldest Linkedid of theirs. Nothing if one has ended."""
        if any(channel.uniqueid not in self.channels for channel in channels):
            return
        bridge = f"bridge-{next(self._serial)}"
        oldest = min((channel.linkedid for channel in channels), key=_age)
        for channel in channels:
            channel.bridge, channel.linkedid = bridge, oldest
            line = self._open.get(channel.uniqueid)
            if line is not None:
                line.call = oldest
        for number, channel in enumerate(channels, start=1):
            about = (
                ("BridgeUniqueid", bridge),
                ("BridgeType", "basic"),
                ("BridgeTechnology", "simple_bridge"),
            )
            rest = (
                ("BridgeCreator", "<unknown>"),
                ("BridgeName", "<unknown>"),
                ("BridgeNumChannels", number),
            )
            self.say("call", "BridgeEnter", *about, *rest, *channel.headers())

    def hang_up(self, channel: Channel, cause: int = 16) -> None:
        """End a channel; nothing if it has ended."""
        if self.channels.pop(channel.uniqueid, None) is None:
            return
        line = self._open.pop(channel.uniqueid, None)
        if line is not None:
            line.end = self.now()
        self.say(
            "call",
            "Hangup",
            *channel.headers(),
            ("Cause", cause),
            ("Cause-txt", _CAUSES.get(cause, "Unknown")),
        )

    def restart(self) -> None:
        """Lose every channel and begin another run."""
        at = self.now()
        for line in self._open.values():
            line.end = at
        self._open.clear()
        self.channels.clear()
        # CoreStatus tells seconds: two runs never begin in the same one.
        self.booted_at = max(at, self.booted_at + 1000)

    def say(self, kind: str, name: str, *headers: tuple[str, str | int]) -> None:
        """Tell one event."""
        self.tell(kind, name, message("Event", name, ("Privilege", f"{kind},all"), *headers))

    def up(self, endpoints: Iterable[str] | None = None) -> int:
        """Return how many lines are truly in use now, of all trunks or of some."""
        wanted = set(self.trunks if endpoints is None else endpoints)
        return sum(line.endpoint in wanted for line in self._open.values())

    def _chatter(self, channel: Channel) -> None:
        """Say as much around a change as a real Asterisk: 85 events for a call of two legs, two of three VarSet."""
        if not self.noisy:
            return
        for place in range(11):
            self.say(
                "dialplan",
                "VarSet",
                *channel.headers(),
                ("Variable", f"__NOTE{place}"),
                ("Value", "a: b; c=d"),
            )
        for priority in (1, 2, 3):
            application = (
                ("Extension", channel.exten),
                ("Application", "Dial"),
                ("AppData", f"x,{priority}"),
            )
            self.say("dialplan", "Newexten", *channel.headers(), *application)
        self.say("call", "NewConnectedLine", *channel.headers())


def _age(linkedid: str) -> tuple[int, int]:
    second, _, serial = linkedid.rpartition(".")
    return int(second), int(serial)
