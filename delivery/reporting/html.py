"""A report as one HTML file: nothing fetched, no script, readable on a phone, on paper and to a screen reader.

The page carries its own policy (CSP), and keeps to it: one style sheet that the
policy names by its hash, no style attributes, pictures as data. Names come from
people and may hold anything; none of it can become a tag or a style.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jinja2
from markupsafe import Markup

from delivery import mail
from delivery.reporting import charts
from delivery.reporting.overview import overview
from delivery.reporting.usage import Brand, Report
from delivery.wording import Wording, wording
from meter.model import Instant

#: What a logo may be. An SVG within `<img>` runs nothing.
LOGOS: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("delivery"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def report_html(report: Report) -> str:
    """Return a report as HTML, in its own language and brand. The same report, the same text.

    Raises:
        ValueError: No such language, or the brand's colour is not `#rrggbb`.
        zoneinfo.ZoneInfoNotFoundError: There is no such time zone.
    """
    words = wording(report.language)
    page = overview(report, words)
    heading = f"{page.whose}: {page.title}"
    return rendered(
        "report.html", brand=report.brand, words=words, heading=heading, made_at=report.made_at, page=page
    )


def rendered(
    template: str, *, brand: Brand, words: Wording, heading: str, made_at: Instant, **values: Any
) -> str:
    """Put values into a page of delivery/templates that extends `report_frame.html`.

    Args:
        template: Its file name.
        brand: In whose name it is read.
        words: The language.
        heading: The page's title, as browsers and PDF readers show it.
        made_at: When its figures were put together.
        **values: What the page itself needs.
    """
    look = mail.Brand(brand.name, brand.colour, footer=brand.footer)
    pages = words.say("report.page.number", page='" counter(page) "', pages='" counter(pages) "')
    css = _TEMPLATES.get_template("report.css").render(look=look, pages=pages)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return _TEMPLATES.get_template(template).render(
        look=look,
        logo=_data_url(brand.logo),
        language=words.code,
        say=words.say,
        heading=heading,
        made=(_EPOCH + timedelta(milliseconds=made_at)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        css=Markup(css),  # noqa: S704 - our own sheet; of a brand it holds colours, checked by `mail.Brand`
        digest=f"sha256-{digest}",
        tall=charts.TALL,
        **values,
    )


def _data_url(logo: tuple[str, bytes] | None) -> str:
    """Return a logo as a URL that holds it; "" if there is none, or none that a page may show."""
    if logo is None or logo[0] not in LOGOS:
        return ""
    return f"data:{logo[0]};base64,{base64.b64encode(logo[1]).decode()}"
