"""The simulated day of both offices, and what was true of it. Pure.

Ordinary office days in which three things are made to happen. In the morning the
telephones of the office on the Asterisk go mad, so that it takes more lines than it
bought. In the afternoon the one on the 3CX has a rush, and later nine callers at once
who are gone after ten seconds: between two polls, mostly. Both rushes last so long that
no slow machine can miss them, and of the nine callers the 3CX's own call log tells. So
the peaks are known beforehand and can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final, Protocol

from connectors.office import Kind, Office, PlannedCall, burst, day
from meter.model import Instant, Level

_H: Final = 3600
OPENS_S: Final = 7.5 * _H
CLOSES_S: Final = 19.0 * _H
DAY_S: Final = CLOSES_S - OPENS_S

_SEED: Final = 3  # days whose ordinary peaks stay well below what is made to happen
#: Calls are fewer and longer than usual: at this speed shorter ones would only flicker.
_EVENT_CALLS, _POLLED_CALLS = 320, 150
_TALK_S: Final = 480
#: When the nine callers come, and for how long they talk.
FLASH_S: Final = 16.75 * _H
_FLASH_LASTS_S: Final = 10
_FLASH_LINES: Final = 9
_FLASH_SEED: Final = 10  # callers whose ways through the 3CX are all over the same line


class Line(Protocol):
    """One line that was in use, as the simulated PBX itself knows it."""

    @property
    def call(self) -> object:
        """What makes two lines one call."""
        ...

    @property
    def start(self) -> Instant:
        """When it was taken."""
        ...

    @property
    def answer(self) -> Instant | None:
        """When it was answered; None: it was not (yet)."""
        ...

    @property
    def end(self) -> Instant | None:
        """When it was given back; None: it is in use."""
        ...


def overrun(trunk: str, extensions: tuple[str, ...]) -> list[PlannedCall]:
    """Return the day of the office that goes over its capacity, earliest call first."""
    office = Office((trunk,), extensions, calls=_EVENT_CALLS, talk_s=_TALK_S)
    calls = _ordinary(office)
    calls = _rush(office, calls, trunk, at_s=10.3 * _H, until_s=11.4 * _H, lines=15, forwarded=2)
    return sorted(calls, key=lambda call: call.at_s)


def flash(trunk: str, extensions: tuple[str, ...]) -> list[PlannedCall]:
    """Return the day of the office that has a rush and, later, nine callers at once, earliest call first."""
    office = Office((trunk,), extensions, calls=_POLLED_CALLS, talk_s=_TALK_S)
    calls = _ordinary(office)
    calls = _rush(office, calls, trunk, at_s=14.0 * _H, until_s=15.2 * _H, lines=5, forwarded=1)
    crowd = burst(office, _FLASH_SEED, at_s=FLASH_S, lines=_FLASH_LINES, hold_s=_FLASH_LASTS_S, trunk=trunk)
    over_s = max(_ends_s(call) for call in crowd)
    apart = [call for call in calls if _ends_s(call) < FLASH_S or call.at_s > over_s]
    return sorted(apart + crowd, key=lambda call: call.at_s)


def _ordinary(office: Office) -> list[PlannedCall]:
    """Return the calls of a day that begin and end while the office is open."""
    return [call for call in day(office, _SEED) if call.at_s >= OPENS_S and _ends_s(call) < CLOSES_S]


def _rush(
    office: Office,
    calls: list[PlannedCall],
    trunk: str,
    *,
    at_s: float,
    until_s: float,
    lines: int,
    forwarded: int,
) -> list[PlannedCall]:
    """Return the calls with a rush on a trunk in the place of what else would be on it.

    The lines are taken one a minute and given back one every half minute from
    `until_s` on. `forwarded` more callers are sent out again, on two lines each.
    """
    rush = []
    for place in range(lines + forwarded):
        begins_s, ends_s = at_s + 60 * place, until_s + 30 * place
        (call,) = burst(office, place, at_s=begins_s, lines=1, hold_s=ends_s - begins_s, trunk=trunk)
        rush.append(replace(call, kind=Kind.FORWARDED, out=trunk) if place < forwarded else call)
    over_s = until_s + 30 * len(rush)
    return [
        call for call in calls if not _on(call, trunk) or _ends_s(call) < at_s or call.at_s > over_s
    ] + rush


def _on(call: PlannedCall, trunk: str) -> bool:
    return call.kind is not Kind.INTERNAL and trunk in (
        call.trunk,
        call.out if call.kind is Kind.FORWARDED else "",
    )


def _ends_s(call: PlannedCall) -> float:
    return call.at_s + call.ring_s + (call.talk_s or 0)


def true_peaks(lines: Iterable[Line], start: Instant, end: Instant) -> dict[Level, int]:
    """Return the peaks of `[start, end)`, from the truth alone.

    It counts as plainly as can be and shares nothing with the meter: everything at
    one instant is one change, a call counts while at least one of its lines does.
    """
    lines = list(lines)
    return {
        Level.CHANNELS: _highest([(line.start, line.end, id(line)) for line in lines], start, end),
        Level.CALLS: _highest([(line.start, line.end, line.call) for line in lines], start, end),
        Level.ANSWERED: _highest(
            [(line.answer, line.end, line.call) for line in lines if line.answer is not None], start, end
        ),
    }


def _highest(
    stretches: Sequence[tuple[Instant, Instant | None, object]], start: Instant, end: Instant
) -> int:
    changes = sorted(
        [(max(begin, start), 1, name) for begin, _, name in stretches]
        + [(max(over, start), -1, name) for _, over, name in stretches if over is not None],
        key=lambda change: change[0],
    )
    up: Counter[object] = Counter()
    highest = 0
    for at, together in groupby(changes, key=lambda change: change[0]):
        if at >= end:
            break
        for _, by, name in together:
            up[name] += by
        highest = max(highest, sum(count > 0 for count in up.values()))
    return highest
