"""What a polled PBX's own call records tell, laid beside what the polls saw of the same legs.

A poll sees a leg late by up to an interval, at both ends, and may miss a short one. The
call records tell its whole life, once the call has ended. This finds which of the legs
that polls saw are which of those that the records tell; those that are left over are
calls between two polls.

Rules of this file:
- the two name a leg by nothing in common that can be relied on: trunk, direction and life
  decide, and each leg that polls saw stands for one told leg at most;
- a told leg keeps the tenant and the call that the polls had settled;
- what polls saw and no record tells stays as it is: it was seen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from meter.model import Leg
from meter.presence import end_of

#: How far instants of call records may be off, in ms: a log that states milliseconds, by a clock whose
#: lead is known; and lines that count whole seconds.
SLACK_MS: Final[Mapping[str, int]] = {"call_log": 500, "cdr": 2_000}
#: Rows of told legs are below this: polled ones count upwards from 1, those of a correction downwards from 0.
TOLD_BELOW = -(1 << 40)


@dataclass(frozen=True, slots=True)
class Telling:
    """What call records tell that was not told before.

    Attributes:
        legs: Legs as they are told, with the tenant and the call that they belong to.
        seen_as: Polled legs that are one of them: row -> the told leg's row.
    """

    legs: tuple[Leg, ...]
    seen_as: dict[int, int]


def telling(polled: Iterable[Leg], told: Sequence[Leg], late_ms: int, slack_ms: int) -> Telling:
    """Find which legs that polls saw are which of those that call records tell.

    Args:
        polled: Ended legs of one PBX that no record told of yet.
        told: Its legs as call records tell them, each with a row of its own.
        late_ms: How late a poll may see a change.
        slack_ms: How far the records' instants may be off.
    """
    places: dict[tuple[str, str], list[Leg]] = defaultdict(list)
    for leg in sorted(polled, key=lambda leg: leg.start):
        places[leg.endpoint, leg.direction].append(leg)
    seen_as: dict[int, int] = {}
    whole: dict[int, Leg] = {}  # told row -> the polled leg that it is
    near: list[tuple[int, Leg, Leg]] = []
    for leg in told:
        there = places.get((leg.endpoint, leg.direction), [])
        first = bisect_left(there, leg.start - slack_ms, key=lambda one: one.start)
        for one in there[first:]:
            if one.start > end_of(leg) + slack_ms:
                break  # a poll saw it while it was up
            if end_of(one) <= end_of(leg) + late_ms + slack_ms:
                near.append((_apart(one, leg), one, leg))
    for _, one, leg in sorted(near, key=lambda pair: (pair[0], pair[1].row, pair[2].row)):
        if one.row not in seen_as and leg.row not in whole and _may_be(one, leg, late_ms + slack_ms):
            seen_as[one.row] = leg.row
            whole[leg.row] = one
    for one, leg in _pieces(near, whole, seen_as):
        seen_as[one.row] = leg.row
    return Telling(tuple(_settled(told, whole)), seen_as)


def _may_be(one: Leg, leg: Leg, late_ms: int) -> bool:
    """Return whether a polled leg may be a told one.

    Where the two are held to be different tenants', only a life that agrees on both ends makes
    them one: nobody's calls become somebody else's by chance.
    """
    if one.tenant == leg.tenant:
        return True
    return one.start <= leg.start + late_ms and end_of(one) >= end_of(leg) - late_ms


def _apart(one: Leg, leg: Leg) -> int:
    return abs(one.start - leg.start) + abs(end_of(one) - end_of(leg))


def _pieces(
    near: Iterable[tuple[int, Leg, Leg]], whole: dict[int, Leg], seen_as: dict[int, int]
) -> Iterable[tuple[Leg, Leg]]:
    """Return polled legs that are pieces of a told leg, beside the one that it is.

    A transfer may move a trunk leg to another call of the PBX: to a poll that is one leg
    that ends and another that begins, at one instant. And one answer that lacks a call, or a
    gap, ends a leg that the next poll shows again, by the same id.
    """
    by_told: dict[int, list[tuple[Leg, Leg]]] = defaultdict(list)
    for _, one, leg in near:
        by_told[leg.row].append((one, leg))
    for row, pairs in by_told.items():
        if row not in whole:
            continue
        first, last = whole[row].start, end_of(whole[row])
        for one, leg in sorted(pairs, key=lambda pair: pair[0].start):
            if one.row in seen_as:
                continue
            if one.start == last:
                last = end_of(one)
            elif end_of(one) == first:
                first = one.start
            elif one.leg != whole[row].leg:
                continue
            seen_as[one.row] = row
            yield one, leg


def _settled(told: Sequence[Leg], whole: dict[int, Leg]) -> Iterable[Leg]:
    """Give told legs the tenant and the call of what polls saw of them."""
    calls: dict[str, str] = {}
    for leg in told:
        if leg.row in whole:
            calls.setdefault(leg.call, whole[leg.row].call)
    for leg in told:
        one = whole.get(leg.row)
        call = calls.get(leg.call, leg.call)
        yield replace(leg, call=call) if one is None else replace(leg, call=call, tenant=one.tenant)
