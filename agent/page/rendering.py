"""A picture as HTML: the whole page, and its pieces, each sent anew when its text changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import jinja2

from agent.page.picture import Picture
from agent.page.words import NAMES
from delivery.wording import Wording

_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("agent.page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

Pieces = Mapping[str, str]


def pieces(picture: Picture, words: Wording) -> Pieces:
    """Return each part of the page that changes, by the id of its place."""
    say = words.say
    parts = _TEMPLATES.get_template("pieces.html").module
    found = {
        "clock": parts.clock(picture),  # type: ignore[attr-defined]  # macros of the template
        "troubles": parts.trouble(picture, say),  # type: ignore[attr-defined]
        "pbxs": parts.pbxs(picture, say),  # type: ignore[attr-defined]
        "outbox": parts.outbox(picture),  # type: ignore[attr-defined]
        "receipts": parts.receipts(picture, say),  # type: ignore[attr-defined]
    }
    for tenant in picture.tenants:
        place = f"t/{tenant.id}"
        found |= {
            f"{place}/now": parts.now(tenant),  # type: ignore[attr-defined]
            f"{place}/curve": parts.curve(tenant),  # type: ignore[attr-defined]
            f"{place}/hours": parts.hours(tenant, say),  # type: ignore[attr-defined]
            f"{place}/figures": parts.figures(tenant, say),  # type: ignore[attr-defined]
        }
    return {place: html.strip() for place, html in found.items()}


def page(picture: Picture, found: Pieces, words: Wording, *, agent: str, version: str, run: str) -> str:
    """Return the whole page.

    Args:
        picture: What it says.
        found: Its pieces.
        words: The reader's language.
        agent: Whose page it is.
        version: The program's.
        run: Which run of the agent it is: a page of another run loads itself anew.
    """
    return _TEMPLATES.get_template("page.html").render(
        title=words.say("page.title", agent=agent),
        small=words.say("page.small", agent=agent, version=version),
        language=words.code,
        names=NAMES,
        pieces=found,
        run=run,
        say=words.say,
        tenants=picture.tenants,
    )
