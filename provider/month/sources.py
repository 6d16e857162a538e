"""What the closing of a period asks of the books, and the values it works on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias, cast
from zoneinfo import ZoneInfo

from meter.model import Instant
from meter.periods import DAY_MS, KINDS, Kind, Period, moment, named
from provider.books import Books
from provider.closings import Closings
from provider.month.tree import Member, Tree
from provider.partners import Partners, Placement, in_force

#: An agent, and a tenant's id there: the key of a tenant.
Key: TypeAlias = tuple[str, str]


#: A period of one name lies within so much of that of another zone, whatever the zones.
ZONES_MS: Final = 2 * DAY_MS


@dataclass(frozen=True, slots=True)
class Span:
    """A period as the provider has it.

    Attributes:
        period: Its name, and its bounds in the provider's zone.
        kind: `month`, `day`, `hour` or `5min`.
        tz: The zone.
    """

    period: Period
    kind: Kind
    tz: ZoneInfo

    @property
    def last_day(self) -> str:
        """The local day on which it ends, as `2026-11-30`: who is partner then gets it."""
        return day_of(self.period.end - 1, self.tz)

    def holds(self, start: Instant, end: Instant) -> bool:
        """Whether a record's bounds can be those of the period: no zone is further than two days from another.

        It may begin later: an agent that changed what its periods are begins where the last one ended.
        """
        within = self.period.start - ZONES_MS <= start < end
        return within and abs(end - self.period.end) <= ZONES_MS


def span(name: str, tz: ZoneInfo) -> Span:
    """Return the period of that name.

    Raises:
        ValueError: There is none; the message shows how a month is written.
    """
    for kind in cast("tuple[Kind, ...]", KINDS):
        try:
            return Span(named(name, kind, tz), kind, tz)
        except ValueError:
            continue
    raise ValueError(f"{name!r} is no period: write a month like 2026-11")


def day_of(at: Instant, tz: ZoneInfo) -> str:
    """Return the local day of an instant, as `2026-11-30`."""
    return moment(at, tz).date().isoformat()


class Shelf(Protocol):
    """All that is kept, as far as a period is closed from it."""

    @property
    def books(self) -> Books:
        """What agents reported."""
        ...

    @property
    def partners(self) -> Partners:
        """The tree, and what was agreed."""
        ...

    @property
    def closings(self) -> Closings:
        """The revisions that were made."""
        ...


async def places(shelf: Shelf, span: Span) -> dict[Key, Placement]:
    """Return where tenants hang on the last day of a period, and what was agreed then."""
    found = in_force(await shelf.partners.placements(), span.last_day)
    return {(place.agent, place.tenant): place for place in found.values()}


async def tree(shelf: Shelf, span: Span, today: str) -> Tree:
    """Return the partners: under whom as on the last day of a period, all else as today."""
    changes = await shelf.partners.partners()
    now = in_force(changes, today)
    then = {one.id: one for one in in_force(changes, span.last_day).values()}
    return Tree(
        {
            one.id: Member(
                one.id,
                known.name,
                one.parent,
                known.language,
                replace(known.brand, name=known.brand.name or known.name),
            )
            for one in then.values()
            for known in [now.get(one.key, one)]
        }
    )
