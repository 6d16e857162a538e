"""What the agent knows of its own machine and of itself: whether the clock is kept right, and why it is not well."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from agent.clock import Clock
from agent.sampling import Sampling
from agent.store import ledger
from agent.store.database import Store, StoreError
from agent.supervisor import Link
from meter.model import Instant

#: A PBX may be out of sight for so long, as in a reconnect, in ms.
UNSEEN_MS: Final = 60_000
#: How long the database may take to answer, in s.
ANSWER_S: Final = 3.0

# struct timex of adjtimex(2): `modes` first, `status` after four longs.
_SIZE: Final = 512
_STATUS_AT: Final = 8 + 4 * ctypes.sizeof(ctypes.c_long)
_UNSYNCHRONISED: Final = 0x0040
_TIME_ERROR: Final = 5


def clock_is_synchronised() -> bool | None:
    """Return whether the kernel's clock is kept by NTP or the like; None: it does not say."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = ctypes.create_string_buffer(_SIZE)  # modes = 0: only asks
        state = libc.adjtimex(timex)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = ctypes.c_int.from_buffer(timex, _STATUS_AT).value
    return state != _TIME_ERROR and not status & _UNSYNCHRONISED


def free_bytes(folder: Path) -> int | None:
    """Return how much room the agent has on a folder's disk (root's reserve left out); None: it can't be told."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


class Health:
    """Whether this agent does what it is there for.

    Args:
        sampling, links, store, clock: What is looked at.
        stuck: Names a loop that does not turn; None: they all do.
    """

    def __init__(
        self,
        sampling: Sampling,
        links: Sequence[Link],
        store: Store,
        clock: Clock,
        stuck: Callable[[], str | None],
    ) -> None:
        self._sampling = sampling
        self._links = links
        self._store = store
        self._clock = clock
        self._stuck = stuck

    async def unwell(self) -> list[str]:
        """Return why it does not; nothing: its loops turn, its disk works, every PBX was seen lately."""
        now, stuck = self._clock.now(), self._stuck()
        found = [] if stuck is None else [f"the loop {stuck} does not turn"]
        return found + await self._disk() + [why for link in self._links for why in self._unseen(link, now)]

    async def _disk(self) -> list[str]:
        if self._sampling.disk is not None:
            return [f"{self._sampling.disk}. {self._sampling.disk.hint}"]
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._store.read(ledger.last_heard)
        except TimeoutError:
            return [f"the database does not answer within {ANSWER_S:.0f} s"]
        except StoreError as error:
            return [f"{error}. {error.hint}"]
        return []

    def _unseen(self, link: Link, now: Instant) -> list[str]:
        name = link.connector.name
        gap = self._sampling.levels.pbxs[name].gap
        if gap is None or now - gap.start <= UNSEEN_MS:
            return []
        since = f"was not seen for {(now - gap.start) // 1000} s" if gap.start else "was never seen"
        why = "" if link.trouble is None else f": {link.trouble} {link.trouble.hint}"
        return [f"PBX {name} {since}{why}"]
