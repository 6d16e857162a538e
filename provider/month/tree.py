"""Who is below whom at the end of a period: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from delivery.reporting.usage import Brand


@dataclass(frozen=True, slots=True)
class Member:
    """A partner, as far as a report is about him.

    Attributes:
        id: Which one.
        name: As people know him.
        parent: Under whom; None: under the provider himself.
        language: In which he reads.
        brand: In whose name he reads.
    """

    id: str
    name: str
    parent: str | None
    language: str
    brand: Brand


@dataclass(frozen=True, slots=True)
class Tree:
    """The partners below a provider. One whose parent is not among them hangs under the provider himself.

    Attributes:
        members: The partners, by id. No circles: what writes them refuses those.
    """

    members: Mapping[str, Member]

    def children(self, of: str | None) -> list[Member]:
        """Return those right under a partner, or under the provider, by name."""
        return sorted(
            (one for one in self.members.values() if self._parent(one) == of),
            key=lambda one: (one.name.casefold(), one.id),
        )

    def order(self) -> list[str | None]:
        """Return the provider (None) and every partner, each before those below him, siblings by name."""
        return list(self._walk(None))

    def above(self, partner: str | None) -> Iterator[str]:
        """Yield a partner and those above him, upwards, without the provider."""
        while partner is not None and partner in self.members:
            yield partner
            partner = self._parent(self.members[partner])

    def _walk(self, of: str | None) -> Iterator[str | None]:
        yield of
        for child in self.children(of):
            yield from self._walk(child.id)

    def _parent(self, one: Member) -> str | None:
        return one.parent if one.parent in self.members else None
