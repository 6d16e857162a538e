"""Closing a period: a numbered revision of its reports, written once, approved by somebody, then mailed.

- A revision never changes. What comes later (a late final, a correction) makes the next
  one, which lists what it states otherwise than the last approved one; without such a
  thing closing again makes nothing.
- Only the newest revision can be approved: an older one is known to be wrong.
- Nothing is mailed that was not approved.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from delivery.reporting.usage import Difference, Heap, Report
from meter.model import Instant
from provider.closings import Closing, Closings, Letter, Revision
from provider.month import reports
from provider.month.differences import differences, named
from provider.month.figuring import heap
from provider.month.gathering import gather
from provider.month.reports import Reports
from provider.month.sources import Shelf, Span
from provider.month.tree import Member


class NotClosable(Exception):  # noqa: N818  # it says what is so
    """It can't be closed, or approved. The message is a sentence, `hint` the next thing to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Closed:
    """What closing came to: the newest revision, what it states, and whether it is new."""

    closing: Closing
    reports: Reports = field(repr=False)
    new: bool


async def close(
    shelf: Shelf,
    span: Span,
    provider: Member,
    now: Instant,
    tell: Callable[[Reports], Sequence[Letter]] = lambda _: (),
) -> Closed:
    """Close a period, or close it again: make a new revision if anything is stated otherwise than in the newest.

    Args:
        shelf: Where everything is kept.
        span: The period.
        provider: The provider himself: name, language and brand of the whole report.
        now: The present instant.
        tell: Returns what has to leave with a new revision.

    Raises:
        NotClosable: The period has not ended, nobody belongs to it, or it was closed in another zone.
    """
    name = span.period.name
    if now < span.period.end:
        raise NotClosable(f"{name} has not ended in {span.tz}", "wait until it has, or close another period")
    while True:
        kept = await shelf.closings.revisions(name)
        made = await gather(shelf, span, provider, now)
        if not kept and not made.whole.tenants:
            raise NotClosable(f"no tenant belongs to {name}", "look at: pbx-meter-provider agents")
        if kept:
            last = await stored(shelf.closings, name, kept[-1].revision)
            newest = await opened(last)
            _same_zone(newest, span)
            if await asyncio.to_thread(reports.same, newest, made):
                return Closed(last, newest, new=False)
            base = approved(kept) or kept[-1]
            before = newest
            if base is not kept[-1]:
                before = await opened(await stored(shelf.closings, name, base.revision))
            made = await asyncio.to_thread(revised, made, kept[-1].revision + 1, before)
        document = await asyncio.to_thread(reports.written, made)
        if approved(await shelf.closings.revisions(name)) != approved(kept):
            continue  # somebody approved one meanwhile: that is what is stated otherwise now
        sha256 = hashlib.sha256(document).hexdigest()
        closing = Closing(name, made.whole.revision, now, document, sha256)
        if await shelf.closings.close(closing, await asyncio.to_thread(tell, made)):
            return Closed(closing, made, new=True)
        # Somebody else closed it at the same time: look again at what there is now.


def approved(kept: Sequence[Revision]) -> Revision | None:
    """Return the last revision that was approved; None: none was."""
    return next((one for one in reversed(kept) if one.approved_at is not None), None)


async def stored(closings: Closings, period: str, revision: int | None = None) -> Closing:
    """Return a revision of a period.

    Args:
        closings: Where revisions are kept.
        period: The period's name.
        revision: Which; None: the newest.

    Raises:
        NotClosable: It was not closed, or has no such revision.
    """
    if revision is None:
        revision = max((one.revision for one in await closings.revisions(period)), default=1)
    found = await closings.closing(period, revision)
    if found is not None:
        return found
    if await closings.revisions(period):
        raise NotClosable(
            f"{period} has no revision {revision}", f"type: pbx-meter-provider revisions {period}"
        )
    raise NotClosable(f"{period} was not closed", f"type: pbx-meter-provider close {period}")


async def opened(closing: Closing) -> Reports:
    """Return what a revision states."""
    return await asyncio.to_thread(reports.read, closing.document)


def revised(made: Reports, revision: int, before: Reports) -> Reports:
    """Return reports as a later revision that lists what it states otherwise than an earlier one.

    Each report is compared with the earlier one of the same partner: a tenant that moved is
    gone from the one and new in the other, and neither reads of the other.
    """

    def report(now: Report) -> Report:
        was = before.of(now.partner)
        if was is None:
            return replace(now, revision=revision, compared=None, differences=())
        found = differences(was.tenants, now.tenants)
        summed = _heap_differences(now.partner or "", was.heap, now.heap)
        return replace(now, revision=revision, compared=before.whole.revision, differences=(*found, *summed))

    emptied = [
        replace(one, made_at=made.whole.made_at, tenants=(), partners=(), customers=(), heap=heap((), 0))
        for one in before.partners  # all his tenants are somebody else's now: he hears that, too
        if one.tenants and made.of(one.partner) is None
    ]
    return Reports(report(made.whole), tuple(report(one) for one in (*made.partners, *emptied)))


def _same_zone(newest: Reports, span: Span) -> None:
    """Refuse to close a period again elsewhere: every bound and every partner's last day would move."""
    zone = newest.whole.timezone
    if zone != str(span.tz):
        raise NotClosable(
            f"{span.period.name} was closed in {zone}; this would close it in {span.tz}",
            f'give the settings with --config, where [month] says timezone = "{zone}"',
        )


def _heap_differences(partner: str, was: Heap, now: Heap) -> Iterator[Difference]:
    """Yield what the heap of a partner (or the whole) states otherwise."""
    old, new = dict(named("heap", was)), dict(named("heap", now))
    for what in dict.fromkeys([*new, *old]):
        if old.get(what) != new.get(what):
            yield Difference("", partner, what, old.get(what), new.get(what))
