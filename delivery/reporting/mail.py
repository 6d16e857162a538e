"""The month as a mail: the main figures and what is missing, in the reader's brand; the report itself is attached.

Agent and provider use it alike. The same report, recipient and attachments give the
same bytes, Message-ID included: nothing here reads a clock or draws lots.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from delivery import mail
from delivery.letter import Bar, bar
from delivery.reporting import overview
from delivery.reporting.sheet import sheet
from delivery.reporting.usage import Brand, Report, State, TenantUsage
from delivery.wording import Wording, wording
from meter.model import Instant

#: (file name, media type, content) of what goes with a mail.
Attachment: TypeAlias = tuple[str, str, bytes]

#: The media type of a signed record (RFC 7515): a mail that brings one says how to check it.
SIGNED: Final = "application/jose"

#: As many tenants are named in a mail; the report names all.
NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class MonthLetter:
    """One mail's sentences, in the order in which they are read.

    Attributes:
        subject: One line.
        headline: What it is about.
        good: Whether nothing is missing; `verdict`: the same as a sentence, "" if there is nothing to say of it.
        lines: Below the verdict, those that are missing.
        figure, caption, bar: One tenant's peak beside its capacity; "" and None in a report on several.
        facts: (what, figure, a word on it or "").
        notes: What has to be known to read the figures right.
        attached: What goes with it, by file name; `attached_label` stands before them.
        small: What identifies the mail and its times.
    """

    subject: str
    headline: str
    good: bool
    verdict: str
    lines: tuple[str, ...]
    figure: str
    caption: str
    bar: Bar | None
    facts: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    attached: tuple[str, ...]
    attached_label: str
    small: tuple[str, ...]


def report_mail(
    report: Report, *, sender: str, recipient: str, attachments: Sequence[Attachment] = ()
) -> EmailMessage:
    """Return the mail that brings a report to one recipient. `as_bytes` of it is a parcel's body.

    Args:
        report: What it tells; in its language and brand.
        sender: The address it comes from.
        recipient: One address.
        attachments: The report in its formats.

    Raises:
        ValueError: No such language, an address that mail can't use, or a colour that is not `#rrggbb`.
    """
    letter = report_letter(report, wording(report.language), attachments)
    topic = f"report/{report.partner or ''}/{report.period}/{report.revision}"
    return _composed(
        letter,
        report.brand,
        report.language,
        sender=sender,
        recipient=recipient,
        topic=topic,
        at=report.made_at,
        attachments=attachments,
    )


def statement_mail(
    usage: TenantUsage,
    *,
    period: str,
    language: str,
    brand: Brand,
    made_at: Instant,
    sender: str,
    recipient: str,
    attachments: Sequence[Attachment] = (),
) -> EmailMessage:
    """Return the mail that brings one tenant's statement to one recipient.

    Args:
        usage: Whose.
        period: The period's name, as in `2026-11`.
        language: `nl`, `en`, `it` or `de`.
        brand: In whose name it is read.
        made_at: When the figures were put together: the mail's date.
        sender: The address it comes from.
        recipient: One address.
        attachments: The statement, and the signed record itself.

    Raises:
        ValueError: No such language, an address that mail can't use, or a colour that is not `#rrggbb`.
    """
    letter = statement_letter(usage, period, wording(language), attachments)
    proof = "" if usage.proof is None else usage.proof.sha256
    return _composed(
        letter,
        brand,
        language,
        sender=sender,
        recipient=recipient,
        topic=f"statement/{usage.agent}/{usage.tenant}/{period}/{proof}",
        at=made_at,
        attachments=attachments,
    )


def stem(report: Report) -> str:
    """Return how a report's files are called, without their ending: `usage-2026-11-noorderlicht-2`."""
    parts = ("usage", report.period, report.partner or "", str(report.revision))
    return "-".join(filter(None, (re.sub(r"[^A-Za-z0-9.-]+", "-", part).strip("-") for part in parts)))


