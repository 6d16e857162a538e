"""What needs a hand, looked for in one place, and told to the operator through the outbox.

Rules of this file:
- nothing is measured here: what links, loops and rows know already is put together;
- what was told and the mails that tell it are one transaction: a restart neither repeats nor forgets;
- what is not known now (a PBX that was not asked yet) is left out, which changes nothing;
- a mail that can't leave can't be mailed: it is in the status, on the page and in the log.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from agent.alerting import Row
from agent.clock import Clock
from agent.health import free_bytes
from agent.reading import ExtensionReading
from agent.shipping import Shipping
from agent.status import refused
from agent.store import outbox, records, troubles
from agent.store.database import Database, Store
from agent.store.outbox import Parked
from agent.store.records import Sealed
from agent.supervisor import Link
from connectors.errors import Denied
from meter.levels import Levels
from meter.model import Instant
from meter.periods import MINUTE_MS
from meter.troubles import Case, Key, Kind, Tidings, Trouble, judge, standing

log = structlog.get_logger(__name__)

#: For how long a trouble stands before it is told, in ms: a reconnect or a restart is none.
SETTLE_MS: Final = MINUTE_MS
#: A machine that has just started finds its time server within minutes.
CLOCK_SETTLE_MS: Final = 15 * MINUTE_MS
#: Less than this is nearly full, in bytes: the figure of deploy/prometheus-alerts.yml. Per cent would say
#: nothing about a database that grows by megabytes a month.
LEAST_ROOM_BYTES: Final = 200 * 1024 * 1024

_CLOCK_COMMANDS: Final = ("timedatectl set-ntp true", "timedatectl timesync-status")
#: Kinds that nothing else of the status says.
_SAID_HERE: Final = (Kind.CLOCK, Kind.DISK, Kind.EXTENSIONS)

Found: TypeAlias = tuple[Key, Trouble | None]


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database and its disk know: why nothing is sealed, refused records, parked rows, room in bytes."""

    halted: str | None
    refused: Sequence[Sealed]
    parked: Sequence[Parked]
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What is looked at. No shipping: no provider is configured."""

    links: Sequence[Link]
    levels: Levels
    shipping: Shipping | None
    reading: ExtensionReading


@dataclass(frozen=True, slots=True)
class Telling:
    """How the operator is told.

    Attributes:
        compose: Returns the outbox rows that tidings become; None: there is nobody to tell.
        unreachable_after_ms: How long a PBX is out of sight before that is told.
    """

    compose: Callable[[Tidings], list[Row]] | None = None
    unreachable_after_ms: int = round(timedelta(minutes=5).total_seconds() * 1000)

    def settle_ms(self, kind: Kind) -> int:
        """Return for how long a trouble of a kind stands before it is told."""
        return {Kind.UNSEEN: self.unreachable_after_ms, Kind.CLOCK: CLOCK_SETTLE_MS}.get(kind, SETTLE_MS)


class Troubles:
    """Looks for what needs a hand.

    Args:
        parts: What is looked at.
        state_dir: Whose disk is looked at.
        store, clock: Where rows are, and when it is.
        synchronised: Whether the machine's clock is; None: it does not say.
        telling: How the operator is told. Without anybody to tell nothing is remembered over a restart.
        wake_lanes: Called after mails were written.

    Attributes:
        lines: What stands and is said by nothing else of the status, as one sentence each.
    """

    def __init__(
        self,
        parts: Parts,
        state_dir: Path,
        store: Store,
        clock: Clock,
        synchronised: Callable[[], bool | None],
        telling: Telling,
        wake_lanes: Callable[[], None] = lambda: None,
    ) -> None:
        self.lines: list[str] = []
        self._parts = parts
        self._state_dir = state_dir
        self._store = store
        self._clock = clock
        self._synchronised = synchronised
        self._telling = telling
        self._wake_lanes = wake_lanes
        self._cases: dict[Key, Case] | None = None
        self._looking = asyncio.Lock()

    def go_on(self, before: Troubles) -> None:
        """Go on with what another one remembered, of what is still watched; not if it told nobody and this one does."""
        alike = (before._telling.compose is None) == (self._telling.compose is None)
        if before._cases is not None and alike:
            self._cases = {key: case for key, case in before._cases.items() if self._is_watched(key)}

    async def look(self) -> None:
        """Look at everything once, and write down what is to be told.

        Raises:
            StoreError: The disk failed; nothing was told, and the next look begins where this one did.
        """
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        if self._cases is None:
            kept = await self._store.read(troubles.kept) if self._telling.compose else {}
            self._cases = {key: case for key, case in kept.items() if self._is_watched(key)}
        now = self._clock.now()
        rows = await self._store.read(self._rows)
        found = dict(self._found(self._cases, rows, now))
        cases, tidings = judge(self._cases, found, now, self._telling.settle_ms)
        if tidings is not None:
            await self._tell(tidings, cases)
        self._cases = cases
        self.lines = [
            f"{trouble.said.rstrip('.')}. {trouble.hint or f'Type: {trouble.commands[0]}'}"
            for case in standing(cases.values())
            if case.kind in _SAID_HERE and (trouble := found.get((case.kind, case.subject))) is not None
        ]

    async def _tell(self, tidings: Tidings, cases: Mapping[Key, Case]) -> None:
        compose = self._telling.compose
        if compose is not None:
            mails = compose(tidings)

            def work(db: Database) -> None:
                troubles.keep(db, cases.values())
                outbox.enqueue(db, mails, tidings.at)

            await self._store.write(work)
            log.info("operator.told", begun=len(tidings.begun), over=len(tidings.over), mails=len(mails))
            self._wake_lanes()
        for trouble, _ in tidings.begun:
            if trouble.kind is Kind.CLOCK:
                log.warning("clock.unsynchronised", hint=trouble.commands[0])
            elif trouble.kind is Kind.DISK:
                log.warning("disk.nearly_full", said=trouble.said, hint=trouble.commands[0])

    def _rows(self, db: Database) -> Rows:
        chain = records.chain(db)
        return Rows(
            None if chain is None else chain.halted,
            records.unmended(db),
            outbox.parked(db),
            free_bytes(self._state_dir),
        )

    def _is_watched(self, key: Key) -> bool:
        """Return whether the configuration still has what a case is about: else it neither stands nor ends."""
        kind, subject = key
        if kind in (Kind.UNSEEN, Kind.LOGIN, Kind.EXTENSIONS):
            return any(link.connector.name == subject for link in self._parts.links)
        return kind not in (Kind.UPSTREAM, Kind.RECORD) or self._parts.shipping is not None

    # --- what is looked for --------------------------------------------------------------

    def _found(self, cases: Mapping[Key, Case], rows: Rows, now: Instant) -> Iterator[Found]:
        """Give everything that is known now: what is wrong, and None for what could be and is well."""
        parts = self._parts
        for key, case in cases.items():
            if key[0] in (Kind.RECORD, Kind.PARKED) and case.noticed_at is not None:
                yield key, None  # unless it is found below
        for link in parts.links:
            yield from _link(link, parts.levels)
            if link.connector.method != "cdr" and link.up:  # call records hold no list of users
                yield from _users(link.connector.name, parts.reading, now)
        if parts.shipping is not None:
            yield from _provider(parts.shipping, rows.halted)
            yield from _refused(rows.refused)
        yield from _parked(rows.parked)
        yield from self._machine(rows.free_bytes)

    def _machine(self, free: int | None) -> Iterator[Found]:
        synchronised = self._synchronised()
        if synchronised is not None:
            key, said = (Kind.CLOCK, ""), "the machine's clock is not synchronised"
            unkept = Trouble(*key, None, said, "", _CLOCK_COMMANDS, "clock.unsynchronised")
            yield key, None if synchronised else unkept
        if free is not None:
            key, said = (Kind.DISK, ""), f"the disk of {self._state_dir} has {free >> 20} MiB left"
            folder = shlex.quote(str(self._state_dir))
            full = Trouble(*key, None, said, "", (f"df -h {folder}", f"df -i {folder}"), "disk.nearly_full")
            yield key, full if free < LEAST_ROOM_BYTES else None


def _link(link: Link, levels: Levels) -> Iterator[Found]:
    """Say whether a PBX is followed, and whether it lets the agent in.

    One that refuses the login may be followed or not, one that is out of sight may refuse or not;
    and before the first attempt has ended nothing is known.
    """
    name, why = link.connector.name, link.trouble
    gap = levels.pbxs[name].gap
    unseen, login = (Kind.UNSEEN, name), (Kind.LOGIN, name)
    if gap is None:
        yield unseen, None
        yield login, None
    elif why is not None or link.up:
        said, hint = ("", "") if why is None else (str(why), why.hint)
        key = login if isinstance(why, Denied) else unseen
        yield key, Trouble(*key, gap.start or None, said, hint, ("pbx-meter check",), "link.down")


def _users(name: str, reading: ExtensionReading, now: Instant) -> Iterator[Found]:
    key = (Kind.EXTENSIONS, name)
    unread = reading.unread.get(name)
    if unread is not None and now - unread.since > 2 * unread.every_ms:
        said, hint = f"users of {name}: {unread.why}", unread.why.hint
        yield key, Trouble(*key, unread.since, said, hint, ("pbx-meter check",), "extensions.unread")
    elif reading.was_read(name):
        yield key, None


def _provider(shipping: Shipping, halted: str | None) -> Iterator[Found]:
    """Say whether the provider takes records. What passes by itself (network, a busy receiver) says neither."""
    key, commands = (Kind.UPSTREAM, ""), ("pbx-meter status",)
    if halted is not None:
        yield key, Trouble(*key, None, halted, "", commands, "chain.halted")
    elif shipping.trouble is None:
        yield key, None
    elif not shipping.passes:
        yield key, Trouble(*key, None, shipping.trouble, "", commands, "upstream.trouble")


def _refused(found: Sequence[Sealed]) -> Iterator[Found]:
    """Say what the provider can't count; the interims of a period, one each hour, are one trouble."""
    for record in found:
        key = (Kind.RECORD, record.id.rpartition("/")[0])
        commands: tuple[str, ...] = ("pbx-meter summaries",)
        if record.kind != "interim":
            commands = (*commands, f"pbx-meter chain replace {record.id}")
        yield key, Trouble(*key, record.sealed_at, refused(record), "", commands, "record.refused")


def _parked(found: Sequence[Parked]) -> Iterator[Found]:
    for lane in {row.lane for row in found}:
        rows = [row for row in found if row.lane == lane]
        key, last = (Kind.PARKED, lane), rows[0]
        commands = ("pbx-meter outbox list", "pbx-meter outbox retry")
        since = min(row.settled_at for row in rows)
        yield key, Trouble(*key, since, last.why, last.hint, commands, "parcel.parked")
