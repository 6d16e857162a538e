"""Closed periods that call records told more of -> corrections.

A call that is up when its period closes stands in the final as the polls saw it. Its own
record comes when it ends: once all such calls have ended, one correction says what they
made of the period. Nothing is sealed where no figure differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from agent import correcting
from agent.clock import Clock
from agent.correcting import Draft
from agent.sealing import Halted, Plan
from agent.store import agreements, told
from agent.store.database import Database, Store
from meter.model import Instant
from meter.periods import HOUR_MS, Period

log = structlog.get_logger(__name__)

REASON: Final = "calls that were up at the close, as the PBX's own call records tell them"
#: A period is looked at for so long after its end, in ms.
LOOKS_BACK_MS: Final = 48 * HOUR_MS


class Amending:
    """Corrects closed periods on its own.

    Args:
        plan: How this agent seals.
        state_dir: Where its key is.
        tenants: The tenants whose PBXs are polled.
        store, clock: Where it goes, and when it is.
    """

    def __init__(
        self, plan: Plan, state_dir: Path, tenants: Iterable[str], store: Store, clock: Clock
    ) -> None:
        self._plan = plan
        self._state_dir = state_dir
        self._tenants = tuple(tenants)
        self._store = store
        self._clock = clock
        self._looked: dict[tuple[str, Instant], Instant] = {}

    async def correct_due(self) -> int:
        """Correct what is to be corrected now, and return how many records that made."""
        now, sealed = self._clock.now(), 0
        for tenant in self._tenants:
            for period, told_at in await self._store.read(partial(_told, tenant=tenant, now=now)):
                place = (tenant, period.start)
                if self._looked.get(place) == told_at:
                    continue
                awaits = partial(correcting.awaits_records, plan=self._plan, period=period, now=now)
                if await self._store.read(awaits):
                    continue
                late = partial(correcting.told_late, plan=self._plan, tenant=tenant, period=period)
                draft = await self._store.fold(late)
                if draft is None:
                    self._looked[place] = told_at  # nothing to say, until something more is told
                else:
                    sealed += await self._seal(draft, now)
        return sealed

    async def _seal(self, draft: Draft, now: Instant) -> bool:
        try:
            sealed = await self._store.write(
                lambda db: correcting.seal_draft(db, self._plan, self._state_dir, draft, REASON, now)
            )
        except Halted:
            return False  # status says why nothing is sealed
        if sealed is not None:
            log.info("record.sealed", id=sealed.id, differences=len(draft.differences))
        return sealed is not None


def _told(db: Database, tenant: str, now: Instant) -> list[tuple[Period, Instant]]:
    """Return a tenant's periods that closed lately and of which something was told, with when the last was."""
    return [
        (period, at)
        for period in agreements.periods(db, tenant)
        if period.end <= now < period.end + LOOKS_BACK_MS
        and (at := told.told_at(db, tenant, period.start, period.end)) is not None
    ]
