"""Today's curve: the highest basis level of each minute, by the fold that seals the minute-series.

Folded from the ledger while somebody looks, and kept: most of a day can't change any more, so
only its end is folded each time. What is told afterwards (call records, a gap that began
earlier) is found when the whole day is folded again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from agent.clock import Clock
from agent.contracts import Contract
from agent.sealing import Plan, facts_of
from agent.store.database import Database, Store
from meter.model import Instant
from meter.periods import MINUTE_MS, Period, iso, period_of
from meter.summary import state

#: How old a curve may be, in ms.
FRESH_MS: Final = 20_000
#: How old it may be until the whole day is folded again, in ms.
WHOLE_MS: Final = 10 * MINUTE_MS
#: Minutes at its end that are folded anew each time: a gap that is just noticed has begun in them.
UNSETTLED: Final = 5


@dataclass(frozen=True, slots=True)
class Curve:
    """One tenant's local day so far.

    Attributes:
        day: The day.
        minutes: The highest level of each minute; None: nothing of it was observed.
        read_at, whole_at: Boot times at which its end and all of it were folded.
    """

    day: Period
    minutes: tuple[int | None, ...]
    read_at: int
    whole_at: int

    def said(self) -> dict[str, Any]:
        """Return it as plain values: runs of (number of minutes, highest level)."""
        runs = [[len(list(run)), high] for high, run in groupby(self.minutes)]
        return {"day": self.day.name, "start": iso(self.day.start), "end": iso(self.day.end), "runs": runs}


class Today:
    """Every tenant's curve of its own local day.

    Args:
        contracts: The tenants of the configuration.
        plan: How PBXs are watched.
        store, clock: Where the ledger is, and when it is.
    """

    def __init__(self, contracts: Mapping[str, Contract], plan: Plan, store: Store, clock: Clock) -> None:
        self._contracts = contracts
        self._plan = plan
        self._store = store
        self._clock = clock
        self._curves: dict[str, Curve] = {}

    async def read(self) -> dict[str, dict[str, Any]]:
        """Return each tenant's curve as plain values; it is at most 20 s old."""
        now, boot = self._clock.now(), self._clock.boot()
        stale = [
            tenant
            for tenant in self._contracts
            if tenant not in self._curves or boot - self._curves[tenant].read_at >= FRESH_MS
        ]
        if stale:
            fresh = await self._store.fold(lambda db: {t: self._curve(db, t, now, boot) for t in stale})
            self._curves |= fresh
        return {tenant: curve.said() for tenant, curve in self._curves.items()}

    def _curve(self, db: Database, tenant: str, now: Instant, boot: int) -> Curve:
        """Return a tenant's day up to now, from its last curve as far as that can't have changed."""
        day = period_of(now, "day", self._contracts[tenant].tz)
        last = self._curves.get(tenant)
        if last is None or last.day != day or boot - last.whole_at >= WHOLE_MS:
            return Curve(day, self._folded(db, tenant, day.start, now), boot, boot)
        kept = last.minutes[:-UNSETTLED]
        since = day.start + len(kept) * MINUTE_MS
        return Curve(day, kept + self._folded(db, tenant, since, now), boot, last.whole_at)

    def _folded(self, db: Database, tenant: str, start: Instant, now: Instant) -> tuple[int | None, ...]:
        if now <= start:
            return ()
        contract = self._contracts[tenant]
        facts, _ = facts_of(db, tenant, start, now, self._plan)
        figures = state(facts, Period("", start, now), now, contract.tz, series=True).figures
        series = figures.levels[contract.terms.basis].series
        return tuple(high for count, high in series for _ in range(count))
