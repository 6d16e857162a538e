"""A usage report as a JSON document, and back: what is kept, what programs read, and what renderings start from.

The fields are those of `delivery.reporting.usage`, by their names; null is *not known*.
Fields may be added (a reader ignores those it does not know), never renamed. The same
report always gives the same bytes.
"""

from __future__ import annotations

import base64
import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from delivery.reporting.usage import Report
from meter.canonical import canonical_bytes, exact

#: What a document calls itself.
VERSION: Final = "pbx-meter usage report 1"

T = TypeVar("T")


class Unreadable(ValueError):  # noqa: N818  # it says what is so
    """This is no report document of a version that we know. The message quotes nothing of it."""


def written(report: Report) -> bytes:
    """Return a report as JSON text in its one form, UTF-8; a logo's bytes in base64."""
    return canonical_bytes({"document": VERSION, "report": plain(report)})


def read(document: bytes) -> Report:
    """Return the report that a document holds.

    Raises:
        Unreadable: It holds none.
    """
    try:
        value = exact(document)
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if not isinstance(value, dict) or value.get("document") != VERSION:
        raise Unreadable(f"it does not call itself {VERSION!r}")
    return restored(Report, value.get("report"))


def plain(value: Any) -> Any:
    """Return a value of a report (a dataclass, or what its fields hold) as JSON knows it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (str, int, type(None))):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return {name: plain(getattr(value, name)) for name in _names(cast("Hashable", type(value)))}


def restored(kind: type[T], value: Any) -> T:
    """Return the dataclass that `plain` wrote down.

    Raises:
        Unreadable: It is not written so.
    """
    return cast("T", _reader(cast("Hashable", kind))(value))


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what turns JSON into a value of a type; made once a type, because months have many tenants."""
    if is_dataclass(kind):
        return _dataclass_reader(cast("type[Any]", kind))
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (some,) = (_reader(each) for each in inner if each is not type(None))
        return lambda value: None if value is None else some(value)
    if origin is tuple:
        return _tuple_reader(inner)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return lambda value: _enumerated(kind, value)
    if kind is bytes:
        return _bytes
    return lambda value: _exactly(kind, value)


def _dataclass_reader(kind: type[Any]) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = [
        field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING
    ]

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping) or any(name not in value for name in needed):
            raise Unreadable(f"a {kind.__name__} is not written whole")
        return kind(**{name: reader(value[name]) for name, reader in readers.items() if name in value})

    return read


def _tuple_reader(inner: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(inner) == 2 and inner[1] is Ellipsis:  # noqa: PLR2004 - as in tuple[int, ...]
        each = _reader(inner[0])
        return lambda value: tuple([each(one) for one in _exactly(list, value)])
    readers = [_reader(one) for one in inner]

    def read(value: Any) -> Any:
        if len(_exactly(list, value)) != len(readers):
            raise Unreadable("a list of another length")
        return tuple([reader(one) for reader, one in zip(readers, value, strict=True)])

    return read


def _exactly(kind: type[T], value: Any) -> T:
    if type(value) is not kind:  # a bool is an int too
        raise Unreadable(f"something else where {kind.__name__} belongs")
    return value


def _enumerated(kind: type[Enum], value: Any) -> Enum:
    try:
        return kind(value)
    except ValueError:
        raise Unreadable(f"no {kind.__name__} that is known") from None


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_exactly(str, value), validate=True)
    except ValueError:
        raise Unreadable("bytes that are not base64") from None
