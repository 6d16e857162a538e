"""Approving a revision: whoever gets his report by mail gets it, in the transaction that approves it.

- A partner whose report says nothing else than the one that he got gets none.
- The same revision, partner and address are one letter, however often it is written.
- A partner's letter goes to the addresses that he has now, in the language and the brand
  that he had when the revision was made.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from delivery.reporting import columns
from delivery.reporting.html import report_html
from delivery.reporting.mail import Attachment, report_mail, stem
from delivery.reporting.pdf import PdfUnavailableError, pdf
from delivery.reporting.usage import Report
from delivery.reporting.xlsx import XlsxUnavailableError, xlsx
from meter.model import Instant
from provider.closings import Letter
from provider.month.closing import NotClosable, opened, stored
from provider.month.reports import Reports
from provider.month.sources import Shelf
from provider.partners import in_force

log = structlog.get_logger(__name__)

#: Of so many tenants at most a PDF goes with the mail: it has a page for every few of them.
MOST_PAGED: Final = 200

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass(frozen=True, slots=True)
class Addressees:
    """Who gets mail, and from whom.

    Attributes:
        operator: The provider's own addresses: the whole.
        sender: The address that reports come from, unless a brand has its own.
        today: The provider's local day, as `2026-12-03`: whose addresses are those of now.
    """

    operator: tuple[str, ...]
    sender: str
    today: str


@dataclass(frozen=True, slots=True)
class Approved:
    """What approving came to.

    Attributes:
        revision: Which revision is approved now.
        new: It was not before.
        letters: How many letters leave for it.
    """

    revision: int
    new: bool
    letters: int


async def approve(
    shelf: Shelf,
    period: str,
    addressees: Addressees | None,
    *,
    by: str,
    now: Instant,
    revision: int | None = None,
) -> Approved:
    """Approve the newest revision of a period, and write the letters that bring it to everybody.

    Args:
        shelf: Where it is kept.
        period: The period's name.
        addressees: Who gets mail; None: nobody, there is no mail server.
        by: Who approves.
        now: The present instant.
        revision: The revision that was looked at; None: the newest, whatever it is.

    Raises:
        NotClosable: It was not closed, or another revision than the newest is meant.
    """
    while True:
        kept = await shelf.closings.revisions(period)
        closing = await stored(shelf.closings, period)
        if revision not in (None, closing.revision):
            raise NotClosable(
                f"revision {revision} of {period} is not the newest: that is {closing.revision}",
                f"look at it: pbx-meter-provider report {period}; then approve that one",
            )
        if closing.approved_at is not None:
            return Approved(closing.revision, new=False, letters=0)
        first = all(one.approved_at is None for one in kept)
        letters: Sequence[Letter] = ()
        if addressees is not None:
            to = await _recipients(shelf, addressees)
            reports = await opened(closing)
            letters = await asyncio.to_thread(_letters, reports, to, addressees.sender, every=first)
        done = await shelf.closings.approve(period, closing.revision, at=now, by=by, letters=letters)
        if done:
            log.info("month.approved", period=period, revision=closing.revision, letters=len(letters))
            return Approved(closing.revision, new=True, letters=len(letters))


def attachments(report: Report) -> list[Attachment]:
    """Return a report's files as a mail brings them: to read, to import, to calculate with."""
    name, found = stem(report), []
    if len(report.tenants) <= MOST_PAGED:
        page = report_html(report)
        try:
            found.append((f"{name}.pdf", "application/pdf", pdf(page)))
        except PdfUnavailableError as error:
            log.warning("report.no_pdf", why=str(error))  # the same pages, as a browser shows them
            found.append((f"{name}.html", "text/html", page.encode()))
    found.append((f"{name}.csv", "text/csv", columns.csv_bytes(report)))
    try:
        found.append((f"{name}.xlsx", XLSX, xlsx(report)))
    except XlsxUnavailableError as error:
        log.warning("report.no_xlsx", why=str(error))  # the CSV has the same figures
    return found


async def _recipients(shelf: Shelf, addressees: Addressees) -> Mapping[str | None, tuple[str, ...]]:
    partners = in_force(await shelf.partners.partners(), addressees.today).values()
    return {None: addressees.operator} | {one.id: one.email for one in partners}


def _letters(
    reports: Reports, to: Mapping[str | None, tuple[str, ...]], sender: str, *, every: bool
) -> list[Letter]:
    """Return all letters of a revision; `every`: also those that say nothing new."""
    return [
        letter
        for report in (reports.whole, *reports.partners)
        if every or report.partner is None or report.differences or report.compared is None
        for letter in _to(report, to.get(report.partner, ()), sender)
    ]


def _to(report: Report, recipients: tuple[str, ...], sender: str) -> Iterator[Letter]:
    files = attachments(report) if recipients else ()
    for recipient in recipients:
        mail = report_mail(
            report, sender=report.brand.sender or sender, recipient=recipient, attachments=files
        )
        whom = hashlib.sha256(recipient.encode()).hexdigest()[:16]
        id_ = f"month/{report.period}/{report.revision}/{report.partner or ''}/{whom}"
        yield Letter(id_, "month", recipient, mail.as_bytes())
