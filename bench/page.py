"""bench/RESULTS.md out of the figures of all measurements' last runs."""

from __future__ import annotations

from typing import Any, Final

from bench.figures import Figure, from_plain

_HEAD: Final = """\
# What it costs

Written by `make bench`, which also writes results.json. `make bench ARGS=decoding` measures one row anew;
the others keep the figures of their last run.

**How to read it.** Machines differ and are busy: what is a ratio was measured side by side in one run, and
CPU time counts where another program could take the processor away. A bar is what the figure must be; a
figure without one stands beside another. Nothing here fails a test.

"""
_MARKS: Final = {True: "met", False: "**not met**", None: ""}


def page(kept: dict[str, Any]) -> str:
    """Return the page.

    Args:
        kept: By measurement: `at`, `machine`, `figures`, as results.json holds them.
    """
    text = _HEAD
    short: list[tuple[str, Figure]] = []
    for name, run in kept.items():
        found = [from_plain(one) for one in run["figures"]]
        short += [(name, one) for one in found if one.met is False]
        text += f"## {name}\n\n{_doc(name)}\n\n{_told(run)}\n\n"
        text += "| what | figure | must be | | how |\n|---|---|---|---|---|\n"
        text += "".join(
            f"| {one.name} | {one.told()} | {one.bound()} | {_MARKS[one.met]} | {one.how} |\n"
            for one in found
        )
        text += "\n"
    text += "## What fell short, and why\n\n"
    if not short:
        text += "Nothing: every bar is met.\n"
    for name, one in short:
        text += f"- {name}, {one.name}: {one.told()}, must be {one.bound()}. {one.why}\n"
    return text


def _told(run: dict[str, Any]) -> str:
    on = run["machine"]
    return (
        f"Measured {run['at'][:16]}Z on {on['cores']} cores ({on['model']}), Linux {on['kernel']}, Python {on['python']}, "
        f"Asterisk {' and '.join(on['asterisk']) or 'none'}; load {on['load']} at the end."
    )


def _doc(name: str) -> str:
    """Return what a measurement's module says of itself, without its name for the reader of the code."""
    from importlib import import_module  # noqa: PLC0415 - a measurement is loaded when it is spoken of

    doc = import_module(f"bench.{name}").__doc__ or ""
    return doc.strip()
