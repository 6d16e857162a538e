"""OData's `$filter`, as far as anybody asks a 3CX with it. Pure.

not startsWith(Number,'HD') and (Enabled eq true or Type eq 'ExternalLine')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Row: TypeAlias = Mapping[str, Any]
_Term: TypeAlias = Callable[[Row], Any]

_TOKEN: Final = re.compile(
    r"\s*('(?:[^']|'')*'|[(),]|[A-Za-z_][\w/]*|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)|-?\d+(?:\.\d+)?)"
)
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda one, other: one == other,
    "ne": lambda one, other: one != other,
    "gt": lambda one, other: one is not None and other is not None and one > other,
    "ge": lambda one, other: one is not None and other is not None and one >= other,
    "lt": lambda one, other: one is not None and other is not None and one < other,
    "le": lambda one, other: one is not None and other is not None and one <= other,
}
_FUNCTIONS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "startswith": lambda text, part: text.lower().startswith(part.lower()),
    "endswith": lambda text, part: text.lower().endswith(part.lower()),
    "contains": lambda text, part: part.lower() in text.lower(),
}
_LITERALS: Final = {"true": True, "false": False, "null": None}


class Invalid(ValueError):  # noqa: N818 - it says what the query is
    """The query in the URI is not valid. The sentence is what a 3CX would say."""


class _Reader:
    """Reads one expression, from its first word to its last."""

    def __init__(self, text: str, fields: frozenset[str], type_name: str) -> None:
        self._fields = fields
        self._type = type_name
        self._words: list[str] = []
        place = 0
        text = text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise Invalid(f"Syntax error at position {place} in '{text}'.")
            self._words.append(found[1])
            place = found.end()

    def whole(self) -> _Term:
        term = self._either()
        if self._words:
            raise Invalid(f"Syntax error: '{self._words[0]}' was not expected.")
        return term

    def _either(self) -> _Term:
        terms = [self._both()]
        while self._next_is("or"):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else lambda row: any(term(row) for term in terms)

    def _both(self) -> _Term:
        terms = [self._negation()]
        while self._next_is("and"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else lambda row: all(term(row) for term in terms)

    def _negation(self) -> _Term:
        if self._next_is("not"):
            term = self._negation()
            return lambda row: not term(row)
        return self._comparison()

    def _comparison(self) -> _Term:
        left = self._value()
        if self._words and self._words[0] in _COMPARISONS:
            compare, right = _COMPARISONS[self._words.pop(0)], self._value()
            return lambda row: compare(left(row), right(row))
        return left

    def _value(self) -> _Term:
        word = self._word()
        if word == "(":
            term = self._either()
            self._expect(")")
            return term
        if word.lower() in _FUNCTIONS and self._words[:1] == ["("]:
            return self._call(_FUNCTIONS[word.lower()])
        if word in _LITERALS or word[0] in "'-0123456789":
            literal = _literal(word)
            return lambda _: literal
        return self._field(word)

    def _call(self, function: Callable[[str, str], bool]) -> _Term:
        self._expect("(")
        text = self._value()
        self._expect(",")
        part = self._value()
        self._expect(")")
        return lambda row: function(text(row) or "", part(row) or "")

    def _field(self, path: str) -> _Term:
        first, *rest = path.split("/")
        if first not in self._fields:
            raise Invalid(f"Could not find a property named '{first}' on type 'Pbx.{self._type}'.")

        def read(row: Row) -> Any:
            value = row.get(first)
            for name in rest:
                value = value.get(name) if isinstance(value, dict) else None
            return value

        return read

    def _word(self) -> str:
        if not self._words:
            raise Invalid("Syntax error: the expression ends too early.")
        return self._words.pop(0)

    def _expect(self, word: str) -> None:
        found = self._word()
        if found != word:
            raise Invalid(f"Syntax error: '{word}' was expected, not '{found}'.")

    def _next_is(self, word: str) -> bool:
        if self._words[:1] == [word]:
            self._words.pop(0)
            return True
        return False


def condition(text: str, fields: frozenset[str], type_name: str) -> Callable[[Row], bool]:
    """Return what decides whether a row meets a `$filter`.

    Raises:
        Invalid: It can't be read, or names a field that the type has not.
    """
    term = _Reader(text, fields, type_name).whole()
    return lambda row: bool(term(row))


def _literal(word: str) -> Any:
    if word.startswith("'"):
        return word[1:-1].replace("''", "'")
    if re.fullmatch(r"-?\d+(\.\d+)?", word):
        return float(word)
    return _LITERALS.get(word, word)  # what is left is a date, which compares as text
