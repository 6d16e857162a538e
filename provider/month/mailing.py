"""Approving a revision: whoever gets his report by mail gets it, in the transaction that approves it.

- A partner whose report says nothing else than the one that was approved last gets none.
- The same revision, partner and address are one letter, however often it is written.
- A partner's letter goes to the addresses that he has now, in the language and the brand
  that he had when the revision was made.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from delivery import mail
from delivery.reporting import columns
from delivery.reporting.html import report_html
from delivery.reporting.mail import Attachment, report_letter, report_mail, stem
from delivery.reporting.pdf import PdfUnavailableError, pdf
from delivery.reporting.usage import Report
from delivery.reporting.xlsx import XlsxUnavailableError, xlsx
from delivery.wording import wording
from meter.model import Instant
from provider.closings import Letter, Post
from provider.month.closing import NotClosable, approved, opened, revised, stored
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

    operator: tuple[str, ...] = field(repr=False)
    sender: str = field(repr=False)
    today: str


@dataclass(frozen=True, slots=True)
class Approved:
    """What approving came to.

    Attributes:
        revision: Which revision is approved now.
        new: It was not before.
        letters: How many letters leave for it.
        unaddressed: The partners whose report goes nowhere: they have no address.
    """

    revision: int
    new: bool
    letters: int
    unaddressed: tuple[str, ...] = ()


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
        letters: Sequence[Letter] = ()
        unaddressed: tuple[str, ...] = ()
        if addressees is not None:
            to = await _recipients(shelf, addressees)
            base = approved(kept)
            before = (
                None if base is None else await opened(await stored(shelf.closings, period, base.revision))
            )
            news = await asyncio.to_thread(_news, await opened(closing), before)
            letters = await asyncio.to_thread(_letters, news, to, addressees.sender)
            unaddressed = tuple(one.partner for one in news if one.partner and not to.get(one.partner))
        done = await shelf.closings.approve(period, closing.revision, at=now, by=by, letters=letters)
        if done:
            log.info("month.approved", period=period, revision=closing.revision, letters=len(letters))
            return Approved(closing.revision, new=True, letters=len(letters), unaddressed=unaddressed)


async def again(
    shelf: Shelf, post: Post, period: str, addressees: Addressees, *, now: Instant, partner: str | None = None
) -> Approved:
    """Write the letters of the last approved revision of a period again, to the addresses of now.

    Args:
        shelf: Where it is kept.
        post: Where letters wait.
        period: The period's name.
        addressees: Who gets mail.
        now: The present instant; a letter that is written again is one of its own.
        partner: His only; None: everybody's, and the operator's.

    Raises:
        NotClosable: It was not approved, or he has no report in it.
    """
    base = approved(await shelf.closings.revisions(period))
    if base is None:
        await stored(shelf.closings, period)
        raise NotClosable(f"{period} was not approved", f"type: pbx-meter-provider approve {period}")
    reports = await opened(await stored(shelf.closings, period, base.revision))
    to = await _recipients(shelf, addressees)
    meant = [one for one in (reports.whole, *reports.partners) if partner is None or one.partner == partner]
    if not meant:
        raise NotClosable(f"{partner} has no tenants in {period}", "look at: pbx-meter-provider partner list")
    letters = await asyncio.to_thread(_letters, meant, to, addressees.sender)
    letters = [replace(one, id=f"{one.id}/{now}") for one in letters]
    await post.write(letters, now)
    unaddressed = tuple(one.partner for one in meant if one.partner and not to.get(one.partner))
    return Approved(base.revision, new=False, letters=len(letters), unaddressed=unaddressed)


def asked(whole: Report, addressees: Addressees) -> list[Letter]:
    """Return what tells the operator that a revision waits for approval: its main figures, and what to type."""
    words = wording(whole.language)
    letter = report_letter(whole, words)
    type_ = f"pbx-meter-provider approve {whole.period} --revision {whole.revision}"
    letter = replace(
        letter,
        subject=words.say("approval.subject", what=letter.subject),
        notes=(words.say("approval.waits"), words.say("approval.next", command=type_), *letter.notes),
    )
    brand = whole.brand
    look = mail.Brand(brand.name, brand.colour, reply_to=brand.reply_to, footer=brand.footer)
    topic = f"draft/{whole.period}/{whole.revision}"
    return [
        Letter(
            f"{topic}/{_whom(recipient)}",
            "draft",
            recipient,
            mail.compose(
                letter,
                template="report_mail",
                brand=look,
                language=whole.language,
                sender=brand.sender or addressees.sender,
                recipient=recipient,
                topic=topic,
                at=whole.made_at,
            ).as_bytes(),
        )
        for recipient in addressees.operator
    ]


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


def _news(reports: Reports, before: Reports | None) -> list[Report]:
    """Return the reports that say something else than those that were approved last, and the whole.

    Mostly that is what the revision lists as its differences. But another one may have been
    approved since it was compared: then what was approved is what its readers know.
    """
    if before is None:
        return [reports.whole, *reports.partners]
    if reports.whole.compared != before.whole.revision:
        reports = revised(reports, reports.whole.revision, before)
    return [reports.whole, *(one for one in reports.partners if one.differences or one.compared is None)]


def _letters(
    reports: Iterable[Report], to: Mapping[str | None, tuple[str, ...]], sender: str
) -> list[Letter]:
    return [letter for report in reports for letter in _to(report, to.get(report.partner, ()), sender)]


def _to(report: Report, recipients: tuple[str, ...], sender: str) -> Iterator[Letter]:
    files = attachments(report) if recipients else ()
    for recipient in recipients:
        message = report_mail(
            report, sender=report.brand.sender or sender, recipient=recipient, attachments=files
        )
        id_ = f"month/{report.period}/{report.revision}/{report.partner or ''}/{_whom(recipient)}"
        yield Letter(id_, "month", recipient, message.as_bytes())


def _whom(recipient: str) -> str:
    return hashlib.sha256(recipient.encode()).hexdigest()[:16]
