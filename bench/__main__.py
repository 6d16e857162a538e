"""What it costs, all of it or some: `python -m bench [NAME ...] [--share 0.01]`.

Prints which bars are met and writes bench/results.json and bench/RESULTS.md. Measurements that are
not named keep the figures of their last run; with another share than 1 nothing is written.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from agent.clock import Clock
from bench import figures, page
from bench.figures import Figure, Scale
from meter.periods import iso

#: In this order: the rows of the table, each a module with a `measure`.
NAMES: Final = (
    "decoding",
    "metering",
    "memory",
    "storage",
    "months",
    "notices",
    "provider",
    "whole_agent",
    "unharmed",
)
_MARKS: Final = {True: "met", False: "NOT MET", None: ""}
_FOLDER: Final = Path(__file__).parent


def measure(name: str, scale: Scale) -> list[Figure]:
    """Return one measurement's figures."""
    gc.collect()
    found: list[Figure] = importlib.import_module(f"bench.{name}").measure(scale)
    return found


def said(found: list[Figure]) -> str:
    """Return figures as lines for a terminal."""
    return "\n".join(f"  {one.name:<66}{one.told():>22}  {one.bound():<16}{_MARKS[one.met]}" for one in found)


def main() -> int:
    """Measure, print, write. Always 0: timings fail nothing."""
    given = argparse.ArgumentParser(prog="bench", description=__doc__)
    given.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    given.add_argument("--share", type=float, default=1.0, help="of the full sizes")
    words = given.parse_args()
    if unknown := set(words.names) - set(NAMES):
        given.error(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    results = _FOLDER / "results.json"
    kept: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for name in words.names or NAMES:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        found = measure(name, Scale(words.share))
        print(f"{said(found)}\n  ({time.monotonic() - began:.0f} s)", flush=True)
        kept[name] = {
            "at": iso(Clock().now()),
            "machine": figures.machine(),
            "figures": [one.plain() for one in found],
        }
    if words.share == 1:
        results.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (_FOLDER / "RESULTS.md").write_text(page.page(kept), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
