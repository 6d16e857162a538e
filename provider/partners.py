"""Who is under whom, and what was agreed about each tenant: values and rules of the provider's tree. Pure.

The tree is provider → partner → partner …; a tenant hangs under one of them, or under
the provider himself. Every change is dated by a day as contracts are, `2026-11-01`: it
holds from that local day on, wherever the tenant is. The partner on the last day of a
period gets the period. No change is ever taken back: a later one takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Protocol, TypeVar

from delivery.address import is_address
from delivery.reporting.usage import Brand

LANGUAGES: Final = ("nl", "en", "it", "de")
BASES: Final = ("channels", "calls", "answered")
LOGO_TYPES: Final = ("image/png", "image/jpeg", "image/svg+xml")
LOGO_MAX_BYTES: Final = 256 * 1024
#: Since ever: before any period.
BEGINNING: Final = "0001-01-01"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner as he is from a day on.

    Attributes:
        id: His name in commands and files; never changes.
        name: As people know him.
        since: From this day on.
        parent: Under whom; None: under the provider himself.
        language: `nl`, `en`, `it` or `de`.
        email: Where his reports go.
        brand: In whose name his reports are read.
    """

    id: str
    name: str
    since: str = BEGINNING
    parent: str | None = None
    language: str = "en"
    email: tuple[str, ...] = field(default=(), repr=False)
    brand: Brand = field(default=Brand(""), repr=False)  # frozen

    @property
    def key(self) -> tuple[str, ...]:
        """What the changes of one partner have in common."""
        return (self.id,)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a tenant hangs from a day on, and what its contract says.

    Attributes:
        agent, tenant: Who measures, and the tenant's id there: the key of a tenant.
        since: From this day on.
        partner: Under whom; None: under the provider himself.
        customer: The provider's customer number; None: none. Several tenants may have one.
        capacity: The lines that the contract agrees; None: nothing agreed, the record's hold.
        packages: The sizes that can be bought, ascending; (): those that the agent was configured with.
        basis: The level that the contract bills; None: the record's.
        ended: From that day on the tenant is no longer there. Nothing is expected of it; what
            still comes belongs where it was last.
    """

    agent: str
    tenant: str
    since: str = BEGINNING
    partner: str | None = None
    customer: str | None = None
    capacity: int | None = None
    packages: tuple[int, ...] = ()
    basis: str | None = None
    ended: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What the changes of one tenant have in common."""
        return (self.agent, self.tenant)


class Partners(Protocol):
    """Durable storage of the tree and of what was agreed."""

    async def partners(self) -> Sequence[Partner]:
        """Return every change of every partner, by id and day."""
        ...

    async def placements(self) -> Sequence[Placement]:
        """Return every change of every tenant's place, by agent, tenant and day."""
        ...

    async def change(
        self,
        partners: Sequence[Partner],
        placements: Sequence[Placement],
        rule: Callable[[Sequence[Partner], Sequence[Placement]], Sequence[str]],
    ) -> Sequence[str]:
        """Write changes, if the rule finds nothing wrong with all that is there then.

        A change of the same partner or tenant and day takes the place of the former one.

        Returns:
            What the rule found; anything at all: nothing was written.
        """
        ...


Dated = TypeVar("Dated", Partner, Placement)


def in_force(changes: Iterable[Dated], day: str) -> Mapping[tuple[str, ...], Dated]:
    """Return what holds on a day, by key: of each the last change until then; none yet: it is left out.

    A place that has ended is there, and says so.
    """
    held: dict[tuple[str, ...], Dated] = {}
    for change in changes:
        before = held.get(change.key)
        if change.since <= day and (before is None or before.since <= change.since):
            held[change.key] = change
    return held


def problems(partners: Sequence[Partner], placements: Sequence[Placement]) -> list[str]:
    """Say what is wrong with the whole tree, over all its days: one sentence each, none twice."""
    changes: list[Partner | Placement] = [*partners, *placements]
    found = [sentence for one in changes for sentence in flaws(one)]
    for day in sorted({one.since for one in changes}):
        held = {one.id: one for one in in_force(partners, day).values()}
        found += _adrift(held, day)
        found += [
            f"tenant {place.tenant} of {place.agent}: there is no partner {place.partner} on {_said(day)}"
            for place in in_force(placements, day).values()
            if place.partner is not None and place.partner not in held
        ]
    return list(dict.fromkeys(found))


def flaws(one: Partner | Placement) -> list[str]:
    """Say what is wrong with one change by itself: one sentence each."""
    if isinstance(one, Partner):
        return [f"partner {one.id}: {flaw}" for flaw in _partner_flaws(one)]
    return [f"tenant {one.tenant} of {one.agent}: {flaw}" for flaw in _placement_flaws(one)]


def is_day(text: str) -> bool:
    """Say whether it is a day as `2026-11-01`."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _adrift(held: Mapping[str, Partner], day: str) -> Iterator[str]:
    """Say who hangs under nobody, or under himself, on a day."""
    for one in held.values():
        if one.parent is not None and one.parent not in held:
            yield f"partner {one.id}: there is no partner {one.parent} on {_said(day)}"
        above, seen = one.parent, {one.id}
        while above is not None and above in held and above not in seen:
            seen.add(above)
            above = held[above].parent
        if above == one.id:
            yield f"partner {one.id}: is under himself on {_said(day)}"


def _partner_flaws(one: Partner) -> Iterator[str]:
    if not _NAME.fullmatch(one.id):
        yield "an id has letters, digits, dots, dashes and underscores, at most 64"
    if not one.name.strip() or not one.name.isprintable():
        yield "he has no name"
    if not is_day(one.since):
        yield "since is a day like 2026-11-01"
    if one.language not in LANGUAGES:
        yield f"the language is one of {', '.join(LANGUAGES)}"
    if not all(map(is_address, one.email)):
        yield "an address is not one plain e-mail address in ASCII"
    yield from _brand_flaws(one.brand)


def _brand_flaws(brand: Brand) -> Iterator[str]:
    if not all(address is None or is_address(address) for address in (brand.sender, brand.reply_to)):
        yield "sender and reply_to are plain e-mail addresses in ASCII"
    if not _COLOUR.fullmatch(brand.colour):
        yield "a colour is written #rrggbb"
    if brand.logo is not None:
        media_type, content = brand.logo
        if media_type not in LOGO_TYPES:
            yield f"a logo is one of {', '.join(LOGO_TYPES)}"
        if len(content) > LOGO_MAX_BYTES:
            yield f"a logo has at most {LOGO_MAX_BYTES // 1024} KiB"


def _placement_flaws(one: Placement) -> Iterator[str]:
    if not _NAME.fullmatch(one.agent) or not _NAME.fullmatch(one.tenant):
        yield "an id has letters, digits, dots, dashes and underscores, at most 64"
    if not is_day(one.since):
        yield "since is a day like 2026-11-01"
    if one.customer is not None and not (one.customer.strip() and one.customer.isprintable()):
        yield "a customer number is one line of text"
    if one.capacity is not None and one.capacity < 0:
        yield "a capacity is a number of lines"
    if any(size < 1 for size in one.packages) or list(one.packages) != sorted(set(one.packages)):
        yield "packages are numbers of lines, ascending"
    if one.basis is not None and one.basis not in BASES:
        yield f"the basis is one of {', '.join(BASES)}"


def _said(day: str) -> str:
    return "any day" if day == BEGINNING else day
