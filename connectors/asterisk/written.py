r"""What Asterisk's own configuration files say. Pure: texts in, sections out.

The grammar is that of Asterisk's main/config.c (16 and 22 alike):

    [name]                  a section; the same name may open another one
    [name](!)               a template: it is no section itself
    [name](a,b)             begins with what `a` and `b` say
    [name](+)               goes on with the last section of that name; `(+type=aor)`: with that of them
    key = value             `=>` is the same; keys come again and again
    #include "manager.d/*"  files of that name or glob, in their order; `#tryinclude` likewise
    ;  ;-- … --;  \;        comment, comment over lines, a semicolon

`#exec` runs a program in Asterisk; here it is passed over. What is no line of this grammar is passed
over too: whether a file is right is Asterisk's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

#: Gives (name, text) of the files of a name or a glob, in order; relative names start at Asterisk's folder.
Reading: TypeAlias = Callable[[str], Iterable[tuple[str, str]]]

_HEADING: Final = re.compile(r"\[([^\]]*)\]\s*(?:\(([^)]*)\))?")
_INCLUDE: Final = re.compile(r"#\s*(?:try)?include\s+[\"<]?([^\">]+?)[\">]?\s*$")
_COMMENT: Final = re.compile(r"(?<!\\);")
#: Files that include each other end here, as Asterisk's own (MAX_INCLUDE_LEVEL).
_DEEPEST: Final = 10


@dataclass(frozen=True, slots=True)
class Setting:
    """One `key = value`, and where it stands. The value may be a secret."""

    key: str
    value: str = field(repr=False)
    file: str
    line: int  #: from 1


@dataclass(slots=True)
class Section:
    """One section with what it says, inherited settings first.

    `file` and `line` (from 1) are where its heading stands.
    """

    name: str
    file: str
    line: int
    template: bool = False
    settings: list[Setting] = field(default_factory=list)

    def last(self, key: str) -> Setting | None:
        """Return where the value that holds stands: the last one. None: it says nothing of it."""
        return next((s for s in reversed(self.settings) if s.key == key), None)

    def get(self, key: str) -> str:
        """Return the value that holds; "" if it says nothing of it."""
        found = self.last(key)
        return found.value if found else ""

    def all(self, key: str) -> list[str]:
        """Return every value of a key that takes many, also those that stand in one line with commas."""
        values = (part.strip() for s in self.settings if s.key == key for part in s.value.split(","))
        return [value for value in values if value]

    def is_on(self, key: str) -> bool:
        """Whether a value that is yes or no is yes, as Asterisk's own `ast_true` takes it."""
        return self.get(key).lower() in ("yes", "true", "y", "t", "1", "on")

    @property
    def kind(self) -> str:
        """The `type`, in small letters."""
        return self.get("type").lower()


@dataclass(slots=True)
class Written:
    """All that one file says, with the files that it includes.

    Attributes:
        sections: In their order, templates left out.
        includes: Every name or glob that is included, whether such a file is there or not.
    """

    sections: list[Section] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)

    def named(self, name: str) -> list[Section]:
        """Return the sections of that name."""
        return [section for section in self.sections if section.name == name]

    def of(self, kind: str) -> list[Section]:
        """Return the sections of that `type`."""
        return [section for section in self.sections if section.kind == kind]


def read(name: str, reading: Reading) -> Written:
    """Return what a file says; nothing if it is not there."""
    found = Written()
    for file, text in reading(name):
        _read(file, text, None, found, reading, 0)
    return Written([section for section in found.sections if not section.template], found.includes)


def _read(
    file: str, text: str, section: Section | None, found: Written, reading: Reading, depth: int
) -> None:
    """Read one file. It goes on in the section in which it was included."""
    for number, line in _lines(text):
        if heading := _HEADING.match(line):
            section = _opened(heading, file, number, found)
        elif include := _INCLUDE.match(line):
            found.includes.append(include[1])
            if depth < _DEEPEST:
                for included, content in reading(include[1]):
                    _read(included, content, section, found, reading, depth + 1)
        elif section is not None and "=" in line:
            key, _, value = line.partition("=")
            value = value.removeprefix(">").strip()
            section.settings.append(Setting(key.strip().lower(), value, file, number))


def _opened(heading: re.Match[str], file: str, number: int, found: Written) -> Section:
    """Return the section that a heading opens."""
    name, options = heading[1], [option.strip() for option in (heading[2] or "").split(",")]
    more = next((option[1:] for option in options if option.startswith("+")), None)
    if more is not None:
        key, _, value = (part.strip() for part in more.partition("="))
        before = [s for s in found.sections if s.name == name and (not key or s.get(key) == value)]
        if before:
            return before[-1]
    section = Section(name, file, number, template="!" in options)
    for option in options:
        parent = next((s for s in found.sections if option and s.name == option), None)
        section.settings += parent.settings if parent else ()
    found.sections.append(section)
    return section


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Give the lines that say something, with their numbers, without comments."""
    within = False
    for number, whole in enumerate(text.splitlines(), 1):
        kept, left = "", whole
        while left:
            if within:
                _, ends, left = left.partition("--;")
                within = not ends
                continue
            comment = _COMMENT.search(left)
            kept += left[: comment.start()] if comment else left
            left = left[comment.start() :] if comment else ""
            # `;--` opens a comment over lines, but a rule of dashes (`;---`) is an ordinary one.
            within = left.startswith(";--") and not left.startswith(";---")
            left = left[3:] if within else ""
        if kept := kept.strip():
            yield number, kept.replace("\\;", ";")
