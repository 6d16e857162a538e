"""A scenario file: calls that are written down beforehand, the same ones every time.

TOML or JSON, a list of calls; each says when it begins, in seconds since the scenario's
beginning, and what it does. What is left out is as usual (`cycles.Plan`):

    [[call]]
    at = 12.5
    cycle = "queue"         # a name of cycles.CYCLES
    trunk = "10000"         # the DN of the line
    out = "10001"           # the line that it is forwarded over
    extension = "101"
    other = "102"
    via = "8003"            # queue, menu, ring group, parking
    ring_s = 9
    talk_s = 60             # "never": nobody answers
    times = 3               # so many such calls
    every_s = 1             # so far apart

As JSON: `{"call": [{"at": 12.5, "cycle": "queue"}]}`, where null says "never", too.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.threecx.simulated.cycles import CYCLES, begin
from connectors.threecx.simulated.exchange import Exchange
from connectors.threecx.simulated.timeline import Call
from meter.model import Instant

_TEXTS: Final = ("trunk", "out", "extension", "other", "via")
_NUMBERS: Final = ("ring_s", "talk_s")
_NEVER: Final = "never"


class Unreadable(ValueError):  # noqa: N818 -- it says what is so
    """This is no scenario. The sentence names the call and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Scripted:
    """One call of a scenario, or several alike.

    Attributes:
        at_s: When the first begins, in seconds since the scenario's beginning.
        cycle: What it does.
        wishes: What of its plan is not as usual.
        times, every_s: How many, and how far apart.
    """

    at_s: float
    cycle: str
    wishes: Mapping[str, Any]
    times: int = 1
    every_s: float = 1.0


def read(path: Path) -> list[Scripted]:
    """Return the calls of a scenario file, in its order.

    Raises:
        Unreadable: It can't be read, or a call says what can't be understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
        whole = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path.name}: {error}") from error
    return scripted(whole)


def scripted(whole: Any) -> list[Scripted]:
    """Return the calls of a scenario that has been read. Raises as `read`."""
    if not isinstance(whole, dict) or set(whole) != {"call"} or not isinstance(whole["call"], list):
        raise Unreadable("a scenario is a list of `call`, and nothing else")
    return [_one(number, entry) for number, entry in enumerate(whole["call"], start=1)]


def schedule(exchange: Exchange, calls: Iterable[Scripted], *, at: Instant | None = None) -> list[Call]:
    """Write all calls of a scenario down, from an instant on (None: now), and return them."""
    start = exchange.now() if at is None else at
    return [
        begin(
            exchange,
            call.cycle,
            at=start + round((call.at_s + place * call.every_s) * 1000),
            **call.wishes,
        )
        for call in calls
        for place in range(call.times)
    ]


def _one(number: int, entry: Any) -> Scripted:
    if not isinstance(entry, dict):
        raise Unreadable(f"call {number} is no table")
    unknown = entry.keys() - {"at", "cycle", "times", "every_s", *_TEXTS, *_NUMBERS}
    if unknown:
        raise Unreadable(f"call {number}: nothing is called {', '.join(sorted(unknown))}")
    cycle = str(entry.get("cycle", ""))
    if cycle not in CYCLES:
        raise Unreadable(f"call {number}: no cycle is called {cycle!r}; there are {', '.join(CYCLES)}")
    wishes: dict[str, Any] = {name: _text(number, entry, name) for name in _TEXTS if name in entry}
    for name in _NUMBERS:
        if name in entry:
            never = name == "talk_s" and entry[name] in {None, _NEVER}
            wishes[name] = None if never else _number(number, entry, name, 0)
    return Scripted(
        _number(number, entry, "at", 0),
        cycle,
        wishes,
        round(_number(number, entry, "times", 1)),
        _number(number, entry, "every_s", 1),
    )


def _number(number: int, entry: Mapping[str, Any], name: str, usual: float) -> float:
    value = entry.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise Unreadable(f"call {number}: {name} is no number of 0 or more")
    return value


def _text(number: int, entry: Mapping[str, Any], name: str) -> str:
    value = entry[name]
    if not isinstance(value, str):
        raise Unreadable(f'call {number}: {name} is written in quotes, "10000"')
    return value
