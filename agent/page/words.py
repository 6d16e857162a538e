"""The page's words in its four languages: its own catalogues over those of the mails.

`agent/page/languages/<code>.toml`; a test holds all of them to the same keys and placeholders.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Final

from delivery.wording import LANGUAGES, Wording, wording

#: What each language calls itself.
NAMES: Final[Mapping[str, str]] = {"nl": "Nederlands", "en": "English", "it": "Italiano", "de": "Deutsch"}


@cache
def words(code: str) -> Wording:
    """Return a language's words: those of the mails, and the page's own beside them.

    Raises:
        ValueError: There is no such language.
    """
    mails = wording(code)
    content = resources.files("agent.page").joinpath("languages", f"{code}.toml").read_text("utf-8")
    own = {
        f"{table}.{key}": entry
        for table, entries in tomllib.loads(content).items()
        for key, entry in entries.items()
    }
    return replace(mails, texts={**mails.texts, **own})


def chosen(asked: str | None, accepted: str) -> str:
    """Return the language for a reader: the one asked for, else the first accepted that there is, else English.

    Args:
        asked: What the address says, unchecked.
        accepted: The header Accept-Language, unchecked.
    """
    if asked in LANGUAGES:
        return asked
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted[:200].split(",")):
        tag, _, weight = part.strip().partition(";q=")
        try:
            wanted.append((-float(weight or 1), place, tag[:2].lower()))
        except ValueError:
            continue
    return next((code for _, _, code in sorted(wanted) if code in LANGUAGES), "en")
