"""OData's query options over rows, as strict as a 3CX is with them. Pure.

`$top` above 100 is refused, a field that the type has not is refused, and there is never
a next link: who wants all rows counts them. The limit does not bind report functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.threecx.simulated.expansions import Expansion, expansions
from connectors.threecx.simulated.filters import Invalid, Row, condition

MAX_TOP: Final = 100

_OPTIONS: Final = {"top", "skip", "search", "filter", "count", "orderby", "select", "expand"}


@dataclass(frozen=True, slots=True)
class EntitySet:
    """Rows of one type.

    Attributes:
        name: As in the path and the context (`Users`).
        type: As in complaints (`User`).
        rows: All of them, each with every field, its navigations among them.
        fields: Every field of the type; a set may be empty.
        navigations: Those that are shown only if `$expand` asks for them.
    """

    name: str
    type: str
    rows: Sequence[Row]
    fields: frozenset[str]
    navigations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    """What a query brings.

    Attributes:
        rows: As they are shown.
        total: How many meet the filter; None: `$count` was not asked for.
        selected: What `$select` asked for, as asked; "": everything.
    """

    rows: list[dict[str, Any]]
    total: int | None
    selected: str


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is shown of a row: its fields in the order in which they are asked for, then its navigations."""

    fields: Sequence[str]
    expanded: Sequence[Expansion]

    def of(self, row: Row) -> dict[str, Any]:
        shown = {name: row[name] for name in self.fields if name in row}
        return shown | {expansion.name: expansion.of(row) for expansion in self.expanded}


def page(what: EntitySet, query: Mapping[str, str], *, page_size: int, max_top: int | None = MAX_TOP) -> Page:
    """Return the rows that a query asks for.

    Args:
        what: All rows.
        query: The options of the URI.
        page_size: How many rows come without `$top`.
        max_top: The highest `$top`; None: any.

    Raises:
        Invalid: An option can't be understood, or asks for too much.
    """
    options = _options(query)
    top = _number(options, "top", page_size)
    if max_top is not None and top > max_top:
        raise Invalid(
            f"The limit of '{max_top}' for Top query has been exceeded. "
            f"The value from the incoming request is '{top}'."
        )
    shape = _shape(what, options)
    rows = list(what.rows)
    if options.get("filter"):
        meets = condition(options["filter"], what.fields - what.navigations, what.type)
        rows = [row for row in rows if meets(row)]
    if options.get("search"):
        wanted = options["search"].strip('"').lower()
        rows = [row for row in rows if any(wanted in str(value).lower() for value in row.values())]
    rows = _ordered(what, rows, options.get("orderby", ""))
    total = len(rows) if options.get("count", "").lower() == "true" else None
    skip = _number(options, "skip", 0)
    return Page(
        [shape.of(row) for row in rows[skip : skip + top]],
        total,
        options.get("select", ""),
    )


def single(what: EntitySet, query: Mapping[str, str]) -> Page:
    """Return the one row of a set as a query asks for it. Raises as `page`."""
    options = _options(query)
    shape = _shape(what, options)
    return Page([shape.of(row) for row in what.rows[:1]], None, options.get("select", ""))


def _options(query: Mapping[str, str]) -> dict[str, str]:
    options = {name.removeprefix("$").lower(): value for name, value in query.items() if name.startswith("$")}
    for name in options.keys() - _OPTIONS:
        raise Invalid(f"The query parameter '${name}' is not supported.")
    return options


def _number(options: Mapping[str, str], name: str, usual: int) -> int:
    text = options.get(name, str(usual))
    if not text.isdigit():
        raise Invalid(f"Invalid value '{text}' for ${name} query option found.")
    return int(text)


def _shape(what: EntitySet, options: Mapping[str, str]) -> _Shape:
    expanded = expansions(options.get("expand", ""))
    for expansion in expanded:
        if expansion.name not in what.fields:
            _unknown(expansion.name, what)
        if expansion.name not in what.navigations:
            raise Invalid(
                f"Property '{expansion.name}' on type 'Pbx.{what.type}' is not a navigation property."
            )
        expansion.check(what.rows)
    selected = _names(options.get("select", "*"))
    if selected == ["*"]:
        selected = sorted(what.fields)
    for name in selected:
        if name not in what.fields:
            _unknown(name, what)
    return _Shape([name for name in selected if name not in what.navigations], expanded)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _unknown(name: str, what: EntitySet) -> None:
    raise Invalid(f"Could not find a property named '{name}' on type 'Pbx.{what.type}'.")


def _ordered(what: EntitySet, rows: list[Row], text: str) -> list[Row]:
    for term in reversed(_names(text)):
        name, _, way = term.partition(" ")
        if name not in what.fields:
            _unknown(name, what)
        # None comes first, as in SQL Server and PostgreSQL's NULLS FIRST of OData.
        rows = sorted(
            rows, key=lambda row: (row.get(name) is not None, row.get(name)), reverse=way.strip() == "desc"
        )
    return rows
