"""Events in, facts of the ledger and the levels now out: the live state of every PBX.

Rules of this file:
- everything that opens, changes or ends a leg, merges calls or opens a gap lives here;
- it does not know which kind of PBX it watches, who is told, or where facts are kept;
- legs are keyed by the PBX's own id and settled once: whose they are and which way they
  go never changes afterwards;
- an event is believed, a snapshot is believed more, and a contradiction is a gap;
- a polled snapshot contradicts nothing: it is one change, and holds until the next one.

A snapshot races with the events around it: a leg may be listed whose hangup was already
told, or whose birth is still on its way, and one may be missing whose hangup is. So a leg
that ended a moment ago is not opened again, and a leg that is missing, or listed and young,
is *in doubt*: its next event settles it, or else the next snapshot does. Until then the
snapshot has not agreed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from meter.calls import Calls
from meter.events import Event, LegChanged, LegEnded, LegRenamed, LegStarted, Sighting, Snapshot
from meter.model import Cause, Direction, Gap, Instant, Known, Leg, Level, Merge
from meter.tenancy import Claims, Judged, Kind, Tenancy
from meter.watched import Changes, Live, LiveCall, Reconciled, Watched

#: How long an ended leg is remembered, in ms: lists and late events may still name it.
ENDED_MS: Final = 10_000
#: How young a listed leg that no event told of may be to be put in doubt, in ms.
#: PBXs state ages in whole seconds, and an event may be a second behind a list.
DOUBT_MS: Final = 3_000
#: How long the PBX may look for whom a call is for before its leg is settled as it is, in ms.
PROVISIONAL_MS: Final = 120_000


class Levels:
    """The live state of all PBXs of one agent.

    Args:
        tenancy: The operator's rules, kept as an attribute.
        next_leg, next_gap: The ledger's next free row numbers.

    Attributes:
        pbxs: Each PBX as it is known now, by name.
        tenants: Each tenant's calls now, by PBX; they appear with the first leg.
        unclassified, unassigned: How many such legs are up now, by PBX.
    """

    def __init__(self, tenancy: Tenancy, *, next_leg: int = 1, next_gap: int = 1) -> None:
        self.pbxs: dict[str, Watched] = {}
        self.tenants: dict[str, dict[str, Calls]] = {}
        self.unclassified: dict[str, int] = {}
        self.unassigned: dict[str, int] = {}
        self.tenancy = tenancy
        self._next_leg = next_leg
        self._next_gap = next_gap
        self._changes = Changes()

    def drain(self) -> Changes:
        """Return what changed since the last call, and forget that it did."""
        changes, self._changes = self._changes, Changes()
        return changes

    def now(self, tenant: str) -> dict[Level, int]:
        """Return a tenant's levels on the PBXs that are observed now; on the others they are unknown."""
        seen = [calls for pbx, calls in self.tenants.get(tenant, {}).items() if self.pbxs[pbx].gap is None]
        return {
            Level.CHANNELS: sum(calls.channels for calls in seen),
            Level.CALLS: sum(calls.calls for calls in seen),
            Level.ANSWERED: sum(calls.answered for calls in seen),
        }

    # --- life of a PBX ---------------------------------------------------------------

    def watch(self, pbx: str) -> Watched:
        """Begin to follow a PBX that the ledger doesn't know: all time so far is a gap."""
        watched = self.pbxs[pbx] = Watched(pbx)
        self._open_gap(watched, 0, Cause.NOT_INSTALLED)
        return watched

    def restore(
        self,
        pbx: str,
        *,
        legs: Iterable[Leg],
        names: Iterable[tuple[str, str]] = (),
        gap: Gap | None,
        heard_at: Instant,
        booted: str | None,
    ) -> Watched:
        """Go on with a PBX as the ledger left it; what was not committed is a gap.

        Args:
            pbx: Its name.
            legs: The legs that were up at the last commit.
            names: Merged calls of those legs: (gone, into), in the ledger's order.
            gap: The gap that was running then, or None: one opens at `heard_at`.
            heard_at: The last commit that heard the PBX.
            booted: Which run of the PBX it was.
        """
        # Commits go on until a dead link is noticed: the gap starts before the last of them.
        proved_at = heard_at if gap is None else min(heard_at, gap.start)
        watched = self.pbxs[pbx] = Watched(pbx, gap=gap, agreed_at=proved_at, booted=booted, now=heard_at)
        for row in legs:
            settled = row.tenant if row.tenant != self.tenancy.default else None
            live = Live(row.leg, row.call, Claims(settled=settled), row, proved_at)
            self._add(watched, live)
            self._count_up(watched, live, row)
        for gone, into in names:
            self._join(watched, gone, into, heard_at, note=False)
        if gap is None:
            self._open_gap(watched, heard_at, Cause.AGENT_DOWN)
        return watched

    def forget(self, pbx: str) -> None:
        """Follow a PBX no longer, as if it had never been. What it told is to be taken with `drain` first."""
        del self.pbxs[pbx]
        for calls in self.tenants.values():
            calls.pop(pbx, None)
        self.unclassified.pop(pbx, None)
        self.unassigned.pop(pbx, None)

    def lose(self, pbx: str, at: Instant, cause: Cause) -> None:
        """Open a gap: the PBX was last heard at `at`. A running gap keeps its start and cause."""
        watched = self.pbxs[pbx]
        if watched.gap is None:
            self._open_gap(watched, max(at, watched.agreed_at), cause)
        watched.doubts.clear()

    def _open_gap(self, watched: Watched, start: Instant, cause: Cause) -> None:
        watched.gap = Gap(self._next_gap, watched.name, start, None, cause)
        self._next_gap += 1
        self._changes.gaps[watched.gap.row] = watched.gap

    def _close_gap(self, watched: Watched, gap: Gap, at: Instant) -> None:
        self._changes.gaps[gap.row] = replace(gap, end=max(at, gap.start))
        watched.gap = None

    # --- events ----------------------------------------------------------------------

    def apply(self, pbx: str, event: Event) -> None:
        """Take one event. Whatever it says, nothing is counted twice and nothing goes below zero."""
        watched = self.pbxs[pbx]
        watched.now = at = max(event.at, watched.now)
        match event:
            case LegStarted(seen=seen):
                self._started(watched, seen, at)
            case LegChanged():
                self._changed(watched, event, at)
            case LegEnded():
                self._ended(watched, event, at)
            case LegRenamed():
                self._renamed(watched, event, at)
            case Snapshot():
                self._snapshot(watched, event, at)

    def _started(self, watched: Watched, seen: Sighting, at: Instant) -> None:
        self._settle_doubt(watched, seen.leg)
        if seen.leg in watched.legs or seen.leg in watched.ended:
            return
        self._open_leg(watched, seen, at, start=at, known=Known.SEEN)

    def _changed(self, watched: Watched, event: LegChanged, at: Instant) -> None:
        self._settle_doubt(watched, event.leg)
        live = watched.legs.get(event.leg)
        if live is None:
            return
        live.heard_at = at
        if event.call:
            self._join(watched, live.call, event.call, at)
        if event.bridge:
            self._meet(watched, live, event.bridge, at)
        row = live.row
        if row is None:
            return
        if (
            event.direction is not Direction.UNKNOWN
            and row.direction is Direction.UNKNOWN
            and row.start_known is Known.SEEN
            and row.start > watched.agreed_at  # not folded for good yet
        ):
            row = self._keep(live, replace(row, direction=event.direction))
        if event.answered:
            self._answer(watched, live, row, at, Known.SEEN)

    def _ended(self, watched: Watched, event: LegEnded, at: Instant) -> None:
        self._settle_doubt(watched, event.leg)
        live = watched.legs.get(event.leg)
        if live is None:
            watched.ended[event.leg] = at
            return
        if event.call:
            self._join(watched, live.call, event.call, at)
        gap = watched.gap
        if gap is not None and live.row is not None and live.row.start <= gap.start:
            # Told while the gap still runs (the agent stalled): it was up before, and gone after.
            self._close_leg(watched, live, gap.start, Known.GAP)
        else:
            self._close_leg(watched, live, at, Known.SEEN)

    def _renamed(self, watched: Watched, event: LegRenamed, at: Instant) -> None:
        """End the leg under its old endpoint and begin it under the new one, where that makes a difference."""
        live = watched.legs.get(event.leg)
        if live is None:
            return
        live.heard_at = at
        judged = self.tenancy.judge(watched.name, event.endpoint) if event.endpoint else None
        was = live.row.endpoint if live.row else None
        if was == (judged.shown if judged and judged.kind is not Kind.EXTENSION else None):
            return
        answered = live.row is not None and live.row.answer is not None
        seen = Sighting(event.leg, live.call, event.endpoint, answered=answered)
        self._close_leg(watched, live, at, Known.SEEN)
        del watched.ended[event.leg]
        self._open_leg(watched, seen, at, start=at, known=Known.SEEN)

    # --- legs ------------------------------------------------------------------------

    def _open_leg(
        self, watched: Watched, seen: Sighting, at: Instant, *, start: Instant, known: Known
    ) -> None:
        """Open a leg: let it claim what it shows, then settle whose it is."""
        self._settle(watched, self._enter(watched, seen, at, known), seen, start, known)

    def _enter(self, watched: Watched, seen: Sighting, at: Instant, known: Known) -> Live:
        """Add a leg to its call. Seen from its birth it says all it claims; in a snapshot only what can't have changed."""
        born = known is Known.SEEN
        judged = self._judged(watched, seen)
        trunk = judged is not None and judged.kind is Kind.TRUNK
        claims = Claims(
            trunk=seen.endpoint or "" if trunk else "",
            account=seen.account,
            context=seen.context if born else "",
            did=seen.dialled if born and trunk and seen.direction is Direction.IN else "",
            departments=seen.departments,
        )
        live = Live(seen.leg, watched.names.get(seen.call, seen.call), claims, None, at)
        live.provisional = seen.provisional
        self._add(watched, live)
        return live

    def _judged(self, watched: Watched, seen: Sighting) -> Judged | None:
        return self.tenancy.judge(watched.name, seen.endpoint, listed=seen.listed) if seen.endpoint else None

    def _settle(self, watched: Watched, live: Live, seen: Sighting, start: Instant, known: Known) -> None:
        """Settle once and for all whose a trunk leg is, and keep it in the ledger."""
        judged = self._judged(watched, seen)
        if judged is None or judged.kind is Kind.EXTENSION:
            return
        tenant = self._owner(watched, live) if judged.kind is Kind.TRUNK else None
        live.row = Leg(
            row=self._next_leg,
            pbx=watched.name,
            leg=seen.leg,
            endpoint=judged.shown,
            trunk=judged.rule,
            direction=seen.direction,
            call=live.call,
            tenant=tenant,
            start=start,
            start_known=known,
        )
        self._next_leg += 1
        self._changes.legs[live.row.row] = live.row
        self._count_up(watched, live, live.row)
        if seen.answered:
            self._answer(watched, live, live.row, start if known is Known.SEEN else live.heard_at, known)

    def _owner(self, watched: Watched, live: Live) -> str | None:
        others = (other.claims for other in watched.calls[live.call].legs.values() if other is not live)
        return self.tenancy.tenant_of(watched.name, live.claims, others)

    def _resettle(self, watched: Watched, live: Live, row: Leg, seen: Sighting, at: Instant) -> None:
        """Settle for good whose a provisional leg is, now that the PBX found whom the call is for."""
        live.provisional = seen.provisional and at - row.start < PROVISIONAL_MS
        live.claims = replace(live.claims, departments=seen.departments)
        tenant = self._owner(watched, live)
        if row.trunk is None or tenant == row.tenant:
            return
        self._count_down(watched, live, row)
        if row.tenant is not None:
            self._changes.moved.setdefault(row.row, row.tenant)
        self._count_up(watched, live, self._keep(live, replace(row, tenant=tenant)))

    def _add(self, watched: Watched, live: Live) -> None:
        watched.legs[live.id] = live
        call = watched.calls.get(live.call)
        if call is None:
            call = watched.calls[live.call] = LiveCall()
        call.legs[live.id] = live

    def _count_up(self, watched: Watched, live: Live, row: Leg) -> None:
        if row.tenant is not None:
            on = self.tenants.setdefault(row.tenant, {})
            calls = on.get(watched.name)
            if calls is None:
                calls = on[watched.name] = Calls()
            calls.up((watched.name, live.call), answered=row.answer is not None)
        else:
            stray = self.unassigned if row.trunk is not None else self.unclassified
            stray[watched.name] = stray.get(watched.name, 0) + 1

    def _count_down(self, watched: Watched, live: Live, row: Leg) -> None:
        if row.tenant is not None:
            calls = self.tenants[row.tenant][watched.name]
            calls.down((watched.name, live.call), answered=row.answer is not None)
        else:
            stray = self.unassigned if row.trunk is not None else self.unclassified
            stray[watched.name] -= 1

    def _answer(self, watched: Watched, live: Live, row: Leg, at: Instant, known: Known) -> None:
        if row.answer is None:
            row = self._keep(live, replace(row, answer=max(at, row.start), answer_known=known))
            if row.tenant is not None:
                self.tenants[row.tenant][watched.name].answer((watched.name, live.call))

    def _keep(self, live: Live, row: Leg) -> Leg:
        live.row = self._changes.legs[row.row] = row
        return row

    def _close_leg(self, watched: Watched, live: Live, at: Instant, known: Known) -> None:
        del watched.legs[live.id]
        watched.ended[live.id] = at
        row = live.row
        if row is not None:
            end = max(at, row.start, row.answer or 0)
            self._changes.legs[row.row] = replace(row, end=end, end_known=known)
            self._count_down(watched, live, row)
        call = watched.calls[live.call]
        del call.legs[live.id]
        if not call.legs:
            del watched.calls[live.call]
            for gone in call.gone:
                del watched.names[gone]
            for bridge in call.bridges:
                del watched.bridges[bridge]

    def _join(self, watched: Watched, name: str, shown: str, at: Instant, *, note: bool = True) -> None:
        """Make one call of two, from now on and for good: a leg of `name` was shown with `shown`."""
        into = watched.names.get(shown, shown)
        if name == into or name not in watched.calls:
            return
        old = watched.calls.pop(name)
        call = watched.calls.get(into)
        if call is None:
            call = watched.calls[into] = LiveCall()
        call.legs.update(old.legs)
        for gone in (name, *old.gone):
            watched.names[gone] = into
            call.gone.append(gone)
        for live in old.legs.values():
            live.call = into
        for bridge in old.bridges:
            watched.bridges[bridge] = into
        call.bridges |= old.bridges
        rows = [live.row for live in old.legs.values() if live.row is not None]
        owners = {row.tenant for row in rows if row.tenant is not None}
        for tenant in owners:
            self.tenants[tenant][watched.name].merge((watched.name, name), (watched.name, into))
        if rows and note:
            self._changes.merges.append(Merge(watched.name, at, name, into))
            self._changes.merged.append(frozenset(owners))

    def _meet(self, watched: Watched, live: Live, bridge: str, at: Instant) -> None:
        """Make one call of a leg's and of the one that was in the bridge before it."""
        there = watched.bridges.get(bridge)
        if there is not None:
            self._join(watched, live.call, there, at)
        watched.bridges[bridge] = live.call
        watched.calls[live.call].bridges.add(bridge)

    # --- snapshots -------------------------------------------------------------------

    def _snapshot(self, watched: Watched, snapshot: Snapshot, at: Instant) -> None:
        watched.snapshots += 1
        gap, agreed_at, before = watched.gap, watched.agreed_at, watched.doubts
        watched.doubts = set()
        restarted = None not in (snapshot.booted, watched.booted) and snapshot.booted not in (
            "",
            watched.booted,
        )
        if snapshot.booted or watched.booted is None:
            watched.booted = snapshot.booted
        hangups = self._end_missing(watched, snapshot, at, before, restarted=restarted)
        if restarted:
            watched.ended.clear()  # ids of the former run
        starts = self._open_missing(watched, snapshot, at, before)
        if gap is not None or snapshot.polled:
            starts = hangups = 0  # the gap, or the interval, says already that they were not seen
        if gap is not None:
            self._close_gap(watched, gap, at)
        elif starts or hangups:
            lost = Gap(self._next_gap, watched.name, agreed_at, at, Cause.EVENTS_LOST)
            self._next_gap += 1
            self._changes.gaps[lost.row] = lost
        watched.missed_starts += starts
        watched.missed_hangups += hangups
        watched.missed_polls += snapshot.missed
        watched.ahead_ms = snapshot.ahead_ms
        self._changes.reconciled.append(
            Reconciled(watched.name, at, starts, hangups, snapshot.missed, snapshot.ahead_ms)
        )
        watched.doubted_at = at
        if not watched.doubts:
            watched.agreed_at = max(watched.agreed_at, min((at, *self._provisional(watched))))
        for leg in [leg for leg, ended_at in watched.ended.items() if ended_at < at - ENDED_MS]:
            del watched.ended[leg]

    def _provisional(self, watched: Watched) -> Iterable[Instant]:
        """Return since when there are legs whose owner may yet change: what is younger is not settled."""
        return (live.row.start for live in watched.legs.values() if live.provisional and live.row is not None)

    def _end_missing(
        self, watched: Watched, snapshot: Snapshot, at: Instant, before: set[str], *, restarted: bool
    ) -> int:
        """End the legs that the PBX no longer shows, where nothing younger proves them."""
        shown = {seen.leg for seen in snapshot.legs}
        ended = 0
        for live in list(watched.legs.values()):
            if live.id in shown and not restarted:
                continue
            if snapshot.polled:
                if watched.gap is not None:
                    self._close_leg(watched, live, max(watched.gap.start, live.heard_at), Known.GAP)
                else:
                    self._close_leg(watched, live, at, Known.SNAPSHOT)
                ended += 1
                continue
            if live.heard_at >= snapshot.requested_at and not restarted:
                continue  # it began, or spoke, after the list was asked for
            if watched.gap is None and live.id not in before and not restarted:
                watched.doubts.add(live.id)  # its hangup may be on its way behind the list
                continue
            if watched.gap is not None:
                end, known = max(watched.gap.start, live.heard_at), Known.GAP
            else:
                end, known = live.heard_at, Known.SNAPSHOT
            self._close_leg(watched, live, end, known)
            ended += 1
        return ended

    def _open_missing(self, watched: Watched, snapshot: Snapshot, at: Instant, before: set[str]) -> int:
        """Open the legs that the PBX shows and no event told of; refresh those that are known."""
        fresh: list[tuple[Instant, Sighting]] = []
        for seen in snapshot.legs:
            live = watched.legs.get(seen.leg)
            if live is not None:
                live.heard_at = max(live.heard_at, at)
                self._join(watched, live.call, seen.call, at)
                if live.provisional and live.row is not None:
                    self._resettle(watched, live, live.row, seen, at)
                if seen.answered and live.row is not None:
                    self._answer(watched, live, live.row, at, Known.SNAPSHOT)
                continue
            if snapshot.polled:
                fresh.append((at, seen))
                continue
            if seen.leg in watched.ended:
                continue
            created = at if seen.created is None else min(seen.created, at)
            young = created > snapshot.requested_at - DOUBT_MS
            if watched.gap is None and young and seen.leg not in before:
                watched.doubts.add(seen.leg)
                continue
            since = watched.gap.start if watched.gap is not None else watched.agreed_at
            fresh.append((max(created, since), seen))
        # All of them claim before any is settled: the list has no order that means anything.
        fresh.sort(key=lambda new: new[0])
        entered = [self._enter(watched, seen, at, Known.SNAPSHOT) for _, seen in fresh]
        for live, (start, seen) in zip(entered, fresh, strict=True):
            self._settle(watched, live, seen, start, Known.SNAPSHOT)
        return len(fresh)

    def _settle_doubt(self, watched: Watched, leg: str) -> None:
        if leg in watched.doubts:
            watched.doubts.discard(leg)
            if not watched.doubts and watched.gap is None:
                watched.agreed_at = max(watched.agreed_at, watched.doubted_at)