def report_letter(report: Report, words: Wording, attachments: Iterable[Attachment] = ()) -> MonthLetter:
    """Say a report in a mail's few sentences."""
    page = overview.overview(report, words)
    values = {"name": report.name, "period": page.period}
    if report.missing:
        subject = words.say("report.mail.subject_missing", n=len(report.missing), **values)
    elif report.revision > 1:
        subject = words.say("report.mail.subject_revised", revision=report.revision, **values)
    else:
        subject = words.say("report.mail.subject_complete", **values)
    lines = [f"{one.name}: {one.said}" for one in page.lacking]
    return MonthLetter(
        subject=subject,
        headline=page.title,
        good=page.complete,
        verdict=page.verdict,
        lines=_shortened(lines, words),
        figure="",
        caption="",
        bar=None,
        facts=tuple((tile.what, tile.figure, tile.said) for tile in page.tiles),
        notes=tuple(_notes(report, page, words)),
        attached=tuple(name for name, _, _ in attachments),
        attached_label=words.say("report.mail.attached"),
        small=page.small,
    )


def statement_letter(
    usage: TenantUsage, period: str, words: Wording, attachments: Iterable[Attachment] = ()
) -> MonthLetter:
    """Say one tenant's statement in a mail's few sentences."""
    zone = ZoneInfo(usage.timezone)
    name = overview.period_name(period, usage.start, usage.end, zone, words)
    page = sheet(usage, words)
    attached = tuple(attachments)
    signed = any(media == SIGNED for _, media, _ in attached)
    key = "corrected" if usage.state is State.CORRECTED else "subject"
    known = usage.peak is not None and usage.capacity
    return MonthLetter(
        subject=words.say(f"report.mail.statement_{key}", name=usage.name, period=name),
        headline=words.say("report.mail.statement_subject", name=usage.name, period=name),
        good=usage.state in (State.FINAL, State.CORRECTED),
        verdict=page.notes[0] if page.badge else "",  # the state's own note comes first
        lines=(),
        figure=page.cells.peak,
        caption=page.counted,
        bar=bar(usage.peak.level, usage.capacity, words) if known and usage.peak and usage.capacity else None,
        facts=tuple((what, figure, "") for what, figure in page.facts),
        notes=(*page.notes[bool(page.badge) :], *((words.say("report.mail.verify"),) if signed else ())),
        attached=tuple(each for each, _, _ in attached),
        attached_label=words.say("report.mail.attached"),
        small=(
            overview.span(usage.start, usage.end, zone, usage.timezone, words),
            *(() if usage.proof is None else (f"{words.say('report.proof.record')}: {usage.proof.record}",)),
        ),
    )


def _notes(report: Report, page: overview.Overview, words: Wording) -> list[str]:
    over = [one.name for _, sheets in page.groups for one in sheets if one.over]
    if over:
        names = ", ".join(over[:NAMED])
        if len(over) > NAMED:
            names = words.say("report.mail.more", names=names, n=len(over) - NAMED)
        notes = [words.say("report.mail.over", n=len(over), names=names)]
    else:
        notes = [words.say("report.mail.calm")]
    if page.unsure:
        notes.append(page.unsure)
    if report.differences:
        notes.append(words.say("report.mail.changed", n=len(report.differences)))
    return notes


def _shortened(lines: list[str], words: Wording) -> tuple[str, ...]:
    """Return the first lines, and how many more there are."""
    if len(lines) <= NAMED:
        return tuple(lines)
    last = words.say("report.mail.more", names=lines[NAMED - 1], n=len(lines) - NAMED)
    return (*lines[: NAMED - 1], last)


def _composed(
    letter: MonthLetter,
    brand: Brand,
    language: str,
    *,
    sender: str,
    recipient: str,
    topic: str,
    at: Instant,
    attachments: Sequence[Attachment],
) -> EmailMessage:
    look = mail.Brand(brand.name, brand.colour, reply_to=brand.reply_to, footer=brand.footer)
    message = mail.compose(
        letter,
        template="report_mail",
        brand=look,
        language=language,
        sender=sender,
        recipient=recipient,
        topic=topic,
        at=at,
    )
    for name, media, content in attachments:
        main, _, sub = media.partition("/")
        message.add_attachment(
            content, maintype=main, subtype=sub, filename=mail.one_line(name), cte="base64"
        )
    if attachments:
        boundary = message["Message-ID"].strip("<>").partition("@")[0]
        message.set_boundary(f"=_{boundary}-whole")
        message["Content-Language"] = language  # making it multipart took the header to the inner part
    return message
