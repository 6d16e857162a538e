"""The daily mail to the operator: a look, what is new since the last one, and its letters in one transaction.

- What is remembered, and the letters that tell of it, are written together: a receiver
  that is killed neither repeats nor forgets.
- The decision is made under one lock: of any number of receivers that share the books
  one tells, and the others find it told.
- Nothing to tell: no mail.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import time
from zoneinfo import ZoneInfo

import structlog

from delivery.mail import Brand, compose
from delivery.wording import wording
from meter.model import Instant
from meter.periods import HOUR_MS, moment
from provider.closings import Letter
from provider.fleet.looking import Limits, gone, look
from provider.fleet.saying import fleet_letter
from provider.fleet.telling import FleetBooks, News, Remembered, Turn, due, remember, tell

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who is told, and how.

    Attributes:
        addresses: Each gets the same mail.
        sender: The address it comes from.
        language: `nl`, `en`, `it` or `de`.
        tz: Where he is.
        at: The local time of day at which it goes.
        brand: In whose name.
    """

    addresses: tuple[str, ...] = field(repr=False)
    sender: str = field(repr=False)
    language: str = "en"
    tz: ZoneInfo = ZoneInfo("UTC")  # noqa: RUF009  # frozen
    at: time = time(7)
    brand: Brand = Brand("pbx-meter")  # noqa: RUF009  # frozen


class Watch:
    """Looks at the fleet every hour and at the hour of the mail, however often it is asked.

    Args:
        books: Where everything is.
        limits: From where on something is a finding.
        reader: Who is told.
    """

    def __init__(self, books: FleetBooks, limits: Limits, reader: Reader) -> None:
        self._books = books
        self._limits = limits
        self._reader = reader
        self._looked_at: Instant | None = None

    async def look(self, now: Instant) -> bool:
        """Look if it is time to; return whether letters were written. What fails is tried at the next call."""
        before = self._looked_at
        fresh = before is not None and 0 <= now - before < HOUR_MS
        if fresh and not due(now, at=self._reader.at, tz=self._reader.tz, told_at=before):
            return False
        written = await watch(self._books, self._limits, self._reader, now)
        self._looked_at = now
        return written


async def watch(books: FleetBooks, limits: Limits, reader: Reader, now: Instant) -> bool:
    """Look at the fleet once, and write what is to be told if its hour has come.

    To be called every hour, at the hour of the mail and after a start (see `Watch`); more often changes nothing.

    Returns:
        Whether letters were written.
    """
    sights = await books.sights(now)
    found, out = look(sights, limits, now), gone(sights, now)

    def rule(before: Remembered) -> Turn:
        kept = remember(found, before.kept, now)
        if not due(now, at=reader.at, tz=reader.tz, told_at=before.told_at):
            return Turn(kept, before.told_at)
        news, kept = tell(found, kept, now)
        return Turn(kept, now, letters(news, reader, now, out))

    turn = await books.turn(rule, now)
    if turn.letters:
        log.info("fleet.told", findings=len(found), mails=len(turn.letters))
    return bool(turn.letters)


def letters(
    news: News, reader: Reader, now: Instant, out: frozenset[str] = frozenset()
) -> tuple[Letter, ...]:
    """Return the mails that news become: one for each address, none if there is nothing to tell.

    Args:
        news: What to tell.
        reader: Whom.
        now: When.
        out: Agents that were taken out of service.
    """
    if news.nothing:
        return ()
    id_ = f"fleet/{moment(now, reader.tz):%Y-%m-%dT%H:%M}"
    letter = fleet_letter(news, wording(reader.language), reader.tz, at=now, id_=id_, gone=out)
    return tuple(
        Letter(
            f"{id_}/{hashlib.sha256(address.encode()).hexdigest()[:16]}",
            "fleet",
            address,
            compose(
                letter,
                template="fleet",
                brand=reader.brand,
                language=reader.language,
                sender=reader.sender,
                recipient=address,
                topic=id_,
                at=now,
            ).as_bytes(),
        )
        for address in reader.addresses
    )
