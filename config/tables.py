"""From the tables of a TOML file to sections, or to every problem in them at once.

Each section is read by itself, so that one defect does not hide the next. Which sections
there are is said by whoever reads a file of his own (`config.load`, `provider.settings`).
"""

from __future__ import annotations

import difflib
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, get_args
from zoneinfo import available_timezones

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config.model import Section
from config.problems import ConfigError, Problem, shown
from config.secret import TOO_OPEN, Secret, SecretError, keys, resolve

S = TypeVar("S", bound=Section)
Table: TypeAlias = dict[str, Any]

#: Never shown: secrets, telephone numbers, and URLs, which often are secrets.
_HIDDEN: Final = {"secret", "password", "dids", "url"}


def tables(file: Path, *, missing: str, unreadable: str) -> Table:
    """Return the file's tables.

    Args:
        file: The TOML file.
        missing: What to do if there is none.
        unreadable: What to do if it can't be read.

    Raises:
        ConfigError: It is not there, can't be read, or is not TOML.
    """
    try:
        return tomllib.loads(file.read_bytes().decode())
    except FileNotFoundError:
        what, hint = "there is no such file", missing
    except OSError as exc:
        what, hint = f"can't be read ({exc.strerror})", unreadable
    except UnicodeDecodeError as exc:
        what, hint = f"byte {exc.start} is not UTF-8", "save it as UTF-8"
    except tomllib.TOMLDecodeError as exc:
        what, hint = f"not TOML: {exc}", "mend that line; texts stand in quotes"
    raise ConfigError([Problem(file, "", what, hint)])


class Reader:
    """Turns tables into sections and collects what is wrong with them.

    Args:
        file: The file that they are of.
        content: Its tables.
        environ: Where `secret_env` and `password_env` look.
        known: The names of all sections.
        needed: What to do if a section is missing; of one that is not named here nobody needs it.

    Attributes:
        problems: What is wrong.
        warnings: What looks unintended.
        broken: Names of sections that could not be read, or not all of them.
    """

    def __init__(
        self,
        file: Path,
        content: Table,
        environ: Mapping[str, str],
        *,
        known: Iterable[str],
        needed: Mapping[str, str],
    ) -> None:
        self._file = file
        self._tables = content
        self._needed = needed
        self._environ = environ
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.broken: set[str] = set()
        for name in content.keys() - set(known):
            self._add(Problem(file, name, "unknown section", _did_you_mean(name, known)))

    def one(self, name: str, model: type[S]) -> S | None:
        """Return the section `[name]`; None if it is not there or broken."""
        table = self._tables.get(name)
        if table is None:
            self._need(name)
            return None
        if not isinstance(table, dict):
            self._add(Problem(self._file, name, "not a table", f"write [{name}]"))
            return None
        return self._section(name, model, table)

    def many(self, name: str, model: type[S], defaults: Table | None = None) -> dict[str, S]:
        """Return the sections `[[name]]` that are whole, by where they stand: `name[0]`."""
        tables = self._tables.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._add(Problem(self._file, name, "not a list of tables", f"write [[{name}]]"))
            return {}
        if not tables:
            self._need(name)
        read = {
            f"{name}[{i}]": self._section(f"{name}[{i}]", model, (defaults or {}) | table)
            for i, table in enumerate(tables)
        }
        return {key: section for key, section in read.items() if section is not None}

    def _need(self, name: str) -> None:
        if name in self._needed:
            self._add(Problem(self._file, name, "is missing", self._needed[name]))

    def _add(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.broken.add(re.split(r"[.\[]", problem.key)[0])

    def _section(self, key: str, model: type[S], table: Table) -> S | None:
        model = model.of(table)
        before = len(self.problems)
        table = self._with_secrets(key, model, table)
        section = None
        try:
            section = model.model_validate(table, context={"folder": self._file.parent})
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                # A default that builds on a key that is itself at fault says nothing new.
                if error["type"] != "default_factory_not_called":
                    self._add(_problem(self._file, key, model, error, table))
        return section if len(self.problems) == before else None

    def _with_secrets(self, key: str, model: type[Section], table: Table) -> Table:
        """Return the table with each secret in its place, whichever way it was given."""
        for name in _secrets(model):
            if name in table and stat.S_IMODE(self._file.stat().st_mode) & TOO_OPEN:
                what, hint = "stands in a file that others may read or change", f"chmod 640 {self._file}"
                self.warnings.append(Problem(self._file, f"{key}.{name}", what, hint))
            try:
                secret = resolve(table, name, folder=self._file.parent, environ=self._environ)
            except SecretError as exc:
                self._add(Problem(self._file, f"{key}.{exc.key}", exc.what, exc.hint, shown(exc.value)))
                secret = Secret("")  # said once is enough
            table = {k: v for k, v in table.items() if k not in keys(name)}
            if secret is not None:
                table[name] = secret
        return table


def _problem(file: Path, key: str, model: type[Section], error: ErrorDetails, table: Table) -> Problem:
    """Return what pydantic found, in the operator's words."""
    place = key + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    hidden = error["type"] in {"missing", "extra_forbidden"} or not _HIDDEN.isdisjoint(error["loc"])
    written: Any = table  # what stands in the file; the error may hold what it was turned into
    for part in () if hidden else error["loc"]:
        written = written[part]
    model, field = _field(model, error["loc"])
    description = (field.description if field else None) or "what the example shows"
    match error["type"]:
        case "operator":
            what, hint = error["ctx"]["what"], error["ctx"]["hint"]
        case "missing":
            what, hint = "is missing", f"add it: {description}"
        case "extra_forbidden":
            known = [name for field_name in model.model_fields for name in _names(model, field_name)]
            what, hint = "unknown key", _did_you_mean(str(error["loc"][-1]), known)
        case "zoneinfo_str":
            what, hint = "no such time zone", _did_you_mean(str(error["input"]), available_timezones())
        case _:
            what, hint = "can't be used", f"here belongs {description}"
    whole = hidden or isinstance(written, dict)  # a section as a whole: secrets may be in it
    return Problem(file, place, what, hint, None if whole else shown(written))


def _field(model: type[Section], place: Iterable[int | str]) -> tuple[type[Section], FieldInfo | None]:
    """Return the innermost section at a place, and its field there; None if it has no such field."""
    field: FieldInfo | None = None
    for part in place:
        if isinstance(part, str):
            inner = field.annotation if field else None
            model = inner if isinstance(inner, type) and issubclass(inner, Section) else model
            field = model.model_fields.get(part)
    return model, field


def _secrets(model: type[Section]) -> list[str]:
    """Return the names of a section's secrets."""
    fields = model.model_fields.items()
    return [name for name, field in fields if Secret in (field.annotation, *get_args(field.annotation))]


def _names(model: type[Section], field: str) -> tuple[str, ...]:
    """Return the keys that can give a field."""
    return keys(field) if field in _secrets(model) else (field,)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.7)
    if close:
        return f"did you mean {close[0]}?"
    if len(choices) > 30:  # noqa: PLR2004 -- more than a person reads
        return "look it up and write it exactly so"
    return f"known here: {', '.join(choices)}"
