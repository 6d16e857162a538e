"""The named loops: all in one TaskGroup, restarted with growing waits, given up loudly.

A PBX link ends by raising `ConnectorError`: that is its normal end, and it is tried
again for ever. Anything else that ends a loop is a bug: it is logged once with its
traceback and the loop is started again; too many in a row end the program, so that
somebody looks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from agent.clock import Clock
from agent.keys import KeyTrouble
from agent.store.database import StoreError
from connectors.connector import Connector
from connectors.errors import ConnectorError, Denied
from meter.events import Event
from meter.model import Cause, Instant

log = structlog.get_logger(__name__)

#: Waits between attempts to reach a PBX, in s; each is jittered.
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
#: After a refused login: 40 attempts a minute have brought a PBX down (FreePBX issue 1076).
DENIED_WAIT_S: Final = 60.0
LONGEST_DENIED_WAIT_S: Final = 900.0
#: So many bugs in a row, without a minute of work between them, end the program.
MOST_BUGS: Final = 5
WORKED_MS: Final = 60_000


class Bugged(Exception):  # noqa: N818 - it says what is so
    """A loop failed too often in a row. The program ends with exit code 70."""


def waits(*, denied: bool, attempt: int, jitter: Callable[[], float] = random.random) -> float:
    """Return how many seconds to wait before the next attempt, 1 being the first failed one."""
    first, longest = (DENIED_WAIT_S, LONGEST_DENIED_WAIT_S) if denied else (FIRST_WAIT_S, LONGEST_WAIT_S)
    return min(longest, 1.25 * first * 2.0 ** min(attempt - 1, 20)) * (0.8 + 0.2 * jitter())


async def keep(name: str, clock: Clock, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop for ever, through its bugs.

    A disk or a key that can't be used is no bug: it is said once, and tried again until it works.

    Raises:
        Bugged: It failed too often in a row.
    """
    bugs = outages = 0
    said = ""
    while True:
        began = clock.boot()
        try:
            await loop()
        except (StoreError, KeyTrouble) as error:
            _leave_if_cancelled()
            outages = outages + 1 if clock.boot() - began < WORKED_MS else 1
            if str(error) != said:
                log.error("loop.hindered", loop=name, error=str(error), hint=error.hint)  # noqa: TRY400 - no bug
            said = str(error)
            await clock.sleep(waits(denied=False, attempt=outages))
        except Exception as error:
            _leave_if_cancelled()
            bugs = bugs + 1 if clock.boot() - began < WORKED_MS else 1
            log.exception("loop.failed", loop=name, in_a_row=bugs)
            if bugs >= MOST_BUGS:
                msg = f"{name} failed {bugs} times in a row"
                raise Bugged(msg) from error
            await clock.sleep(waits(denied=False, attempt=bugs))
        else:
            return


def _leave_if_cancelled() -> None:
    """End here if somebody wants the task to end, though something else was raised meanwhile."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Link:
    """One PBX's link, followed for ever.

    Args:
        connector: The PBX.
        clock: The clock.
        take: The sink of its events.
        lost: Told once for each lost link: when the PBX was last heard, and why.

    Attributes:
        up: Whether the link works now.
        trouble: Why it does not, and what to do; None: it does.
    """

    def __init__(
        self,
        connector: Connector,
        clock: Clock,
        take: Callable[[str, Sequence[Event]], None],
        lost: Callable[[str, Instant, Cause], None],
    ) -> None:
        self.connector = connector
        self.up = False
        self.trouble: ConnectorError | None = None
        self._clock = clock
        self._take = take
        self._lost = lost
        self._attempt = 0
        self._up_since: int | None = None

    def tell(
        self,
        take: Callable[[str, Sequence[Event]], None],
        lost: Callable[[str, Instant, Cause], None],
    ) -> None:
        """From now on tell others: the sink of its events, and who hears of lost links."""
        self._take, self._lost = take, lost

    def leave(self) -> None:
        """Open the gap of a link that is followed no longer. Its loop must have ended."""
        self._end(Cause.LINK_LOST, self._clock.now())

    async def follow(self) -> None:
        """Serve one connection after another."""
        while True:
            began_at = self._clock.now()
            self._up_since = None
            try:
                await self.connector.serve(self._sink)
            except ConnectorError as error:
                self._end(error.gap_cause, began_at)
                self._note(error)
            except Exception as error:
                self._end(Cause.AGENT_STALLED, began_at)
                why = f"its loop failed ({type(error).__name__})"
                self.trouble = ConnectorError(
                    why, hint="the log says where; please report it", cause=Cause.AGENT_STALLED
                )
                raise
            worked = self._up_since is not None and self._clock.boot() - self._up_since >= WORKED_MS
            self._attempt = 1 if worked else self._attempt + 1
            denied = isinstance(self.trouble, Denied)
            # Where we listen ourselves (CDR output) nobody is spared by waiting, and what comes meanwhile is lost.
            attempt = 1 if self.connector.method == "cdr" else self._attempt
            await self._clock.sleep(waits(denied=denied, attempt=attempt))

    def _sink(self, events: Sequence[Event]) -> None:
        if not self.up:
            log.info("link.up", pbx=self.connector.name)
            self.up, self.trouble, self._up_since = True, None, self._clock.boot()
        self._take(self.connector.name, events)

    def _end(self, cause: Cause, began_at: Instant) -> None:
        self.up = False
        heard_at = self.connector.heard_at
        self._lost(self.connector.name, began_at if heard_at is None else heard_at, cause)

    def _note(self, error: ConnectorError) -> None:
        """Log a failure once, then again when it changes."""
        before, self.trouble = self.trouble, error
        if before is None or str(before) != str(error):
            log.warning("link.down", pbx=self.connector.name, error=str(error), hint=error.hint)
