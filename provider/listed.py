"""Partners and tenants' places as a spreadsheet gives them: CSV text in, changes or every problem with its line out. Pure.

The first line names the columns, in any order; commas or semicolons part them. Of each
kind the columns are those of `PARTNER_COLUMNS` and `PLACEMENT_COLUMNS`; the first ones are
needed, an empty cell is what its column's text says. Several addresses or packages in a
cell are parted by blanks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from delivery.reporting.usage import Brand
from provider.partners import BEGINNING, Partner, Placement, flaws

PARTNER_COLUMNS: Final[Mapping[str, str]] = {
    "id": "his name in commands and files; needed",
    "name": "as people know him; needed",
    "since": "from this day on, 2026-11-01; empty: since ever",
    "parent": "the id of the partner above him; empty: the provider himself",
    "language": "nl, en, it or de; empty: en",
    "email": "where his reports go, parted by blanks",
    "brand": "the name his reports are read in; empty: his own",
    "colour": "#rrggbb; empty: the software's own",
    "sender": "the address his mails come from; empty: the provider's",
    "reply_to": "where answers go; empty: to the sender",
    "footer": "below his reports",
}
PLACEMENT_COLUMNS: Final[Mapping[str, str]] = {
    "agent": "who measures; needed",
    "tenant": "the tenant's id there; needed",
    "since": "from this day on, 2026-11-01; empty: since ever",
    "partner": "the id of the partner that it is under; empty: the provider himself",
    "customer": "the provider's customer number; empty: none",
    "capacity": "the lines of the contract; empty: those of the record",
    "packages": "the sizes that can be bought, parted by blanks; empty: those of the record",
    "basis": "channels, calls or answered; empty: that of the record",
}

Change = TypeVar("Change", Partner, Placement)


@dataclass(frozen=True, slots=True)
class Listed(Generic[Change]):
    """What a file holds: every change, or, if anything is wrong, every problem with its line."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...]


def partners(text: str) -> Listed[Partner]:
    """Read partners."""
    return _read(text, PARTNER_COLUMNS, ("id", "name"), _partner)


def placements(text: str) -> Listed[Placement]:
    """Read tenants' places."""
    return _read(text, PLACEMENT_COLUMNS, ("agent", "tenant"), _placement)


def _read(
    text: str,
    columns: Mapping[str, str],
    needed: tuple[str, ...],
    change: Callable[[Mapping[str, str]], Change],
) -> Listed[Change]:
    text = text.removeprefix("\ufeff")  # spreadsheets begin UTF-8 with it
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",")
    names: list[str] = [name.strip().lower() for name in next(reader, [])]
    problems = [f"line 1: there is no column {name}" for name in needed if name not in names]
    problems += [f"line 1: nobody knows the column {name!r}" for name in names if name not in columns]
    problems += [f"line 1: the column {name} is there twice" for name in {*names} if names.count(name) > 1]
    if problems:
        return Listed((), tuple(problems))
    changes: list[Change] = []
    lines: dict[tuple[str, ...], int] = {}
    for row in reader:
        line, cells = reader.line_num, [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != len(names):
            problems.append(f"line {line}: there are {len(cells)} cells, and {len(names)} columns")
            continue
        try:
            made: Change = change(dict(zip(names, cells, strict=True)))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
            continue
        problems += [f"line {line}: {flaw}" for flaw in flaws(made)]
        before = lines.setdefault((*made.key, made.since), line)
        if before != line:
            problems.append(f"line {line}: says again what line {before} says")
        changes.append(made)
    return Listed(() if problems else tuple(changes), tuple(problems))


def _partner(cells: Mapping[str, str]) -> Partner:
    given = cells.get
    brand = Brand(
        name=given("brand") or cells["name"],
        colour=given("colour") or Brand("").colour,
        sender=given("sender") or None,
        reply_to=given("reply_to") or None,
        footer=given("footer") or "",
    )
    return Partner(
        id=cells["id"],
        name=cells["name"],
        since=given("since") or BEGINNING,
        parent=given("parent") or None,
        language=given("language") or "en",
        email=tuple((given("email") or "").split()),
        brand=brand,
    )


def _placement(cells: Mapping[str, str]) -> Placement:
    given = cells.get
    capacity = given("capacity")
    return Placement(
        agent=cells["agent"],
        tenant=cells["tenant"],
        since=given("since") or BEGINNING,
        partner=given("partner") or None,
        customer=given("customer") or None,
        capacity=_lines(capacity) if capacity else None,
        packages=tuple(sorted({_lines(size) for size in (given("packages") or "").split()})),
        basis=given("basis") or None,
    )


def _lines(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:  # noqa: PLR2004  # no PBX has a billion
        raise ValueError(f"{text!r} is no number of lines")
    return int(text)
