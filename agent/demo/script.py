"""The simulated day, and what was true of it. Pure.

An ordinary office day in which two things are made to happen: in the morning one
tenant's telephones go mad, so that it takes more lines than it bought; in the
afternoon the other one nearly fills its own. Both last long enough that no slow
machine can miss them, so the peaks are known beforehand and can be compared.
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

_SEED: Final = 3  # a day whose ordinary peaks stay well below what the two rushes make
#: Calls are fewer and longer than usual: at this speed shorter ones would only flicker.
_CALLS: Final = 420
_TALK_S: Final = 480


class Line(Protocol):
    """One line that was in use, as the simulated PBX itself knows it."""

    endpoint: str
    call: str
    start: Instant
    answer: Instant | None
    end: Instant | None


def planned(trunks: tuple[str, ...], extensions: tuple[str, ...], seed: int = _SEED) -> list[PlannedCall]:
    """Return the day's calls, earliest first.

    Args:
        trunks: The line that the first rush is on, then that of the second.
        extensions: Who works here.
        seed: Which day.
    """
    office = Office(trunks, extensions, calls=_CALLS, talk_s=_TALK_S)
    calls = [call for call in day(office, seed) if OPENS_S <= call.at_s < CLOSES_S]
    first, second = trunks
    calls = _rush(office, calls, first, at_s=10.3 * _H, until_s=11.4 * _H, lines=15, forwarded=2)
    calls = _rush(office, calls, second, at_s=14.5 * _H, until_s=15.2 * _H, lines=5, forwarded=1)
    return sorted(calls, key=lambda call: call.at_s)


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


def true_peaks(lines: Iterable[Line], trunk: str, start: Instant, end: Instant) -> dict[Level, int]:
    """Return the peaks of `[start, end)` on one trunk, from the truth alone.

    It counts as plainly as can be and shares nothing with the meter: everything at
    one instant is one change, a call counts while at least one of its lines does.
    """
    on = [line for line in lines if line.endpoint == trunk]
    return {
        Level.CHANNELS: _highest([(line.start, line.end, id(line)) for line in on], start, end),
        Level.CALLS: _highest([(line.start, line.end, line.call) for line in on], start, end),
        Level.ANSWERED: _highest(
            [(line.answer, line.end, line.call) for line in on if line.answer is not None], start, end
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
