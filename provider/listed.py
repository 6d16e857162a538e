"""Partners and tenants' places as a spreadsheet gives them: CSV text in, changes or every problem with its line out. Pure.

The first line names the columns, in any order; commas or semicolons part them. Of each
kind the columns are those of `PARTNER_COLUMNS` and `PLACEMENT_COLUMNS`; the first ones are
needed, an empty cell is what its column's text says, and a column that is not there leaves
what was. Several addresses or packages in a cell are parted by blanks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from delivery.reporting.usage import Brand
from provider.partners import BEGINNING, Partner, Placement, flaws, in_force

PARTNER_COLUMNS: Final[Mapping[str, str]] = {
    "id": "his name in commands and files; needed",
    "name": "as people know him; needed",
    "since": "from this day on, 2026-11-01; empty: since ever, for those that are new",
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
    "since": "from this day on, 2026-11-01; empty: since ever, for those that are new",
    "partner": "the id of the partner that it is under; empty: the provider himself",
    "customer": "the provider's customer number; empty: none",
    "capacity": "the lines of the contract; empty: those of the record",
    "packages": "the sizes that can be bought, parted by blanks; empty: those of the record",
    "basis": "channels, calls or answered; empty: that of the record",
    "ended": "yes: from that day on it is no longer there; empty, or no such column: it is",
}

Change = TypeVar("Change", Partner, Placement)


@dataclass(frozen=True, slots=True)
class Listed(Generic[Change]):
    """What a file holds: every change, or, if anything is wrong, every problem with its line."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...]


def partners(text: str, known: Sequence[Partner] = ()) -> Listed[Partner]:
    """Read partners; `known`: every change there is of them."""
    return _read(text, PARTNER_COLUMNS, ("id", "name"), _partner, known)


def placements(text: str, known: Sequence[Placement] = ()) -> Listed[Placement]:
    """Read tenants' places; `known`: every change there is of them."""
    return _read(text, PLACEMENT_COLUMNS, ("agent", "tenant"), _placement, known)


def _read(
    text: str,
    columns: Mapping[str, str],
    needed: tuple[str, ...],
    change: Callable[[Mapping[str, str], Callable[[Change], Change]], Change],
    known: Sequence[Change],
) -> Listed[Change]:
    text = text.removeprefix("\ufeff")  # spreadsheets begin UTF-8 with it
    problems: list[str] = []
    rows = _rows(text, problems)
    _, header = next(rows, (1, []))
    names: list[str] = [name.lower() for name in header]
    problems += [f"line 1: there is no column {name}" for name in needed if name not in names]
    problems += [f"line 1: nobody knows the column {name!r}" for name in names if name not in columns]
    problems += [f"line 1: the column {name} is there twice" for name in {*names} if names.count(name) > 1]
    if problems:
        return Listed((), tuple(problems))
    before: dict[tuple[str, ...], list[Change]] = {}
    for one in known:
        before.setdefault(one.key, []).append(one)
    changes: list[Change] = []
    lines: dict[tuple[str, ...], int] = {}
    for line, cells in rows:
        if not any(cells):
            continue
        if len(cells) != len(names):
            problems.append(f"line {line}: there are {len(cells)} cells, and {len(names)} columns")
            continue
        try:
            made: Change = change(dict(zip(names, cells, strict=True)), lambda new: _held(before, new))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
            continue
        problems += [f"line {line}: {flaw}" for flaw in flaws(made)]
        former = lines.setdefault((*made.key, made.since), line)
        if former != line:
            problems.append(f"line {line}: says again what line {former} says")
        if made.since == BEGINNING and made not in before.get(made.key, [made]):
            problems.append(
                f"line {line}: {'/'.join(made.key)} is known already: from which day is it so? since"
            )
        changes.append(made)
    return Listed(() if problems else tuple(changes), tuple(problems))


def _rows(text: str, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's cells with the line that it begins on. What is no CSV ends them, and is a problem."""
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    line = 1
    try:
        for row in reader:
            yield line, [cell.strip() for cell in row]
            line = reader.line_num + 1
    except csv.Error:
        problems.append(f'line {line}: a quote (") is not closed, or stands where none can be')


def _held(before: Mapping[tuple[str, ...], Sequence[Change]], new: Change) -> Change:
    """Return what holds on the day of a change of what it changes; nothing yet: the change itself."""
    return in_force(before.get(new.key, ()), new.since).get(new.key, new)


def _partner(cells: Mapping[str, str], held: Callable[[Partner], Partner]) -> Partner:
    id_, name, since = cells["id"], cells["name"], cells.get("since") or BEGINNING
    was = held(Partner(id_, name, since, brand=Brand(name)))
    given = {column: cell or None for column, cell in cells.items()}  # None: empty
    own = name if was.brand.name == was.name else was.brand.name
    brand = replace(
        was.brand,
        name=(given["brand"] or name) if "brand" in given else own,
        colour=(given["colour"] or Brand("").colour) if "colour" in given else was.brand.colour,
        sender=given.get("sender", was.brand.sender),
        reply_to=given.get("reply_to", was.brand.reply_to),
        footer=cells.get("footer", was.brand.footer),
    )
    return Partner(
        id=id_,
        name=name,
        since=since,
        parent=given.get("parent", was.parent),
        language=(given["language"] or "en") if "language" in given else was.language,
        email=tuple(cells["email"].split()) if "email" in cells else was.email,
        brand=brand,
    )


def _placement(cells: Mapping[str, str], held: Callable[[Placement], Placement]) -> Placement:
    agent, tenant, since = cells["agent"], cells["tenant"], cells.get("since") or BEGINNING
    was = held(Placement(agent, tenant, since))
    given = {column: cell or None for column, cell in cells.items()}  # None: empty
    capacity = given.get("capacity")
    sizes = cells.get("packages", "").split()
    if given.get("ended") not in (None, "yes"):
        raise ValueError(f"{given['ended']!r} says not whether it has ended: yes, or nothing")
    return Placement(
        agent=agent,
        tenant=tenant,
        since=since,
        partner=given.get("partner", was.partner),
        customer=given.get("customer", was.customer),
        capacity=(_lines(capacity) if capacity else None) if "capacity" in given else was.capacity,
        packages=tuple(sorted({_lines(size) for size in sizes})) if "packages" in given else was.packages,
        basis=given.get("basis", was.basis),
        ended=given.get("ended") == "yes",
    )


def _lines(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:  # noqa: PLR2004  # no PBX has a billion
        raise ValueError(f"{text!r} is no number of lines")
    return int(text)
