"""What a measurement says: figures, each with the bar that it has to meet, and the machine that it ran on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.asterisk.roots import cache

#: How a figure is compared with its bar, and the bar.
Bar: TypeAlias = tuple[str, float]

_DIGITS: Final = 3
_LIBRARIES: Final = ("aiohttp", "cryptography", "joserfc", "panoramisk", "pyst2", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of the issue's sizes is measured.

    Attributes:
        share: 1 is the whole; the smoke run of the tests takes a thousandth.
    """

    share: float = 1.0

    def of(self, whole: int, least: int = 1) -> int:
        """Return that share of a size, at least `least`."""
        return max(least, round(whole * self.share))


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: What was measured.
        value: The figure; None: it could not be measured here, and `how` says why.
        unit: Of the value.
        how: How it was measured, as far as the name does not say it.
        bar: What it must be, `("<=", 5)` or `(">=", 15)`; None: it stands beside another.
        why: Where it may fall short of its bar: the reason.
    """

    name: str
    value: float | None
    unit: str
    how: str = ""
    bar: Bar | None = None
    why: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None: there is none, or no value."""
        if self.bar is None or self.value is None:
            return None
        way, bound = self.bar
        return self.value <= bound if way == "<=" else self.value >= bound

    def told(self) -> str:
        """Return value and unit as people read them."""
        return "not measured" if self.value is None else f"{number(self.value)} {self.unit}".rstrip()

    def bound(self) -> str:
        """Return the bar as people read it; "" without one."""
        return "" if self.bar is None else f"{self.bar[0]} {number(self.bar[1])} {self.unit}".rstrip()

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self) | {"met": self.met}


def from_plain(found: dict[str, Any]) -> Figure:
    """Return a figure that JSON held."""
    bar = found["bar"]
    given = {key: value for key, value in found.items() if key not in {"met", "bar"}}
    return Figure(bar=(bar[0], bar[1]) if bar else None, **given)


def number(value: float) -> str:
    """Return three significant digits, whole numbers from a hundred on."""
    if abs(value) >= 10 ** (_DIGITS - 1) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{_DIGITS}g}"


def unmeasured(names: Sequence[str], lacks: Sequence[str]) -> list[Figure]:
    """Return figures that this machine can't measure, with the reason."""
    return [Figure(name, None, "", how="; ".join(lacks)) for name in names]


def nearest_rank(values: Sequence[float], per_cent: float) -> float:
    """Return a percentile by nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -int(-per_cent * len(ranked) // 100) - 1))]


def machine() -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    processors = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(": ")[2] for line in processors if line.startswith("model name")), "")
    asterisks = sorted((cache() / "roots").glob("asterisk-*.version"))
    return {
        "cores": len(os.sched_getaffinity(0)),
        "model": model,
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "asterisk": [file.read_text(encoding="utf-8").strip() for file in asterisks],
        "libraries": {name: version(name) for name in _LIBRARIES},
        "load": round(os.getloadavg()[0], 1),
    }
