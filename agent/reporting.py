"""What a bill is made from is told by mail as it is sealed: each final and each correction, a mail per address.

The rows are made in the transaction that seals (agent.sealing), so a record that is there
has its mails, and has them once. The record is attached as it was signed: whoever has the
agent's public key can check it. Nothing here sends anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from agent.sealing import SUMMARIES
from agent.store.records import Sealed
from delivery.reporting.mail import SIGNED, statement_mail
from delivery.reporting.reading import tenant_usage
from delivery.reporting.statement import statement_html
from delivery.reporting.usage import Brand
from meter import signature
from meter.schema import UsageSummary, validate

log = structlog.get_logger(__name__)

#: One outbox row: id, lane, target, body.
Row = tuple[str, str, str, bytes]


@dataclass(frozen=True, slots=True)
class Reader:
    """How a tenant's statement is read: in which language, and in whose name."""

    language: str
    brand: Brand


def statements(
    addresses: Sequence[str], sender: str, reader: Callable[[str], Reader]
) -> Callable[[Sealed], list[Row]]:
    """Return what turns a sealed record into the mails that tell of it.

    Args:
        addresses: Who gets every tenant's.
        sender: The address they come from.
        reader: Returns how a tenant's is read, by its id; also of one that is configured no longer.

    Returns:
        A function that gives no rows for what no bill is made from. It raises nothing: a
        record that can't be put into words is sealed all the same.
    """

    def tell(sealed: Sealed) -> list[Row]:
        if sealed.kind not in SUMMARIES:
            return []
        try:
            return _rows(sealed, addresses, sender, reader)
        except Exception:
            log.exception("statement.not_composed", id=sealed.id)
            return []

    return tell


def _rows(
    sealed: Sealed, addresses: Sequence[str], sender: str, reader: Callable[[str], Reader]
) -> list[Row]:
    """Return a mail for each address, with the statement as a page and the record as it was signed."""
    jws = sealed.jws or ""
    record = validate(signature.unverified_payload(jws, signature.TYP_RECORD))
    if not isinstance(record, UsageSummary):
        return []
    read = reader(record.data.tenant.id)
    period = record.data.period.name
    kid = signature.read_header(jws, signature.TYP_RECORD).kid
    usage = tenant_usage(record, sha256=sealed.sha256, kid=kid)
    page = statement_html(
        usage, period=period, language=read.language, brand=read.brand, made_at=sealed.sealed_at
    )
    name = sealed.id.replace("/", "-")
    attachments = (
        (f"{name}.html", "text/html", page.encode()),
        (f"{name}.jws", SIGNED, f"{jws}\n".encode("ascii")),
    )
    rows: list[Row] = []
    for address in addresses:
        mail = statement_mail(
            usage,
            period=period,
            language=read.language,
            brand=read.brand,
            made_at=sealed.sealed_at,
            sender=sender,
            recipient=address,
            attachments=attachments,
        )
        to = hashlib.sha256(address.encode()).hexdigest()[:12]
        # A chain that is begun anew seals a record of the same id again: the hash tells them apart.
        id_ = f"{record.data.agent.id}/{sealed.id}/{sealed.sha256[:12]}/mail/{to}"
        rows.append((id_, "mail", address, mail.as_bytes()))
    return rows
