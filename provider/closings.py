"""The seam for what the provider does with a period: reports that are closed, mails that leave.

- A closed report is never changed: later knowledge is a further revision. Approval is
  the one thing that is added to it.
- What must leave is a row first, written in the transaction of what it tells of; sending
  comes after and may be repeated. A row's id says what it is: the same id twice is one row.
- Any number of processes may share the books: who claims a row has it for a while, and
  if he dies it is due again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meter.model import Instant


@dataclass(frozen=True, slots=True)
class Closing:
    """One revision of a period's report.

    Attributes:
        period: Its name, as in `2026-11`.
        revision: 1 for the first.
        made_at: When.
        document: The whole report, as bytes.
        sha256: Over them.
        approved_at, approved_by: When and by whom it was released; None: a draft.
    """

    period: str
    revision: int
    made_at: Instant
    document: bytes = field(repr=False)
    sha256: str
    approved_at: Instant | None = None
    approved_by: str | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """That there is a revision of a period's report, without its document; see `Closing`."""

    period: str
    revision: int
    made_at: Instant
    sha256: str
    approved_at: Instant | None
    approved_by: str | None


@dataclass(frozen=True, slots=True)
class Letter:
    """Something that has to leave.

    Attributes:
        id: Unchanged over all attempts; the same id twice is one letter.
        kind: What it is, as in `month` or `fleet`.
        target: An address.
        body: What to carry.
    """

    id: str
    kind: str
    target: str = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A letter that is ours to carry for a while. `attempts`: how often it was tried before."""

    letter: Letter
    attempts: int
    made_at: Instant


@dataclass(frozen=True, slots=True)
class LetterRow:
    """How a letter stands, for lists. `state`: `waiting`, `delivered` or `parked`; `said`: why not delivered."""

    id: str
    kind: str
    state: str
    made_at: Instant
    due_at: Instant
    attempts: int
    said: str | None
    settled_at: Instant | None


class Closings(Protocol):
    """Durable storage of closed periods."""

    async def close(self, closing: Closing, letters: Sequence[Letter] = ()) -> bool:
        """Keep a revision, with what has to leave. False: that revision is there already; nothing was written."""
        ...

    async def closings(self, period: str | None = None) -> Sequence[Closing]:
        """Return the revisions of a period, or of all, by period and revision."""
        ...

    async def revisions(self, period: str | None = None) -> Sequence[Revision]:
        """Return the revisions of a period, or of all, by period and revision, without their documents."""
        ...

    async def closing(self, period: str, revision: int) -> Closing | None:
        """Return one revision; None: there is none of that number."""
        ...

    async def lease(self, name: str, now: Instant, until: Instant) -> bool:
        """Take a piece of work for a while, so that one of several processes does it.

        Args:
            name: Which work.
            now: The present instant.
            until: From then on others may take it; `now` gives it back.

        Returns:
            Whether it is ours: nobody else has it now.
        """
        ...

    async def approve(
        self, period: str, revision: int, *, at: Instant, by: str, letters: Sequence[Letter] = ()
    ) -> bool:
        """Release a draft, with what has to leave. False: the newest is no such draft; nothing was written."""
        ...


class Post(Protocol):
    """Durable storage of what has to leave."""

    async def claim(
        self,
        now: Instant,
        *,
        most: int = 20,
        to_one: int | None = None,
        held: Sequence[str] = (),
        lease_ms: int = 120_000,
    ) -> Sequence[Claimed]:
        """Return letters that are due, the longest due first: for `lease_ms` nobody else gets them.

        Args:
            now: The present instant.
            most: So many at most.
            to_one: So many at most to one address; None: any number.
            held: The addresses of those that are in hand already, each as often as it is: they count.
            lease_ms: How long.
        """
        ...

    async def delivered(self, letter: str, at: Instant) -> None:
        """Settle a letter: the other side has it. Its body is let go. That is final: nothing is said of it after."""
        ...

    async def again(self, letter: str, due_at: Instant, said: str) -> None:
        """Put a letter off."""
        ...

    async def park(self, letter: str, at: Instant, said: str) -> None:
        """Set a letter aside: it will never be taken as it is. It is shown, and kept."""
        ...

    async def write(self, letters: Sequence[Letter], at: Instant) -> None:
        """Let letters wait, due at once. A known id is left as it is."""
        ...

    async def retry(self, now: Instant) -> int:
        """Let every parked letter wait again; return how many."""
        ...

    async def letters(self, *, settled_since: Instant | None = None) -> Sequence[LetterRow]:
        """Return what waits or is parked, and what was delivered since an instant, the youngest first."""
        ...
