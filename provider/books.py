"""The seam to the provider's storage, and the values that cross it.

- What `take` and `enrol` change, they change in one transaction or not at all, and
  they return only when it survives a power cut.
- Within that transaction the books of one agent belong to nobody else: that is the
  one lock per agent. The rule is given in and is pure; the books decide nothing.
- A signed record is kept byte for byte and never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from meter.model import Instant
from meter.schema import Place, Record
from meter.signature import PublicKey
from provider.statements import AgentRow, Audit, Head, KeyState, RecordRow, SeriesRow, SummaryRow

__all__ = [
    "Again",
    "AgentRow",
    "Arrival",
    "Audit",
    "Books",
    "BooksUnusable",
    "Contradiction",
    "Head",
    "Invited",
    "KeyEnded",
    "KeyState",
    "Known",
    "Page",
    "RecordRow",
    "Ruling",
    "SeriesRow",
    "SummaryRow",
    "Taken",
    "key_state",
]


class BooksUnusable(Exception):  # noqa: N818  # it says what is so
    """The storage can't be opened or written: damaged, full, or not ours. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Known:
    """A key that the books know, and whose it is.

    Attributes:
        agent, key: Whose, and which.
        state: What it may do until it ends.
        ends_at: It is withdrawn from that instant on; None: no end is planned.
    """

    agent: str
    key: PublicKey
    state: KeyState
    ends_at: Instant | None = None

    def state_at(self, now: Instant) -> KeyState:
        """Return what it may do at an instant."""
        return key_state(self.state, self.ends_at, now)


def key_state(state: KeyState, ends_at: Instant | None, now: Instant) -> KeyState:
    """Return what a key may do at an instant: from its planned end on it is withdrawn."""
    return state if ends_at is None or now < ends_at else KeyState.WITHDRAWN


@dataclass(frozen=True, slots=True)
class Invited:
    """One invitation.

    Attributes:
        agent, tenants: For which agent, and what it may report.
        expires_at: Not good for a first use from then on.
        used_by: The thumbprint of the key that used it, or None.
        answer: What that use was answered, or None.
    """

    agent: str
    tenants: tuple[str, ...]
    expires_at: Instant
    used_by: str | None = None
    answer: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record whose signature is good, not yet judged.

    Attributes:
        agent: Whose key signed it.
        kid: The thumbprint of that key.
        token: The compact JWS.
        sha256: Its hash.
        place: Where it stands.
        record: What it says, or None if that can't be counted.
        reason: Why it can't be counted, else None.
        at: When it came.
    """

    agent: str
    kid: str
    token: str = field(repr=False)
    sha256: str
    place: Place
    record: Record | None = field(repr=False)
    reason: str | None
    at: Instant


@dataclass(frozen=True, slots=True)
class Page:
    """Everything in the books that bears on one arrival.

    Attributes:
        tenants: What the agent may report.
        key: The state of the signer's key now.
        receipt: The receipt of these very bytes, if they were taken before.
        occupied: Another record has its id or its number in its chain.
        head: The end of the chain that the agent is on; None: nothing was taken yet.
        last: The last number taken of the arrival's own chain; None: the chain is new here.
        before: The hash of the record with the number before, if it is here.
        after: The hash that the record with the number after names, if that is here.
        rejoining: The agent was enrolled by a fresh token and nothing was taken since.
        newest: The highest revision counted for its tenant and period; 0: none.
        newest_sha256: The hash of that.
        revision_counted: Its own revision is counted already.
        replaces_refused: What it replaces is a refused record of this agent.
        new_key_known: The key that a key change brings in is known already.
    """

    tenants: frozenset[str]
    key: KeyState
    receipt: str | None = field(default=None, repr=False)
    occupied: bool = False
    head: Head | None = None
    last: int | None = None
    before: str | None = None
    after: str | None = None
    rejoining: bool = False
    newest: int = 0
    newest_sha256: str | None = None
    revision_counted: bool = False
    replaces_refused: bool = False
    new_key_known: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """These very bytes were taken before: the receipt of then."""

    receipt: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """It does not fit to what is in the books; nothing of it was written.

    That a `conflict` or a `fork` came is remembered, for the operator to see.

    Attributes:
        error: `conflict`, `sequence` or `fork`.
        expected: The number that comes next in the agent's chain.
        last_sha256: The hash before that number, None for the first.
    """

    error: str
    expected: int
    last_sha256: str | None


@dataclass(frozen=True, slots=True)
class KeyEnded:
    """The signer's key may not sign this any more; nothing was written."""


