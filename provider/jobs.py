"""What a serving provider does beside receiving: months by the clock, a look at the fleet, letters that leave.

A job only asks what is due; what is due stands in the books. So a job that fired late,
twice or not at all changes nothing but the moment. Everything is done at the start too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from delivery.email import MailCourier
from meter.model import Instant
from provider.books import BooksUnusable
from provider.fleet.mailing import Watch
from provider.month.mailing import Addressees
from provider.month.recurring import Months, Rhythm
from provider.settings import Month, Settings
from provider.shipping import letters_lane
from provider.storage.opening import Storage

log = structlog.get_logger(__name__)

#: How often the jobs ask what is due, in s: the resolution of "at 06:00".
EVERY_S: Final = 60


async def recur(
    storage: Storage, settings: Settings, now: Callable[[], Instant], every_s: float = EVERY_S
) -> None:
    """Do all of it until cancelled.

    Args:
        storage: Where everything is kept.
        settings: What the operator wrote.
        now: The clock.
        every_s: How often the jobs ask.
    """
    server = settings.mail_server
    async with asyncio.TaskGroup() as group:
        ring: Callable[[], object] = lambda: None  # noqa: E731  # nothing leaves without a server
        if server is not None:
            lane = letters_lane(storage.post, MailCourier(server), now)
            ring = lane.bell.ring
            group.create_task(lane.run())
        jobs = [_caught(name, job, ring) for name, job in _jobs(storage, settings, now)]
        scheduler = AsyncIOScheduler(timezone="UTC")
        for job in jobs:
            scheduler.add_job(
                job, "interval", seconds=every_s, coalesce=True, max_instances=1, misfire_grace_time=None
            )
        for job in jobs:
            await job()
        scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            scheduler.shutdown(wait=False)


def addressees(settings: Settings, today: str) -> Addressees | None:
    """Return who gets reports by mail; None: there is no mail server."""
    if settings.smtp is None:
        return None
    operator = settings.operator.email if settings.operator else ()
    return Addressees(operator, settings.brand.sender or settings.smtp.sender, today)


def _jobs(
    storage: Storage, settings: Settings, now: Callable[[], Instant]
) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    found: list[tuple[str, Callable[[], Awaitable[object]]]] = []
    if settings.month is not None:
        months = Months(storage, _rhythm(settings, settings.month))
        found.append(("months", lambda: months.look(now())))
    reader = settings.fleet_reader
    if reader is not None:
        fleet = Watch(storage.fleet, settings.fleet.limits, reader)
        found.append(("fleet", lambda: fleet.look(now())))
    return found


def _rhythm(settings: Settings, month: Month) -> Rhythm:
    return Rhythm(
        tz=month.timezone,
        close_on=month.close_on,
        at=month.at,
        approved=month.approve == "itself",
        provider=settings.provider,
        addressees=lambda today: addressees(settings, today),
    )


def _caught(
    name: str, job: Callable[[], Awaitable[object]], ring: Callable[[], object]
) -> Callable[[], Awaitable[None]]:
    """Return the job with its failures logged once each: it comes again anyway. What it wrote may leave."""
    last: list[str] = []

    async def run() -> None:
        try:
            await job()
        except asyncio.CancelledError:
            raise
        except BooksUnusable as error:
            if last != [str(error)]:
                log.error("job.failed", job=name, error=str(error))  # noqa: TRY400 - an outage
            last[:] = [str(error)]
        except Exception as error:
            if last != [repr(error)]:
                log.exception("job.failed", job=name)
            last[:] = [repr(error)]
        else:
            last.clear()
        ring()

    return run
