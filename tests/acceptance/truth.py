"""Calls on the simulated Asterisk, as scripts write them, and what is true of them by the plainest means."""

from __future__ import annotations

from collections.abc import Iterable

from connectors.asterisk.simulated import calls
from connectors.asterisk.simulated.calls import Call
from connectors.asterisk.simulated.exchange import Line
from meter.model import Instant
from tests.acceptance.harness import KPN, Site


def ring(site: Site, trunk: str = KPN, *, count: int = 1, extension: str = "PJSIP/101") -> list[Call]:
    """Let calls come in on a trunk and ring."""
    return [calls.ring_in(site.asterisk.exchange, trunk, extension) for _ in range(count)]


def talk(site: Site, trunk: str = KPN, *, count: int = 1) -> list[Call]:
    """Let calls come in on a trunk and be answered."""
    begun = ring(site, trunk, count=count)
    for call in begun:
        call.answer()
    return begun


def hang_up(*ending: Call) -> None:
    for call in ending:
        call.hang_up()


def levels_at(lines: Iterable[Line], at: Instant) -> dict[str, int]:
    """Return the three levels that were true at an instant, by the definition and the plainest means."""
    up = [line for line in lines if line.start <= at and (line.end is None or at < line.end)]
    answered = {line.call for line in up if line.answer is not None and line.answer <= at}
    return {"channels": len(up), "calls": len({line.call for line in up}), "answered": len(answered)}


def true_peaks(lines: Iterable[Line]) -> dict[str, int]:
    """Return the highest of each level over all instants at which anything changed."""
    lines = list(lines)
    instants = {at for line in lines for at in (line.start, line.answer, line.end) if at is not None}
    found = [levels_at(lines, at) for at in instants] or [levels_at((), 0)]
    return {level: max(each[level] for each in found) for level in found[0]}
