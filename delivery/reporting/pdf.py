"""A report's HTML as a PDF, by WeasyPrint: pages of A4 with numbers, and tags for screen readers.

WeasyPrint sets type with Pango, which the system brings. It is loaded when the first
PDF is made and not before: an agent renders the same pages and needs neither.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

_HINT: Final = "apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"


class PdfUnavailableError(RuntimeError):
    """This machine can't make a PDF; the message says what to install. Every other format can be made."""


def pdf(html: str) -> bytes:
    """Return a page of `delivery.reporting` as a PDF.

    The same page gives the same bytes under the same versions of WeasyPrint, Pango
    and fonts: dates and identifiers come from the page, not from a clock. Nothing is
    fetched: a page that names anything but data would stay without it.

    Args:
        html: What `report_html` or `statement_html` made.

    Raises:
        PdfUnavailableError: WeasyPrint or the system's Pango is missing.
    """
    try:
        import weasyprint  # type: ignore[import-untyped]  # noqa: PLC0415 - see above; no types upstream
    except ImportError as error:
        raise PdfUnavailableError("a PDF needs WeasyPrint -> pip install weasyprint") from error
    except OSError as error:  # cffi found no library
        raise PdfUnavailableError(f"a PDF needs Pango, which this system lacks -> {_HINT}") from error
    page = weasyprint.HTML(string=html, url_fetcher=_fetcher(weasyprint))
    made: bytes = page.write_pdf(
        pdf_identifier=hashlib.sha256(html.encode()).digest()[:16],
        pdf_tags=True,
    )
    return made


def _fetcher(weasyprint: Any) -> Any:
    """Return what takes pictures out of `data:` URLs, and fetches nothing else."""
    return weasyprint.urls.URLFetcher(allowed_protocols=("data",))
