"""What the books say of each agent: everything that a look at the fleet starts from.

None means *not known* or *there is none*, never zero. `heard_at` and `taken_at` are
the provider's own instants; those that a record states are the agent's.
"""

from __future__ import annotations

from dataclasses import dataclass

from meter.model import Instant
from provider.books import KeyState


@dataclass(frozen=True, slots=True)
class Statement:
    """The newest that an agent stated about one tenant, interim or final.

    Attributes:
        tenant, name: Whom it is about: the id, and the name as people know it.
        interim: Its period still ran when it was made.
        as_of: Up to when its figures go.
        period_end: When its period ends.
        next_by: When the agent said it would make the next interim; None: it promised none.
        taken_at: When it came.
        version: Of the agent's program.
        basis: The level that the contract bills.
        peak: The highest of that level so far; None: nothing was seen.
        capacity: Of the contract, else of the record; None: none agreed.
        expected_ms: How much time there was to see.
        unseen_ms: How much of it was not seen, time before the installation left out.
        synchronised: Whether the agent's clock was.
        unclassified: Legs that no rule knows; None: the record is not the one that states them.
    """

    tenant: str
    name: str
    interim: bool
    as_of: Instant
    period_end: Instant
    next_by: Instant | None
    taken_at: Instant
    version: str
    basis: str = "channels"
    peak: int | None = None
    capacity: int | None = None
    expected_ms: int = 0
    unseen_ms: int = 0
    synchronised: bool | None = None
    unclassified: int | None = None


@dataclass(frozen=True, slots=True)
class Contradicted:
    """Records of one agent, well signed, that contradict what is in the books.

    Attributes:
        error: `conflict` or `fork`.
        first_at, last_at, count: Since they began to come: the first, the last, and how many.
    """

    error: str
    first_at: Instant
    last_at: Instant
    count: int


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key of an agent. `ends_at`: it is withdrawn from that instant on; None: no end is planned."""

    thumbprint: str
    state: KeyState
    ends_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """One agent.

    Attributes:
        agent: Its id.
        enrolled_at: When it last enrolled; None: not known.
        heard_at: When its last record came; None: none yet.
        keys: Every key of it.
        missing: Numbers of its chains that never came: (chain, first, last).
        contradictions: At most one of each error.
        statements: The newest about each tenant.
    """

    agent: str
    enrolled_at: Instant | None = None
    heard_at: Instant | None = None
    keys: tuple[HeldKey, ...] = ()
    missing: tuple[tuple[str, int, int], ...] = ()
    contradictions: tuple[Contradicted, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def newest(self) -> Statement | None:
        """The newest statement of all; None: it made none."""
        return max(self.statements, key=lambda one: one.as_of, default=None)

    @property
    def version(self) -> str | None:
        """The version that the agent runs, as far as it told; None: it never did."""
        return self.newest.version if self.newest else None
