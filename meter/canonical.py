"""JSON without doubt: one way to write it, and no two ways to read it.

What is signed is read by other people's programs, so it holds only what every
JSON reader reads alike: integers within +-(2^53 - 1), strings of real characters,
no name twice, no floats.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

#: Integers beyond this lose digits in programs that read numbers as doubles (RFC 7493, 2.2).
MAX_INTEGER: Final = 2**53 - 1


def canonical_bytes(value: Any) -> bytes:
    """Return the one JSON text of a value: names sorted, nothing superfluous, UTF-8.

    Raises:
        ValueError: The value holds what JSON can't say (NaN, a lone surrogate).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def exact(payload: bytes) -> Any:
    """Return what a JSON text says, if it can be read in one way only.

    Raises:
        ValueError: Not UTF-8, not JSON, nested too deeply, or it holds a float, an
            integer that is too large, a name twice, or half a character. The
            message says which, and quotes nothing.
    """
    try:
        value = json.loads(
            payload.decode("utf-8"),
            parse_float=_no_float,
            parse_int=_integer,
            parse_constant=_no_float,
            object_pairs_hook=_object,
        )
        # A lone surrogate ("\\ud800") is legal JSON and no character: no database takes it.
        canonical_bytes(value)
    except UnicodeError:
        raise ValueError("not UTF-8 text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    return value


def _no_float(_: str) -> NoReturn:
    raise ValueError("a number that is not an integer")


def _integer(digits: str) -> int:
    if len(digits) > len(str(-MAX_INTEGER)) or abs(int(digits)) > MAX_INTEGER:
        raise ValueError("an integer beyond 2^53 - 1")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value
