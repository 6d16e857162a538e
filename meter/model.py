"""The facts that every figure is made from, as frozen values.

The ledger holds five sorts of fact: legs, merges of calls, gaps, the terms of the
tenants, and extension readings. Words are the glossary's
(GLOSSARY.md), the meaning is `pbx-meter/1`.

An *instant* is an `int`: milliseconds of UTC since 1970. Integers compare, sort
and store without rounding, and a leg's life is the half-open `[start, end)`
between two of them. Aware datetimes appear where people and records read them
(`meter.periods`, `meter.summary`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

#: Milliseconds of UTC since 1970-01-01T00:00Z.
Instant: TypeAlias = int

#: The definition that every figure follows; a change of meaning is a new name.
DEFINITION: Final = "pbx-meter/1"


class Level(StrEnum):
    """What is counted; `basis` names the one that a contract bills."""

    CHANNELS = "channels"  #: trunk legs that exist, ringing and dialling included
    CALLS = "calls"  #: calls with at least one trunk leg
    ANSWERED = "answered"  #: calls with at least one answered trunk leg


class Direction(StrEnum):
    """Which side began the leg, seen from the PBX."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"  #: first met in a snapshot that does not prove it


class Known(StrEnum):
    """How an instant of a leg is known."""

    SEEN = "seen"  #: an event told it as it happened
    SNAPSHOT = "snapshot"  #: a snapshot told it; the truth may be a little earlier
    GAP = "gap"  #: cut at the start of a gap: what happened after was not seen
    CALL_LOG = "call_log"  #: the PBX's own call log told it afterwards


class Cause(StrEnum):
    """Why the agent did not see a PBX."""

    AGENT_DOWN = "agent_down"
    AGENT_STALLED = "agent_stalled"  #: the event loop stood still for more than 2 s
    PBX_UNREACHABLE = "pbx_unreachable"
    LINK_LOST = "link_lost"
    EVENTS_LOST = "events_lost"
    LOGIN_REFUSED = "login_refused"
    CLOCK_STEP = "clock_step"
    NOT_INSTALLED = "not_installed"  #: before the first observation
    POLL_FAILED = "poll_failed"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True)
class Leg:
    """One trunk leg, or a leg that no rule knows, as the ledger keeps it.

    It holds no telephone number: `endpoint` has its digit runs hashed unless the
    operator configured that very name.

    Attributes:
        row: The ledger's own number of this leg, >= 1, growing with time.
        pbx: The configured name of the PBX.
        leg: The PBX's own id of it (Asterisk: Uniqueid), to look it up in its CDRs.
        endpoint: The full endpoint, `PJSIP/kpn`.
        trunk: The trunk rule that the endpoint met; None: an unclassified leg,
            which counts in no level.
        direction: Settled once; later sightings don't change it.
        call: The call it belonged to when it began; `Merge` says what became of it.
        tenant: Whose it is; None: unassigned, counts for nobody.
        start, start_known: When the PBX made it.
        answer, answer_known: When it was answered; None: not (yet).
        end, end_known: When it hung up; None: still up.
    """

    row: int
    pbx: str
    leg: str
    endpoint: str
    trunk: str | None
    direction: Direction
    call: str
    tenant: str | None
    start: Instant
    start_known: Known = Known.SEEN
    answer: Instant | None = None
    answer_known: Known | None = None
    end: Instant | None = None
    end_known: Known | None = None


@dataclass(frozen=True, slots=True)
class Merge:
    """Two calls of one PBX became one at `at`, and stay one.

    Both names were the current ones at that instant: `gone` is never used again
    as a name of its own, legs that carry it belong to `into`.
    """

    pbx: str
    at: Instant
    gone: str
    into: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Time in which a PBX was not seen. Not zero: unknown.

    Attributes:
        row: The ledger's own number of this gap, >= 1.
        pbx: The PBX that was not seen.
        start: The last instant at which it was heard.
        end: The first complete snapshot after it; None: it lasts.
        cause: Why.
    """

    row: int
    pbx: str
    start: Instant
    end: Instant | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a tenant from `at` on, as the configuration said it then.

    Attributes:
        tenant: Whose terms.
        at: From when on.
        lines: The capacity in lines, >= 1; None: none agreed.
        basis: The level that the contract bills.
        pbxs: The PBXs that its legs may be on: it is observed while all of them are.
            None at all: it is not configured from then on.
        user_pbxs: The PBXs that its extensions may be on.
        packages: The packages on offer, ascending.
        name: The tenant's name as people know it.
        timezone: IANA name of the zone of its days and months.
        period: `month`, `day`, `hour` or `5min`.
    """

    tenant: str
    at: Instant
    lines: int | None
    basis: Level
    pbxs: tuple[str, ...]
    user_pbxs: tuple[str, ...] = ()
    packages: tuple[int, ...] = ()
    name: str = ""
    timezone: str = "UTC"
    period: str = "month"


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a PBX's extension list, counted for one tenant.

    Attributes:
        pbx: Where it was read.
        tenant: Whose extensions; None: those that no tenant's rule takes.
        at: When the reading was complete.
        count: How many; None: the reading failed.
        source: Which list (`pjsip`, `devices`, `xapi`).
        created, removed: How many came and went since the last good reading of the same source.
        pbx_own_count: The PBX's own licence count (3CX), else None.
    """

    pbx: str
    tenant: str | None
    at: Instant
    count: int | None
    source: str
    created: int = 0
    removed: int = 0
    pbx_own_count: int | None = None
