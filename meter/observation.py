"""What was not seen of a tenant: the gaps of the PBXs that its terms named, and the time without terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from meter.model import Cause, Gap, Instant, Terms
from meter.presence import FOREVER, end_of


def unseen(
    gaps: Mapping[str, Sequence[Gap]], terms: Sequence[Terms], start: Instant, end: Instant
) -> list[Gap]:
    """Return the gaps that a tenant's coverage states for `[start, end)`, cut to it, oldest first.

    A gap counts for the tenant while its terms name the PBX. Time before the first terms,
    and time in which the tenant was not configured, is `not_installed`.

    Args:
        gaps: The gaps of every PBX that the terms ever named.
        terms: Everything agreed with the tenant, in order.
        start: The first instant.
        end: The instant up to which it is told.
    """
    found: list[Gap] = []
    before = terms[0].pbxs if terms else ()
    since = -FOREVER
    in_force: tuple[str, ...] = ()
    for at, pbxs in [*((t.at, t.pbxs) for t in terms), (FOREVER, ())]:
        first, last = max(since, start), min(at, end)
        if first < last:
            found += _within(gaps, in_force, first, last) if in_force else _nobody(before, first, last)
        since, before, in_force = at, in_force or before, pbxs
    return sorted(_joined(found), key=lambda gap: (gap.start, gap.pbx, gap.row))


def _within(
    gaps: Mapping[str, Sequence[Gap]], pbxs: Sequence[str], start: Instant, end: Instant
) -> list[Gap]:
    return [
        replace(gap, start=max(gap.start, start), end=min(end_of(gap), end))
        for pbx in pbxs
        for gap in gaps.get(pbx, ())
        if gap.start < end and end_of(gap) > start
    ]


def _nobody(pbxs: Sequence[str], start: Instant, end: Instant) -> list[Gap]:
    return [Gap(0, pbx, start, end, Cause.NOT_INSTALLED) for pbx in pbxs]


def _joined(pieces: Sequence[Gap]) -> list[Gap]:
    """Put the pieces of one gap together again where only the terms changed in its midst."""
    joined: list[Gap] = []
    for piece in sorted(pieces, key=lambda gap: (gap.pbx, gap.row, gap.start)):
        last = joined[-1] if joined else None
        if last is not None and (last.pbx, last.row, last.end) == (piece.pbx, piece.row, piece.start):
            joined[-1] = replace(last, end=piece.end)
        else:
            joined.append(piece)
    return joined
