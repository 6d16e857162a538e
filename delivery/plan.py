"""When to try again: pure, so that the outbox only has to add the answer to its clock.

A plan is the waits between attempts. Its end means *park*: the row stays, is
shown, and goes again when an operator says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from delivery.courier import Refused, TryAgain

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

#: The longest wait that the other side can ask for: a slip in its `Retry-After` must not silence us for years.
LONGEST_ASKED_S: Final = _DAY
#: Every wait grows by up to this share, so that agents that failed together do not return together.
JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """The waits after the first, second, … failed attempt.

    Attributes:
        waits_s: Seconds, not falling; at least one.
        endless: Whether the last wait repeats for ever; else the plan ends after it.
    """

    waits_s: tuple[int, ...]
    endless: bool = False


#: The schedule of Standard Webhooks 1.0.0, "Deliverability and reliability": ten attempts in a bit over three days.
WEBHOOK: Final = Plan(
    (
        5,
        5 * _MINUTE,
        30 * _MINUTE,
        2 * _HOUR,
        5 * _HOUR,
        10 * _HOUR,
        14 * _HOUR,
        20 * _HOUR,
        24 * _HOUR,
    )
)
#: Soon at first (a mail server restarts, a greylist opens after minutes), then hourly. RFC 5321,
#: section 4.5.4.1, gives up after four to five days; so does this.
MAIL: Final = Plan(
    (15, 60, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 30 * _MINUTE) + (_HOUR,) * 119
)
#: Records are never given up: they are what the bill is made from.
UPSTREAM: Final = Plan((2, 5, 15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE), endless=True)

#: The plan of each lane.
PLANS: Final[Mapping[str, Plan]] = MappingProxyType({"mail": MAIL, "webhook": WEBHOOK, "upstream": UPSTREAM})


def wait_s(
    plan: Plan, *, attempt: int, outcome: TryAgain | Refused, random: Callable[[], float]
) -> float | None:
    """Return how long to wait before the next attempt, or None to park the row.

    Never shorter than the plan says, nor than the other side asked for (up to
    `LONGEST_ASKED_S`); longer by a jitter of at most `JITTER`.

    Args:
        plan: The lane's plan.
        attempt: The attempt that just failed, 1 for the first.
        outcome: How it failed. `Refused` is parked at once.
        random: Gives a number in [0, 1).

    Raises:
        ValueError: `attempt` is below 1.
    """
    if attempt < 1:
        raise ValueError("the first attempt is number 1")
    if isinstance(outcome, Refused):
        return None
    if attempt > len(plan.waits_s) and not plan.endless:
        return None
    planned_s = plan.waits_s[min(attempt, len(plan.waits_s)) - 1]
    asked_s = min(outcome.not_before_s or 0, LONGEST_ASKED_S)
    return max(planned_s, asked_s) * (1 + JITTER * random())
