"""A model of an office's day on the telephone: who calls when, which way, for how long. Pure.

Calls come as they do in offices (a Poisson process whose rate follows the day: a
hump in the morning, a dip at lunch, a lower hump in the afternoon), ring for some
seconds, and last as long-tailed as people talk. The same seed gives the same day.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DAY_S: Final = 86_400


class Kind(StrEnum):
    """What a call does."""

    IN = "in"
    OUT = "out"
    INTERNAL = "internal"
    FORWARDED = "forwarded"  #: in on one line and out again on another


@dataclass(frozen=True, slots=True)
class Office:
    """An office and its habits.

    Attributes:
        trunks, extensions: Full endpoints. Of two trunks the first carries most.
        calls: How many a day brings, about.
        ring_s, talk_s: How long on average.
        answered: Which part of the calls is answered.
        mix: How often each kind occurs, relative to the others.
    """

    trunks: tuple[str, ...]
    extensions: tuple[str, ...]
    calls: int = 1200
    ring_s: float = 9
    talk_s: float = 170
    answered: float = 0.86
    mix: tuple[tuple[Kind, int], ...] = (
        (Kind.IN, 46),
        (Kind.OUT, 34),
        (Kind.INTERNAL, 13),
        (Kind.FORWARDED, 7),
    )


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of the day.

    Attributes:
        at_s: When it begins, in seconds since midnight.
        kind: What it does.
        trunk: The line that it begins or ends on (internal: not used).
        out: The line that it is forwarded over.
        extension, other: Who calls or is called; `other` is the second one of an internal call.
        ring_s: How long it rings.
        talk_s: How long it is talked; None: nobody answers.
    """

    at_s: float
    kind: Kind
    trunk: str
    out: str
    extension: str
    other: str
    ring_s: float
    talk_s: float | None


def busyness(at_s: float) -> float:
    """Return how busy the office is at a time of day, 1 at about half past ten."""
    hour = at_s / 3600

    def hump(middle: float, width: float) -> float:
        return math.exp(-(((hour - middle) / width) ** 2))

    return hump(10.5, 1.4) + 0.85 * hump(15, 1.5) + 0.15 * hump(12.8, 4) + 0.004


def day(office: Office, seed: int) -> list[PlannedCall]:
    """Return a day's calls, earliest first."""
    chance = random.Random(seed)  # noqa: S311 -- a model of people, no secret
    minutes = [busyness(minute * 60) for minute in range(DAY_S // 60)]
    per_second = office.calls / (60 * sum(minutes))
    calls = []
    highest = max(minutes) * per_second
    at_s = chance.expovariate(highest)
    while at_s < DAY_S:
        if chance.random() * highest < busyness(at_s) * per_second:
            calls.append(_call(office, chance, at_s))
        at_s += chance.expovariate(highest)
    return calls


def burst(
    office: Office, seed: int, *, at_s: float, lines: int, hold_s: float, trunk: str = ""
) -> list[PlannedCall]:
    """Return `lines` inbound calls within a few seconds of `at_s`, all up together for `hold_s`.

    Added to a day it forces a level: the rest of the day comes on top.
    """
    chance = random.Random(seed)  # noqa: S311 -- as in `day`
    spread_s = min(5.0, hold_s / 10)
    return sorted(
        (
            PlannedCall(
                at_s=at_s + chance.random() * spread_s,
                kind=Kind.IN,
                trunk=trunk or office.trunks[0],
                out="",
                extension=chance.choice(office.extensions),
                other="",
                ring_s=1,
                talk_s=hold_s + spread_s,
            )
            for _ in range(lines)
        ),
        key=lambda call: call.at_s,
    )


def _call(office: Office, chance: random.Random, at_s: float) -> PlannedCall:
    kinds, weights = zip(*office.mix, strict=True)
    shares = [3, *(1 for _ in office.trunks[1:])]
    extension, other = chance.sample(office.extensions, 2)
    sigma = 0.9  # of the logarithm: most calls are short, some are very long
    talk_s = chance.lognormvariate(math.log(office.talk_s) - sigma**2 / 2, sigma)
    return PlannedCall(
        at_s=at_s,
        kind=chance.choices(kinds, weights)[0],
        trunk=chance.choices(office.trunks, shares)[0],
        out=chance.choices(office.trunks, shares)[0],
        extension=extension,
        other=other,
        ring_s=1 + chance.expovariate(1 / office.ring_s),
        talk_s=talk_s if chance.random() < office.answered else None,
    )
