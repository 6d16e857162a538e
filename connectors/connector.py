"""The seam: how the agent watches one PBX.

A new kind of PBX is one folder with a class that keeps these promises, and one
line in `connectors.kinds`. The contract suite in tests/contract runs over every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, TypeAlias

from meter.events import Event
from meter.model import Instant
from meter.witness import Witnessed

#: Takes events, in order, as soon as they are known. Plain, quick, never blocks or
#: awaits: it is called by the reader of the PBX link itself, so nothing can make
#: the reader wait.
Sink: TypeAlias = Callable[[Sequence[Event]], None]

#: Reads the clock: the meter's present instant. It never goes back.
Now: TypeAlias = Callable[[], Instant]


@dataclass(frozen=True, slots=True)
class Extension:
    """One entry of a PBX's extension list.

    Attributes:
        number: The bare endpoint or extension number (`101`).
        endpoint: The full endpoint (`PJSIP/101`).
        departments: 3CX: what its departments go by, the primary first; each by its
            name and its number (`("Sales", "GRP0001")`).
    """

    number: str
    endpoint: str = field(repr=False)
    departments: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ExtensionList:
    """A complete list of what may be extensions, trunks still among them.

    Attributes:
        at: When it was complete.
        source: Which list it is (`pjsip`, `devices`, `peers`, `xapi`).
        extensions: Every endpoint that the list names, once.
        pbx_own_count: The PBX's own licence count of users, None where it has none.
    """

    at: Instant
    source: str
    extensions: tuple[Extension, ...]
    pbx_own_count: int | None = None


@dataclass(frozen=True, slots=True)
class CallsTold:
    """What a PBX's own call records tell of calls that ended in a stretch of time.

    Attributes:
        source: Which records (`call_log`, `cdr`).
        start, end: Every call that ended in `[start, end)` is among them.
        legs: Their trunk legs. One may have begun before `start`, or be told again.
    """

    source: str
    start: Instant
    end: Instant
    legs: tuple[Witnessed, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look at the PBX found, for `pbx-meter check`.

    Attributes:
        product: What answers, with its version (`Asterisk 22.10.1`); "" if unknown.
        rights: Each thing that the account may do, and whether it matters:
            (what, allowed, needed).
        endpoints: The full endpoints that the PBX names: trunks, extensions and others.
        trunk_hints: Endpoints that look like trunks to the PBX itself (outbound registrations).
        up: How many legs are up now.
        users: Its users with their departments, where the PBX itself says who is one.
    """

    product: str
    rights: tuple[tuple[str, bool, bool], ...]
    endpoints: tuple[str, ...] = field(repr=False)
    trunk_hints: tuple[str, ...] = field(default=(), repr=False)
    up: int = 0
    users: tuple[Extension, ...] = field(default=(), repr=False)


class Connector(Protocol):
    """One PBX, followed over one connection after another.

    - The first thing given to the sink after every `serve` is a `Snapshot`.
    - `serve` ends only by raising: a `ConnectorError` says once that the link is
      lost; cancelling it closes everything within a second.
    - What the sink raises ends `serve` with that error: it is a bug, not a link's end.
    - Nothing that could change or delay a call can be sent: actions come from a
      fixed list, anything else raises before a byte leaves.
    """

    #: The configured name of the PBX.
    name: str
    #: The last instant at which the PBX was heard over the present or last
    #: connection; None before the first byte ever.
    heard_at: Instant | None
    #: "events", "polled" or "cdr", as the record states it.
    method: str
    #: Counts that `status` shows beside the levels and that count in none, by what
    #: they are (3CX: calls over bridges to other systems).
    beside: Mapping[str, int]

    async def serve(self, sink: Sink) -> NoReturn:
        """Connect, log in, give a snapshot, then events, until the link is lost.

        Raises:
            Unreachable: No connection, or nothing heard for too long, or it was cut.
            Denied: The account is refused or lacks a right that metering needs.
            Garbled: The PBX breaks its own protocol, or sends faster than can be read.
        """
        ...

    def resnapshot(self) -> None:
        """Ask for a fresh snapshot soon, because the agent itself lost track. Returns at once."""
        ...

    async def read_extensions(self) -> ExtensionList:
        """Read the extension list over the connection that `serve` holds.

        Raises:
            Unreachable: There is no connection now, or the answer did not come.
            Denied: The account may not read any list of extensions.
            Garbled: The answer can't be understood.
        """
        ...

    async def read_calls(self, since: Instant | None, *, soon: bool = False) -> CallsTold | None:
        """Read what the PBX's own call records tell since an instant, over what `serve` holds.

        Asked every few seconds: it says nothing (None) until it is worth while, by its own pace.

        Args:
            since: The end of what was told before; None: nothing was.
            soon: A period waits for it: don't wait for the pace.

        Returns:
            What they tell; None: there are none that may be read, or nothing new can be told yet.

        Raises:
            As `read_extensions`.
        """
        ...

    async def probe(self) -> Probe:
        """Connect once, look around with reading actions only, and leave. Raises as `serve`."""
        ...
