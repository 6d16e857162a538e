"""What is done about months by the clock: the last one is closed on its day, what comes late is noticed.

- On the day that the settings name, and at every start and every day after it, each month
  that is over and not closed yet is closed.
- Every day what was closed is looked at again, in the zone in which it was closed: a late
  final, a correction or a change among the partners makes a further revision, which waits
  for approval like the first.
- Whoever approves is told of what waits for him, by mail, once for each revision.
- Of several processes that share the books one does the work; done twice it changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from delivery.reporting.usage import TenantUsage
from meter.model import Instant
from meter.periods import DAY_MS, MINUTE_MS, moment
from provider.closings import Letter
from provider.month.closing import Closed, NotClosable, close, opened, stored
from provider.month.gathering import counted, expected
from provider.month.mailing import Addressees, approve, asked
from provider.month.reports import Reports
from provider.month.sources import Shelf, Span, day_of, places, span, tree
from provider.month.tree import Member
from provider.partners import Placement
from provider.statements import SummaryRow

log = structlog.get_logger(__name__)

#: For so long late records make further revisions: agents keep what they could send for as long.
LATE_MS: Final = 397 * DAY_MS
#: For so long the work is ours; a process that died gives it up after that.
LEASE_MS: Final = 30 * MINUTE_MS
#: Who approved, where nobody has to.
ITSELF: Final = "itself"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When and how months are closed by themselves.

    Attributes:
        tz: Where the provider's months begin and end.
        close_on, at: The day of the next month, and the time of day.
        approved: Whether nobody has to approve.
        provider: The provider himself.
        addressees: Who gets mail, given the local day; None: nobody.
    """

    tz: ZoneInfo
    close_on: int
    at: time
    approved: bool
    provider: Member
    addressees: Callable[[str], Addressees | None]


class Months:
    """The recurring work over one shelf. To be asked often: it looks once a day, at the time of day.

    Args:
        shelf: Where everything is kept.
        rhythm: When and how.
    """

    def __init__(self, shelf: Shelf, rhythm: Rhythm) -> None:
        self._shelf = shelf
        self._rhythm = rhythm
        self._turn: date | None = None  # the day whose look was made last

    async def look(self, now: Instant) -> Sequence[Closed]:
        """Close what is due and make the revisions that are due, unless that was done today or somebody does it now.

        Returns:
            The revisions that were made.
        """
        local = moment(now, self._rhythm.tz)
        turn = local.date() if local.time() >= self._rhythm.at else local.date() - timedelta(days=1)
        if turn == self._turn:
            return ()
        if not await self._shelf.closings.lease("month", now, now + LEASE_MS):
            return ()
        try:
            closed = sorted({one.period for one in await self._shelf.closings.revisions()})
            fresh = due(local, self._rhythm.close_on, self._rhythm.at, closed)
            made: list[Closed] = []
            for name in fresh:
                with contextlib.suppress(NotClosable):  # before the first agent
                    made.append(await self._close(span(name, self._rhythm.tz), now))
            for name in closed:
                made += await self._again(name, now, fully=name == closed[-1])
        finally:
            await self._shelf.closings.lease("month", now, now)
        self._turn = turn
        return [one for one in made if one.new]

    async def _close(self, of: Span, now: Instant) -> Closed:
        name, today = of.period.name, day_of(now, self._rhythm.tz)
        to = self._rhythm.addressees(today)

        def ask(made: Reports) -> Sequence[Letter]:
            return () if to is None or self._rhythm.approved else asked(made.whole, to)

        closed = await close(self._shelf, of, self._rhythm.provider, now, ask)
        if closed.new:
            lacking = len(closed.reports.whole.missing)
            log.info("month.closed", period=name, revision=closed.closing.revision, missing=lacking)
        if self._rhythm.approved and closed.closing.approved_at is None:
            await approve(self._shelf, name, to, by=ITSELF, now=now)
        return closed

    async def _again(self, name: str, now: Instant, *, fully: bool) -> list[Closed]:
        """Look again at a period that was closed; `fully`: also for what only moves the bounds of a heap."""
        if span(name, self._rhythm.tz).period.end < now - LATE_MS:
            return []
        newest = await opened(await stored(self._shelf.closings, name))
        of = span(name, ZoneInfo(newest.whole.timezone))
        if fully or await outdated(self._shelf, of, newest):
            return [await self._close(of, now)]
        return []


def due(local: datetime, close_on: int, at: time, closed: Iterable[str]) -> list[str]:
    """Return the months that should be closed by now and are not: all since the last closed one, else the last.

    Args:
        local: The present moment in the provider's zone.
        close_on: The day of the next month.
        at: The time of day.
        closed: The periods that were closed; others than months don't matter.
    """
    months = [name for name in closed if len(name) == len("2026-11")]
    last = local.replace(day=1, tzinfo=None) - timedelta(days=1)
    if (local.day, local.time()) < (close_on, at):
        last = last.replace(day=1) - timedelta(days=1)
    if not months:
        return [f"{last:%Y-%m}"]
    found = []
    while f"{last:%Y-%m}" > max(months):
        found.append(f"{last:%Y-%m}")
        last = last.replace(day=1) - timedelta(days=1)
    return found[::-1]


async def outdated(shelf: Shelf, of: Span, newest: Reports) -> bool:
    """Whether records came, or places, contracts or the partners' tree were changed, since a revision was made."""
    said = {(one.agent, one.tenant): one for one in newest.whole.tenants}
    rows = {(row.agent, row.tenant): row for row in await counted(shelf.books, of)}
    placed = await places(shelf, of)
    lacking = {(one.agent, one.tenant) for one in await expected(shelf.books, of, placed, rows)}
    if said.keys() != rows.keys() | lacking:
        return True
    if any(
        _terms(placed.get(key, Placement(*key)), rows.get(key)) != _stated(one) for key, one in said.items()
    ):
        return True
    now = await tree(shelf, of, of.last_day)
    under = {
        (above, below)
        for partner in {one.partner for one in said.values()}
        for below in now.above(partner)
        for above in now.above(below)
    }
    return under != {(report.partner, id_) for report in newest.partners for id_, _, _ in report.partners}


def _terms(place: Placement, row: SummaryRow | None) -> tuple[object, ...]:
    """Return on what a tenant's figures rest by now; no row: nothing came."""
    recorded = (None, "channels", None) if row is None else (row.sha256, row.basis, row.capacity)
    sha256, basis, capacity = recorded
    capacity = capacity if place.capacity is None else place.capacity
    return sha256, place.partner, place.customer, place.basis or basis, capacity, place.packages


def _stated(one: TenantUsage) -> tuple[object, ...]:
    """Return on what a tenant's figures rest in a revision."""
    sha256 = None if one.proof is None else one.proof.sha256
    return sha256, one.partner, one.customer, one.basis, one.capacity, one.packages
