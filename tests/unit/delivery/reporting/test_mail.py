"""The month's mail: says what is missing, brings its files whole, and is the same mail when it is made again."""

from __future__ import annotations

import dataclasses
import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings

from delivery.reporting.columns import csv_bytes
from delivery.reporting.mail import SIGNED, report_mail, statement_mail, stem
from delivery.reporting.usage import Brand, Report
from delivery.wording import LANGUAGES
from tests.unit.delivery.reporting.month import BRAND, END, month, tenant
from tests.unit.delivery.reporting.reports import reports

ENDS = {"sender": "meter@partner.example", "recipient": "books@partner.example"}
SUBJECT = {
    "en": "Noorderlicht Telecom: usage in November 2026, 2 tenants missing",
    "nl": "Noorderlicht Telecom: verbruik in november 2026, 2 klanten ontbreken",
    "it": "Noorderlicht Telecom: utilizzo novembre 2026, mancano 2 clienti",
    "de": "Noorderlicht Telecom: Nutzung im November 2026, 2 Kunden fehlen",
}


def read(mail: EmailMessage) -> EmailMessage:
    found = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return " ".join(part.get_content().split())


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_what_is_missing_in_both_parts(language):
    """The subject counts the missing, text and HTML name them, and both have the heap's figures."""
    mail = read(report_mail(month(language), **ENDS))

    assert mail["Subject"] == SUBJECT[language]
    assert mail["Content-Language"] == language
    for kind in ("plain", "html"):
        said = body(mail, kind)
        assert "Basisschool De Rode Kruin" in said
        assert "Garage Bakkeveen" in said
        assert "Hotel De Vuurtoren" in said
        assert "≥ 41" in said
        assert ("102,190" if language == "en" else "102.190") in said


def test_a_complete_month_and_a_revision_say_so():
    """A month with every final in says that it is complete, a later revision which one it is."""
    whole = month("en", tenants=(tenant("A", "a", peak=3, capacity=4, seed=1),), differences=(), revision=1)

    assert (
        read(report_mail(whole, **ENDS))["Subject"]
        == "Noorderlicht Telecom: usage in November 2026, complete"
    )
    again = dataclasses.replace(whole, revision=3)
    assert (
        read(report_mail(again, **ENDS))["Subject"]
        == "Noorderlicht Telecom: usage in November 2026, revision 3"
    )
    assert "No tenant was over its capacity." in body(read(report_mail(whole, **ENDS)), "plain")


def test_its_files_arrive_byte_for_byte():
    """Each attachment has its name, its kind and its bytes; the text names them."""
    report = month()
    files = [
        (f"{stem(report)}.csv", "text/csv", csv_bytes(report)),
        (f"{stem(report)}.pdf", "application/pdf", bytes(range(256)) * 40),
    ]
    mail = read(report_mail(report, **ENDS, attachments=files))
    got = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in mail.iter_attachments()
    ]

    assert got == files
    assert "usage-2026-11-noorderlicht-2.csv, usage-2026-11-noorderlicht-2.pdf" in body(mail, "plain")
    assert mail.get_content_type() == "multipart/mixed"
    assert mail["Content-Language"] == "nl"


def test_it_is_the_same_mail_when_made_again_and_another_for_another_reader():
    """The bytes are the same; another recipient or revision has another Message-ID."""
    files = [("a.csv", "text/csv", b"a,b\r\n")]
    one = report_mail(month(), **ENDS, attachments=files)

    assert one.as_bytes() == report_mail(month(), **ENDS, attachments=files).as_bytes()
    ids = {
        one["Message-ID"],
        report_mail(month(revision=3), **ENDS)["Message-ID"],
        report_mail(month(partner="other"), **ENDS)["Message-ID"],
        report_mail(month(), **{**ENDS, "recipient": "x@partner.example"})["Message-ID"],
    }
    assert len(ids) == 4


def test_a_statement_brings_the_signed_record():
    """One tenant's mail has the figures, the record attached, and says how it is checked; without it, it does not."""
    report = month()
    values = {"period": "2026-11", "language": "en", "brand": BRAND, "made_at": END, **ENDS}
    mail = read(statement_mail(report.tenants[0], **values, attachments=[("a.jws", SIGNED, b"e30.e30.c2ln")]))
    said = body(mail, "plain")

    assert mail["Subject"] == "Hotel De Vuurtoren: usage in November 2026"
    assert "17 lines, on Thursday 12 November 2026 at 10:32:08 (CET), for 9 seconds" in said
    assert "1 above it" in said
    assert "pbx-meter verify" in said
    assert next(mail.iter_attachments()).get_payload(decode=True) == b"e30.e30.c2ln"
    assert "pbx-meter verify" not in body(read(statement_mail(report.tenants[0], **values)), "plain")
    corrected = read(statement_mail(report.tenants[6], **values))
    assert corrected["Subject"] == "Zorggroep Eemsmond: usage in November 2026, corrected"


def test_no_name_becomes_a_header_or_a_tag():
    """Line breaks, encoded words and tags in names stay text."""
    nasty = "A\r\nBcc: x@y.example\n=?utf-8?q?a?= <script>"
    report = month("en", name=nasty, brand=Brand(nasty, footer=nasty))
    mail = read(
        report_mail(
            dataclasses.replace(report, tenants=(dataclasses.replace(report.tenants[7], name=nasty),)), **ENDS
        )
    )

    assert mail["Bcc"] is None
    assert "<script>" not in body(mail, "html")


@pytest.mark.parametrize(
    ("partner", "name"),
    [(None, "usage-2026-11-2"), ("noord", "usage-2026-11-noord-2"), ("../a b", "usage-2026-11-..-a-b-2")],
)
def test_files_are_called_by_period_partner_and_revision(partner, name):
    """A file's name holds nothing that a file system or a shell would take for more than a name."""
    assert stem(month(partner=partner)) == name


@given(reports)
@settings(max_examples=25, deadline=None)
def test_any_report_becomes_a_mail(report: Report):
    """Whatever a report holds, its mail can be read back, with both parts."""
    mail = read(report_mail(report, **ENDS, attachments=[("a.csv", "text/csv", b"a")]))

    assert mail["To"] == "books@partner.example"
    assert body(mail, "plain")
    assert body(mail, "html")