@dataclass(frozen=True, slots=True)
class Taken:
    """It takes its place in the chain.

    Attributes:
        receipt: To be given once it is stored.
        reason: None: counted. Else why it is refused.
        new_key: The key that a counted key change brings in.
    """

    receipt: str = field(repr=False)
    reason: str | None = None
    new_key: PublicKey | None = None


Ruling: TypeAlias = Again | Contradiction | KeyEnded | Taken


class Books(Protocol):
    """Durable storage of everything that agents reported."""

    async def invite(self, token_sha256: str, invited: Invited) -> None:
        """Keep a new invitation; of its token only the hash."""
        ...

    async def enrol(
        self,
        token_sha256: str,
        key: PublicKey,
        at: Instant,
        rule: Callable[[Invited | None, Known | None], str | None],
    ) -> str | None:
        """Make a key known, if the rule says so.

        Args:
            token_sha256: The token's hash.
            key: The key that asks.
            at: When.
            rule: Given the invitation and what is known of the key, returns the answer
                to give and to keep, or None to refuse.

        Returns:
            The rule's answer.
        """
        ...

    async def key(self, thumbprint: str) -> Known | None:
        """Return what is known of a key."""
        ...

    async def withdraw(
        self, agent: str, thumbprint: str | None = None, *, at: Instant | None = None
    ) -> Sequence[str]:
        """Withdraw one key of an agent, or all; return the thumbprints that were good until now.

        `at`: from that instant on, which a later call may change; None: at once, and for good.
        """
        ...

    async def take(self, arrival: Arrival, rule: Callable[[Page], Ruling]) -> Ruling:
        """Judge an arrival by the rule, and write what follows from it."""
        ...

    async def head(self, agent: str) -> Head | None:
        """Return the end of the chain that an agent is on."""
        ...

    async def agents(self) -> Sequence[AgentRow]:
        """Return all agents, by id."""
        ...

    async def summaries(
        self,
        *,
        agent: str | None = None,
        tenant: str | None = None,
        period: str | None = None,
        every: bool = False,
    ) -> Sequence[SummaryRow]:
        """Return the newest statement of each tenant and period, by agent, tenant and period.

        `every`: with the revisions that it replaced, which are kept for good, the newest first.
        """
        ...

    async def interims(self, *, period: str | None = None) -> Sequence[SummaryRow]:
        """Return the interim that knows most of each tenant and period, also where there is a final."""
        ...

    async def series(
        self, start: Instant, end: Instant, *, of: Sequence[tuple[str, str]] | None = None
    ) -> Sequence[SeriesRow]:
        """Return the minute-series of all days that touch `[start, end)`, of each the newest, by tenant and day.

        `of`: of these tenants only, as (agent, tenant); None: of all.
        """
        ...

    async def records(self, agent: str) -> Sequence[RecordRow]:
        """Return everything taken of an agent, in the order of chains and numbers."""
        ...

    async def signed(self, of: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """Return the signed bytes of records, by (agent, SHA-256); what is not here is left out."""
        ...

    async def rebuild(self) -> int:
        """Make everything derived again from the signed records; return how many rows that are."""
        ...

    async def audit(self, receiver: PublicKey) -> Audit:
        """Check every chain, signature, receipt by this receiver's key, and derived row; change nothing."""
        ...
