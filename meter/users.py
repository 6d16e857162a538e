"""Extension readings of a period and what they say about users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meter.model import Instant, Reading


@dataclass(frozen=True, slots=True)
class PbxUsers:
    """The last good reading of one PBX in the period, or before it if there is none.

    Attributes:
        count: How many users.
        read_at: When.
        source: Which list.
        pbx_own_count: The PBX's own licence count.
        in_period: Whether the reading lies in the period; else it only stands beside.
    """

    count: int
    read_at: Instant
    source: str
    pbx_own_count: int | None
    in_period: bool


@dataclass(frozen=True, slots=True)
class UserFigures:
    """One tenant's users in a period.

    Attributes:
        at_close: The sum over its PBXs of the last good reading in the period; None if a PBX has none.
        max: The highest such sum after any reading of the period; None as above.
        created, removed: Extensions that came and went between readings of one source.
        failed_reads: Readings of the period that failed.
        pbxs: By PBX; a PBX that was never read is absent.
    """

    at_close: int | None
    max: int | None
    created: int
    removed: int
    failed_reads: int
    pbxs: dict[str, PbxUsers]


def users(readings: Sequence[Reading], pbxs: Iterable[str], start: Instant, end: Instant) -> UserFigures:
    """Return the users of one tenant in `[start, end)`.

    Args:
        readings: Its readings in order of time: those of the period, and the last good
            one of each PBX before it.
        pbxs: Its PBXs.
        start: The period's first instant.
        end: The instant up to which it is judged.
    """
    names = tuple(pbxs)
    last: dict[str, PbxUsers] = {}
    highest: int | None = None
    created = removed = failed = 0
    for reading in readings:
        inside = start <= reading.at < end
        if reading.count is None:
            failed += inside
            continue
        if reading.at >= end:
            continue
        last[reading.pbx] = PbxUsers(reading.count, reading.at, reading.source, reading.pbx_own_count, inside)
        if inside:
            created += reading.created
            removed += reading.removed
            total = _sum(last, names)
            if total is not None:
                highest = total if highest is None else max(highest, total)
    return UserFigures(
        at_close=_sum(last, names),
        max=highest,
        created=created,
        removed=removed,
        failed_reads=failed,
        pbxs={name: last[name] for name in names if name in last},
    )


def _sum(last: dict[str, PbxUsers], names: tuple[str, ...]) -> int | None:
    """Return the users of all PBXs together; None if one was not read in the period."""
    if not names or any(name not in last or not last[name].in_period for name in names):
        return None
    return sum(last[name].count for name in names)
