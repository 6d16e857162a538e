"""A period's reports, gathered from the books: every tenant that belongs to it, heaped by partner and customer.

- A tenant belongs to a period if anything came for it, or if it should have: at the period's
  end it has a place that was given from a day on; or it has one without a day and was reported
  before; or an agent with a good key enrolled for it before. What did not come is named as
  missing. Of a tenant whose place has ended nothing is expected.
- A record whose bounds can't be those of the period that it names counts as not come: one
  agent's clock must not stretch everybody's month.
- Who is partner at the end of the period gets all of it.
- Memory follows the partners' depth and the number of tenants, never the minutes: records
  and minute-series are read a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from delivery.reporting.reading import Contract, missing, tenant_usage
from delivery.reporting.usage import CustomerUsage, Heap, Report, TenantUsage
from meter import signature
from meter.model import Instant
from meter.periods import named
from meter.schema import UsageSummary
from meter.statement import Basis
from provider.books import Books, KeyState
from provider.month.figuring import Series, Sum, heap
from provider.month.reports import Reports
from provider.month.sources import Key, Shelf, Span, day_of, places, tree
from provider.month.tree import Member, Tree
from provider.partners import BEGINNING, Placement
from provider.statements import SeriesRow, SummaryRow

log = structlog.get_logger(__name__)

#: Records, and tenants' minute-series, that are in memory at once.
RECORDS: Final = 200
TENANTS: Final = 50

T = TypeVar("T")
#: Every heap that reports need: the tenants that make it, by their keys.
_Keys: TypeAlias = frozenset[Key]


@dataclass(frozen=True, slots=True)
class Expected:
    """A tenant of which something should have come; its name and zone as last told, None: never."""

    agent: str
    tenant: str
    name: str | None = None
    timezone: str | None = None


async def gather(shelf: Shelf, span: Span, provider: Member, made_at: Instant) -> Reports:
    """Return the reports of a period as the books know it now, as revision 1, compared with nothing.

    Args:
        shelf: Where everything is kept.
        span: The period.
        provider: The provider himself: his name, language and brand; his id says nothing.
        made_at: The present instant.
    """
    placed = await places(shelf, span)
    partners = await tree(shelf, span, day_of(made_at, span.tz))
    usages = await _usages(shelf.books, span, placed)
    return await _Heaps(shelf.books, partners, usages).reports(span, provider, made_at)


async def _usages(books: Books, span: Span, placed: Mapping[Key, Placement]) -> list[TenantUsage]:
    """Return what is known of every tenant of a period."""
    rows = await counted(books, span)
    found: list[TenantUsage] = []
    for part in _parts(rows, RECORDS):
        tokens = await books.signed([(row.agent, row.sha256) for row in part])
        found += await asyncio.to_thread(_read, part, tokens, placed)
    known = {(one.agent, one.tenant) for one in found}
    for one in await expected(books, span, placed, known):
        found.append(_missing(one, span, placed.get((one.agent, one.tenant))))
    return found


async def counted(books: Books, span: Span) -> list[SummaryRow]:
    """Return the newest statement of each tenant for a period, without those whose bounds can't be the period's."""
    rows = []
    for row in await books.summaries(period=span.period.name):
        if span.holds(row.start, row.end):
            rows.append(row)
        else:
            log.warning("month.bounds_refused", agent=row.agent, tenant=row.tenant, record=row.id)
    return rows


async def expected(
    books: Books, span: Span, placed: Mapping[Key, Placement], came: Collection[Key]
) -> list[Expected]:
    """Return the tenants of which something should have come for a period and did not, by agent and tenant.

    Args:
        books: What agents reported.
        span: The period.
        placed: Where tenants hang at its end (`places`).
        came: The tenants of which something came.
    """
    enrolled = await _enrolled(books, span.period.end)
    lacking = []
    for key in sorted({*placed, *enrolled}.difference(came)):
        place = placed.get(key)
        if place is not None and place.ended:
            continue
        told = await books.summaries(agent=key[0], tenant=key[1])
        dated = place is not None and place.since != BEGINNING
        if dated or key in enrolled or any(row.start < span.period.end for row in told):
            lacking.append(_last_told(key, told))
    return lacking


async def _enrolled(books: Books, before: Instant) -> set[Key]:
    """Return the tenants for which an agent enrolled before an instant, and still may report with a good key."""
    return {
        (agent.agent, tenant)
        for agent in await books.agents()
        if any(state is not KeyState.WITHDRAWN for _, state in agent.keys)
        for tenant, since in agent.since
        if since < before and tenant in agent.tenants
    }


def _last_told(key: Key, told: Sequence[SummaryRow]) -> Expected:
    last = max(told, key=lambda row: row.start, default=None)
    return Expected(*key, last.name, last.timezone) if last else Expected(*key)


def _read(
    rows: Sequence[SummaryRow], tokens: Mapping[Key, str], placed: Mapping[Key, Placement]
) -> list[TenantUsage]:
    """Return what records state. They were verified when they were taken, and are audited."""
    usages = []
    for row in rows:
        token = tokens[row.agent, row.sha256]
        payload = signature.unverified_payload(token, signature.TYP_RECORD)
        place = placed.get((row.agent, row.tenant), Placement(row.agent, row.tenant))
        usages.append(
            tenant_usage(
                UsageSummary.model_validate_json(payload),
                sha256=row.sha256,
                kid=signature.read_header(token, signature.TYP_RECORD).kid,
                contract=Contract(place.capacity, place.packages, place.basis),
                partner=place.partner,
                customer=place.customer,
            )
        )
    return usages


def _missing(one: Expected, span: Span, place: Placement | None) -> TenantUsage:
    """Return a tenant of which nothing came; its period is in its own zone, as far as that is known."""
    period, timezone = span.period, str(span.tz)
    if one.timezone is not None:
        # A zone that this machine does not know leaves it at the provider's.
        with contextlib.suppress(ZoneInfoNotFoundError, ValueError, OSError):
            period, timezone = named(period.name, span.kind, ZoneInfo(one.timezone)), one.timezone
    place = place or Placement(one.agent, one.tenant)
    return missing(
        *(one.agent, one.tenant, period, timezone),
        name=one.name,
        contract=Contract(place.capacity, place.packages, place.basis),
        partner=place.partner,
        customer=place.customer,
    )


class _Heaps:
    """The heaps of all partners and customers over one period.

    Args:
        books: Where the minute-series are.
        tree: The partners.
        usages: Every tenant.
    """

    def __init__(self, books: Books, tree: Tree, usages: Sequence[TenantUsage]) -> None:
        self._books = books
        self._tree = tree
        self._span = (min((u.start for u in usages), default=0), max((u.end for u in usages), default=0))
        rank = {partner: number for number, partner in enumerate(tree.order())}
        #: Whose tenants; a partner that the tree does not know leaves them to the provider.
        self._own: dict[str | None, list[TenantUsage]] = {}
        for usage in usages:
            partner = usage.partner if usage.partner in rank else None
            self._own.setdefault(partner, []).append(replace(usage, partner=partner))
        for own in self._own.values():
            own.sort(key=lambda u: (u.customer or "", u.name.casefold(), u.agent, u.tenant))
        self._heaps: dict[str | None, Heap] = {}
        self._below: dict[str | None, list[TenantUsage]] = {}
        self._customers: dict[_Keys, Heap] = {}

    async def reports(self, span: Span, provider: Member, made_at: Instant) -> Reports:
        """Return everybody's report."""
        await self._heaped(None)

        async def report(member: Member, partner: str | None) -> Report:
            return Report(
                period=span.period.name,
                start=span.period.start,
                end=span.period.end,
                timezone=str(span.tz),
                revision=1,
                made_at=made_at,
                partner=partner,
                name=member.name,
                language=member.language,
                brand=member.brand,
                tenants=tuple(self._below[partner]),
                partners=tuple(self._partners(partner)),
                customers=tuple([one async for one in self._customers_of(partner)]),
                heap=self._heaps[partner],
            )

        members = self._tree.members
        ids = [one for one in self._tree.order() if one is not None and self._below[one]]
        return Reports(await report(provider, None), tuple([await report(members[one], one) for one in ids]))

    async def _heaped(self, partner: str | None) -> Sum:
        """Heap a partner's tenants and those of everybody below him; return their sum."""
        total = Sum(*self._span)
        own = self._own.get(partner, [])
        await self._add(total, own)
        below = list(own)
        for child in self._tree.children(partner):
            part = await self._heaped(child.id)
            if self._below[child.id]:
                await asyncio.to_thread(total.absorb, part)
                below += self._below[child.id]
        self._below[partner] = below
        self._heaps[partner] = await asyncio.to_thread(lambda: heap(below, total.highest))
        return total

    async def _add(self, total: Sum, usages: Sequence[TenantUsage]) -> None:
        """Add tenants to a sum, with their minute-series."""
        for part in _parts(usages, TENANTS):
            keys = [(one.agent, one.tenant) for one in part if one.peak is not None]
            rows = await self._books.series(*self._span, of=keys) if keys else []
            await asyncio.to_thread(_add, total, part, rows)

    def _partners(self, of: str | None) -> Iterator[tuple[str, str, Heap]]:
        """Yield those below a partner, and himself, where tenants are."""
        for one in self._tree.order():
            if one is not None and self._below[one] and (of is None or of in self._tree.above(one)):
                yield one, self._tree.members[one].name, self._heaps[one]

    async def _customers_of(self, partner: str | None) -> AsyncIterator[CustomerUsage]:
        """Yield a partner's customers with more than one tenant, by number."""
        by_number: dict[str, list[TenantUsage]] = {}
        for usage in self._below[partner]:
            if usage.customer is not None:
                by_number.setdefault(usage.customer, []).append(usage)
        for customer, usages in sorted(by_number.items()):
            if len(usages) > 1:
                keys = sorted((one.agent, one.tenant) for one in usages)
                yield CustomerUsage(customer, tuple(keys), await self._customer(usages))

    async def _customer(self, usages: Sequence[TenantUsage]) -> Heap:
        """Return some tenants as one; a customer of a partner is one of everybody above him."""
        keys = frozenset((one.agent, one.tenant) for one in usages)
        if keys not in self._customers:
            total = Sum(*self._span)
            await self._add(total, usages)
            self._customers[keys] = await asyncio.to_thread(lambda: heap(usages, total.highest))
        return self._customers[keys]


def _add(total: Sum, usages: Iterable[TenantUsage], rows: Iterable[SeriesRow]) -> None:
    days: dict[Key, list[SeriesRow]] = {}
    for row in rows:
        days.setdefault((row.agent, row.tenant), []).append(row)
    for usage in usages:
        series = [
            Series(row.start, row.runs(cast("Basis", usage.basis)))
            for row in days.get((usage.agent, usage.tenant), ())
        ]
        total.add(usage, series)


def _parts(all_of: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(all_of), most):
        yield all_of[first : first + most]
