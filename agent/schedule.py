"""What is done by the clock, as APScheduler jobs: idempotent, and caught up at the next start.

A job only asks what is due; what is due stands in the ledger. So a job that fired
late, twice or not at all changes nothing but the moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agent.clock import Clock
from agent.store import ledger, retention
from agent.store.database import Database, Store, StoreError
from meter.periods import HOUR_MS

log = structlog.get_logger(__name__)

_DAY_MS: Final = 24 * HOUR_MS
#: How long facts, sealed records and delivered rows are kept, in ms.
KEEP_MS: Final = 397 * _DAY_MS  # 13 months
KEEP_INTERIMS_MS: Final = 35 * _DAY_MS


def scheduler(
    *,
    seal_due: Callable[[], Awaitable[object]],
    read_extensions: Callable[[], Awaitable[object]],
    read_calls: Callable[[], Awaitable[object]],
    look_for_troubles: Callable[[], Awaitable[object]],
    store: Store,
    clock: Clock,
    every_s: float,
) -> AsyncIOScheduler:
    """Return a scheduler with the agent's jobs; the caller starts and stops it.

    Args:
        seal_due: Seals what is due.
        read_extensions: Reads extension lists that are due.
        read_calls: Reads call records that are due.
        look_for_troubles: Looks what needs a hand, and tells the operator.
        store: For retention.
        clock: Likewise.
        every_s: How often the first four look.
    """

    async def retain() -> None:
        now = clock.now()

        def piece(db: Database) -> bool:
            return retention.let_go(
                db,
                facts_before=now - KEEP_MS,
                interims_before=now - KEEP_INTERIMS_MS,
                # Who never was enrolled gets no receipts.
                owed=ledger.fact(db, "receiver") is not None,
            )

        while await store.write(piece):
            pass  # between two pieces everybody else writes

    jobs = AsyncIOScheduler(timezone="UTC")
    options = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    jobs.add_job(_caught("seal", seal_due), "interval", seconds=every_s, **options)
    jobs.add_job(_caught("extensions", read_extensions), "interval", seconds=every_s, **options)
    jobs.add_job(_caught("calls", read_calls), "interval", seconds=every_s, **options)
    jobs.add_job(_caught("troubles", look_for_troubles), "interval", seconds=every_s, **options)
    jobs.add_job(_caught("retention", retain), "interval", hours=1, **options)
    return jobs


def _caught(name: str, job: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Return the job with its failures logged once each: it comes again anyway."""
    last: list[str] = []

    async def run() -> None:
        try:
            await job()
        except asyncio.CancelledError:
            return  # the scheduler was stopped; what is due stands in the ledger
        except StoreError as error:
            if last != [str(error)]:
                log.error("job.failed", job=name, error=str(error), hint=error.hint)  # noqa: TRY400 - an outage
            last[:] = [str(error)]
        except Exception:
            log.exception("job.failed", job=name)
        else:
            last.clear()

    return run
