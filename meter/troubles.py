"""What needs a hand, and when the operator hears of it: once, and once more when it is over. Decides; never sends.

Rules of this file:
- what is not known is neither there nor gone: it changes nothing, and proves nothing;
- a trouble is told when it has stood without a break for its settling time;
- it is over when it has been known to be gone for as long as that. Each time it comes back
  within a day of being over, that time doubles, up to four hours: one that comes and goes makes
  two dozen letters at the worst in its first day and one dozen in the next, not hundreds;
- what ripens within a minute goes into one letter: a machine without network has several
  troubles at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from meter.model import Instant
from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS

#: How long what is ripe waits for what is about to be, in ms.
GATHER_MS: Final = MINUTE_MS
#: The longest time for which a trouble that comes and goes has to be gone, in ms.
LONGEST_MS: Final = 4 * HOUR_MS
#: How long it is remembered that one is over, in ms.
REMEMBER_MS: Final = DAY_MS


class Kind(StrEnum):
    """What is wrong; the subject says with which."""

    UNSEEN = "unseen"  #: a PBX can't be followed
    LOGIN = "login"  #: a PBX refuses the account or a right
    UPSTREAM = "upstream"  #: the provider refuses the records altogether
    RECORD = "record"  #: the provider can't count one
    PARKED = "parked"  #: the other side refused a mail or a webhook for good
    CLOCK = "clock"  #: nothing keeps the machine's clock right
    DISK = "disk"  #: the disk of the state directory is nearly full
    EXTENSIONS = "extensions"  #: the users of a PBX can't be read


#: What makes two sightings one trouble: its kind, and the PBX, record or lane; "" where there is one only.
Key: TypeAlias = tuple[Kind, str]

#: In which order a letter tells: as the kinds stand above.
_RANKS: Final = {kind: rank for rank, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that needs a hand, as it is now.

    Attributes:
        kind, subject: Which.
        since: When it began; None: not known, the first look that found it counts.
        said: What was said of it, in English; "": nothing.
        hint: What to do, likewise.
        commands: What to type next.
        entry: The runbook's entry.
    """

    kind: Kind
    subject: str
    since: Instant | None
    said: str
    hint: str
    commands: tuple[str, ...]
    entry: str


@dataclass(frozen=True, slots=True)
class Case:
    """What is remembered of one trouble; what was told survives restarts as a row.

    Attributes:
        kind, subject: Which.
        since: When it began.
        noticed_at: When it was first found standing without a break; None: it does not stand.
        told_at: When the operator was told; None: not yet.
        well_at: Since when it is known to be gone; None: it is not.
        over_at: When its last end was told; None: never.
        calm_ms: How long it has to be gone to be over.
    """

    kind: Kind
    subject: str
    since: Instant
    noticed_at: Instant | None
    told_at: Instant | None = None
    well_at: Instant | None = None
    over_at: Instant | None = None
    calm_ms: int = 0


@dataclass(frozen=True, slots=True)
class Tidings:
    """What one letter tells: troubles, each with when it began, and the cases that are over."""

    at: Instant
    begun: tuple[tuple[Trouble, Instant], ...]
    over: tuple[Case, ...]


def judge(
    cases: Mapping[Key, Case],
    found: Mapping[Key, Trouble | None],
    now: Instant,
    settle_ms: Callable[[Kind], int],
) -> tuple[dict[Key, Case], Tidings | None]:
    """Return what is to be remembered after a look, and what to tell now; None: nothing.

    Args:
        cases: What was remembered before it.
        found: What the look found; None: known to be well; no key: not known now.
        now: When it was.
        settle_ms: For how long a kind has to stand before it is told.
    """
    seen: dict[Key, Case] = {}
    for key in sorted(cases.keys() | found.keys(), key=lambda key: (_RANKS[key[0]], key[1])):
        case = _after(cases.get(key), key, found, now)
        if case is not None:
            seen[key] = case
    ripe = {key: at for key, case in seen.items() if (at := _ripe_at(case, settle_ms)) is not None}
    due = _due(ripe, now)
    begun: list[tuple[Trouble, Instant]] = []
    over = []
    for key in due:
        case, trouble = seen[key], found.get(key)
        if trouble is None:
            over.append(case)
            seen[key] = replace(case, noticed_at=None, told_at=None, well_at=None, over_at=now)
        else:
            begun.append((trouble, case.since))
            calm_ms = settle_ms(case.kind) if case.over_at is None else min(2 * case.calm_ms, LONGEST_MS)
            seen[key] = replace(case, told_at=now, calm_ms=calm_ms)
    return seen, Tidings(now, tuple(begun), tuple(over)) if due else None


def standing(cases: Iterable[Case]) -> list[Case]:
    """Return the cases that were told and are not known to be gone."""
    return [case for case in cases if case.told_at is not None and case.well_at is None]


def _after(case: Case | None, key: Key, found: Mapping[Key, Trouble | None], now: Instant) -> Case | None:
    """Return a case after a look; None: nothing is left to remember."""
    trouble = found.get(key)
    told = case is not None and case.told_at is not None
    if trouble is not None:
        if case is None or case.noticed_at is None:
            since = now if trouble.since is None else trouble.since
            over_at, calm_ms = (None, 0) if case is None else (case.over_at, case.calm_ms)
            return Case(*key, since, now, over_at=over_at, calm_ms=calm_ms)
        return replace(case, well_at=None)
    if case is None:
        return None
    if told:
        well_at = case.well_at or now
        return replace(case, well_at=well_at if key in found else None)
    if case.over_at is None or now - case.over_at >= REMEMBER_MS:
        return None
    return replace(case, noticed_at=None)


def _ripe_at(case: Case, settle_ms: Callable[[Kind], int]) -> Instant | None:
    """Return when a case is to be told, as it stands: its beginning, or its end; None: neither is coming."""
    if case.told_at is not None:
        return None if case.well_at is None else case.well_at + case.calm_ms
    return None if case.noticed_at is None else case.noticed_at + settle_ms(case.kind)


def _due(ripe: Mapping[Key, Instant], now: Instant) -> list[Key]:
    """Return what is ripe, or nothing while more is about to be and the first has not waited for long."""
    due = [key for key, at in ripe.items() if at <= now]
    if not due:
        return []
    coming = any(now < at <= now + GATHER_MS for at in ripe.values())
    waited_ms = now - min(ripe[key] for key in due)
    return [] if coming and waited_ms < GATHER_MS else due
