"""What is known of a PBX right now, and the facts that changed: the state that `meter.levels` keeps.

Nothing in here decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from meter.model import Gap, Instant, Leg, Merge
from meter.tenancy import Claims


class Live:
    """A leg that is up, trunk leg or not."""

    __slots__ = ("call", "claims", "heard_at", "id", "provisional", "row")

    def __init__(self, id_: str, call: str, claims: Claims, row: Leg | None, heard_at: Instant) -> None:
        self.id = id_
        self.call = call  # the name that its call goes by now
        self.claims = claims
        self.row = row  # None: an internal leg, which only helps to say whose the others are
        self.heard_at = heard_at  # the last event or snapshot that proves it
        self.provisional = False  # whose it is may yet change


class LiveCall:
    """The legs of one call, oldest first, the names it swallowed, and the bridges it went through."""

    __slots__ = ("bridges", "gone", "legs")

    def __init__(self) -> None:
        self.legs: dict[str, Live] = {}
        self.gone: list[str] = []
        self.bridges: set[str] = set()


@dataclass(slots=True)
class Watched:
    """One PBX as it is known now.

    Attributes:
        name: Its configured name.
        gap: The running gap; None while it is observed.
        agreed_at: The last instant up to which snapshots and events agree.
        booted: Which run of the PBX this is, as its snapshots say.
        snapshots, missed_starts, missed_hangups, missed_polls: Counted since the agent started.
        ahead_ms: How far its clock is ahead of ours, as its last snapshot says; None: not known.
    """

    name: str
    gap: Gap | None = None
    agreed_at: Instant = 0
    booted: str | None = None
    snapshots: int = 0
    missed_starts: int = 0
    missed_hangups: int = 0
    missed_polls: int = 0
    ahead_ms: int | None = None
    now: Instant = 0
    legs: dict[str, Live] = field(default_factory=dict, repr=False)
    calls: dict[str, LiveCall] = field(default_factory=dict, repr=False)
    names: dict[str, str] = field(default_factory=dict, repr=False)
    bridges: dict[str, str] = field(default_factory=dict, repr=False)  # bridge -> its call
    ended: dict[str, Instant] = field(default_factory=dict, repr=False)
    doubts: set[str] = field(default_factory=set, repr=False)
    doubted_at: Instant = 0


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One snapshot's comparison with the events, for the record's `reconciliation`."""

    pbx: str
    at: Instant
    missed_starts: int
    missed_hangups: int
    missed_polls: int = 0
    ahead_ms: int | None = None


@dataclass(slots=True)
class Changes:
    """Facts that are new or changed since they were last taken; later ones replace earlier ones of one row.

    `merged` says whose legs each of `merges` moved, in the same order; `moved` from whom
    legs that are among `legs` were taken, by row.
    """

    legs: dict[int, Leg] = field(default_factory=dict)
    gaps: dict[int, Gap] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    merged: list[frozenset[str]] = field(default_factory=list)
    reconciled: list[Reconciled] = field(default_factory=list)
    moved: dict[int, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.legs or self.gaps or self.merges or self.reconciled)

    def absorb(self, later: Changes) -> None:
        """Take in what was taken later."""
        self.legs.update(later.legs)
        self.gaps.update(later.gaps)
        self.merges += later.merges
        self.merged += later.merged
        self.reconciled += later.reconciled
        self.moved = later.moved | self.moved  # whose it was at first
