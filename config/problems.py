"""What is wrong with what the operator wrote: where, what, and the next thing to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LONGEST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One defect of the configuration, or one thing in it that looks unintended.

    Attributes:
        file: The file that was read.
        key: Where in it: `tenant[1].match.trunks[0]`, counted from 0; "" for the file itself.
        what: What is wrong, as half a sentence.
        hint: The next thing to do.
        value: What stands there, as TOML would write it; None where nothing stands
            there or where it might be a secret or a telephone number.
    """

    file: Path
    key: str
    what: str
    hint: str
    value: str | None = None

    def __str__(self) -> str:
        shown = f"{self.key} = {self.value}" if self.value is not None else self.key
        place = f"{self.file}: {shown}: " if shown else f"{self.file}: "
        said = f"{place}{self.what}; {self.hint}"
        # Always one line, and nothing in it that a terminal obeys: a key or a value may hold anything.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)


class ConfigError(Exception):
    """The configuration can't be used. Nothing of it is.

    Args:
        problems: All of them, in the order of the file, at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def shown(value: object) -> str | None:
    """Return a value as TOML would write it, cut after 60 characters; None for tables and lists."""
    if not isinstance(value, (str, int, float)):
        return None
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
