"""OData's `$expand`, with what it may say of the rows within: `Groups($select=GroupId;$expand=Rights)`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.threecx.simulated.filters import Invalid, Row

#: What rows within show only if they are expanded themselves.
_DEEPER: Final = frozenset({"Rights", "GroupRights"})


@dataclass(frozen=True, slots=True)
class Expansion:
    """One navigation to show.

    Attributes:
        name: Of the navigation.
        selected: Fields of the rows within; (): all.
        deeper: Navigations of the rows within.
    """

    name: str
    selected: tuple[str, ...] = ()
    deeper: tuple[str, ...] = ()

    def of(self, row: Row) -> Any:
        """Return what a row shows under it."""
        value = row.get(self.name)
        if isinstance(value, list):
            return [self._within(one) for one in value]
        return self._within(value) if isinstance(value, dict) else value

    def check(self, rows: Sequence[Row]) -> None:
        """Raise Invalid if it names what no row within has; where there is none, nobody can tell."""
        wanted = {*self.selected, *self.deeper}
        if not wanted:
            return
        known = {
            field
            for row in rows
            for one in _listed(row.get(self.name))
            if isinstance(one, dict)
            for field in one
        }
        strange = sorted(wanted - known)
        if known and strange:
            raise Invalid(f"Could not find a property named '{strange[0]}' on the type of '{self.name}'.")

    def _within(self, one: dict[str, Any]) -> dict[str, Any]:
        names = self.selected or tuple(name for name in one if name not in _DEEPER)
        return {name: one[name] for name in (*names, *self.deeper) if name in one}


def expansions(text: str) -> list[Expansion]:
    """Return what a `$expand` asks for. Raises Invalid."""
    return [_one(part) for part in split(text, ",")]


def split(text: str, mark: str) -> list[str]:
    """Return the parts of a list; a mark within brackets divides nothing. Raises Invalid."""
    return [part.strip() for part in _split(text, mark) if part.strip()]


def _split(text: str, mark: str) -> Iterator[str]:
    depth = begun = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            break
        if sign == mark and depth == 0:
            yield text[begun:place]
            begun = place + 1
    if depth:
        raise Invalid(f"Found an unbalanced bracket expression in '{text}'.")
    yield text[begun:]


def _one(part: str) -> Expansion:
    name, bracket, inner = part.partition("(")
    if not bracket:
        return Expansion(name)
    if not inner.endswith(")"):
        raise Invalid(f"Syntax error in '$expand={part}'.")
    selected: tuple[str, ...] = ()
    deeper: tuple[str, ...] = ()
    for option in split(inner[:-1], ";"):
        what, _, value = option.partition("=")
        match what.strip().lower():
            case "$select":
                selected = tuple(split(value, ","))
            case "$expand":
                deeper = tuple(one.name for one in expansions(value))
            case _:
                raise Invalid(f"Found an unknown option '{what}' in '$expand'.")
    return Expansion(name.strip(), selected, deeper)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
