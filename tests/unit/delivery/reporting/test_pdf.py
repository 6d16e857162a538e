"""The PDF: as many pages as it takes, numbered, with the page's own words, and the same bytes every time."""

from __future__ import annotations

import dataclasses
import io
import logging
import subprocess
import sys

import pypdf
import pytest
from PIL import Image

from delivery.reporting.html import report_html
from delivery.reporting.pdf import PdfUnavailableError, pdf
from delivery.reporting.statement import statement_html
from delivery.reporting.usage import Over, TenantUsage, Unseen
from delivery.wording import LANGUAGES
from tests.unit.delivery.reporting.month import BRAND, DAY, END, PEAK_AT, START, month


def texts(made: bytes) -> list[str]:
    return [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(made)).pages]


def test_a_report_is_paged_and_says_what_the_page_says(caplog: pytest.LogCaptureFixture):
    """Twelve tenants take several pages of A4, each numbered; the first says what is missing; nothing of it is warned about."""
    with caplog.at_level(logging.WARNING, logger="weasyprint"):
        made = pdf(report_html(month("en")))
    found = texts(made)
    document = pypdf.PdfReader(io.BytesIO(made))

    assert caplog.records == []
    assert 4 <= len(found) <= 8
    assert all(f"Page {at} of {len(found)}" in page for at, page in enumerate(found, 1))
    assert "Not complete: 2 of 12 tenants have no final." in found[0]
    assert all("Usage in November 2026" in page for page in found)
    assert "Makelaardij Waterkant" in " ".join(found)
    assert [round(float(side) / 72 * 25.4) for side in document.pages[0].mediabox[2:]] == [210, 297]
    assert document.metadata is not None
    assert document.metadata.title == "Noorderlicht Telecom: Usage in November 2026"
    assert document.trailer["/Root"]["/Lang"] == "en"


def crowded() -> TenantUsage:
    """Give a tenant of whom everything that a statement can say has to be said."""
    usage = month().tenants[1]
    gaps = tuple(
        Unseen(f"pbx-{at}", START + at * DAY, START + at * DAY + 5_000_000, "pbx_unreachable")
        for at in range(9)
    )
    over = Over(9, 7_000_000, tuple((PEAK_AT + at * DAY, PEAK_AT + at * DAY + 61_000, 30) for at in range(9)))
    return dataclasses.replace(
        usage, gaps=gaps, over=over, recorded_capacity=32, users=None, users_max=None, synchronised=False,
        unclassified=7, unknown=usage.inbound, name="Stichting Samenwerkende Scholen voor Primair Onderwijs Leerwijk",
    )  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_statement_is_one_page(language: str):
    """Even with all that can be said of a tenant, the statement stays on one page in every language."""
    brand = dataclasses.replace(BRAND, footer="\n".join(["Noorderlicht Telecom B.V."] * 4))
    html = statement_html(crowded(), period="2026-11", language=language, brand=brand, made_at=END)

    assert len(texts(pdf(html))) == 1


def test_the_same_page_is_the_same_pdf():
    """Two runs of the program make the same bytes of one page: no clock and no chance in it."""
    html = statement_html(month().tenants[0], period="2026-11", language="nl", brand=BRAND, made_at=END)
    script = (
        "import sys; from delivery.reporting.pdf import pdf; sys.stdout.buffer.write(pdf(sys.stdin.read()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], input=html.encode(), capture_output=True, check=True, timeout=60
    )

    assert other.stdout == pdf(html)


def test_a_logo_is_printed():
    """A brand's picture stands on the first page; a garbled one is left out, and the page is made all the same."""
    drawn = io.BytesIO()
    Image.new("RGB", (8, 8), "#0b7285").save(drawn, "PNG")
    made = []
    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)
    try:
        for logo in (drawn.getvalue(), b"garbled"):
            brand = dataclasses.replace(BRAND, logo=("image/png", logo))
            html = statement_html(
                month().tenants[7], period="2026-11", language="en", brand=brand, made_at=END
            )
            made.append(pypdf.PdfReader(io.BytesIO(pdf(html))).pages[0])
    finally:
        logging.getLogger("weasyprint").setLevel(logging.NOTSET)

    assert [len(page.images) for page in made] == [1, 0]
    assert all("Noorderlicht Telecom" in page.extract_text() for page in made)


def test_nothing_is_fetched(tmp_path):
    """A page that names a file or an address becomes a PDF without it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    html = f'<!doctype html><title>x</title><p>words</p><object data="{secret.as_uri()}"></object><img src="{secret.as_uri()}" alt="x">'
    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)
    try:
        assert "SECRET" not in " ".join(texts(pdf(html)))
    finally:
        logging.getLogger("weasyprint").setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("blocked", "hint"), [("weasyprint", "pip install weasyprint"), ("pango", "apt-get install libpango")]
)
def test_a_machine_that_can_not_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, blocked: str, hint: str
):
    """Without the library, or without Pango, the error names what to type."""
    trouble = {"weasyprint": ImportError("none"), "pango": OSError("cannot load library 'libpango-1.0-0'")}[
        blocked
    ]

    class Door:
        def find_spec(self, name, path=None, target=None):
            if name == "weasyprint":
                raise trouble

    for name in [name for name in sys.modules if name.partition(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Door(), *sys.meta_path])
    with pytest.raises(PdfUnavailableError, match=hint):
        pdf("<p>x")


def test_pages_and_mails_need_neither_library():
    """What an agent renders loads neither WeasyPrint nor XlsxWriter."""
    script = (
        "import sys, delivery.reporting.html, delivery.reporting.mail, delivery.reporting.statement,"
        " delivery.reporting.pdf, delivery.reporting.xlsx, delivery.reporting.columns\n"
        "print([name for name in ('weasyprint', 'xlsxwriter') if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60, text=True
    )

    assert said.stdout.strip() == "[]"
