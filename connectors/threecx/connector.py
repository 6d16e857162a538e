"""Follows one 3CX over its XAPI: keeps the promises of `connectors.connector.Connector`.

The order of one `serve`: a token, what answers and of which version, what it counts,
its trunks, departments, users and other numbers; then poll after poll. Each good one is
a snapshot. One that fails is counted and tells nothing: none is not unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, NoReturn

from connectors.connector import CallsTold, ExtensionList, Now, Probe, Sink
from connectors.errors import ConnectorError, Garbled, Unreachable
from connectors.threecx import calllog, directory, system, trouble
from connectors.threecx.calls import Shown, shown
from connectors.threecx.client import Client
from connectors.threecx.intake import Intake
from connectors.threecx.line import Line, Resource, connected
from connectors.threecx.polling import LONGEST_WAIT_S, Polling, Rhythm
from connectors.threecx.run import Run
from connectors.threecx.settings import Settings
from connectors.threecx.token import Tokens
from meter.events import Snapshot
from meter.model import Instant

#: Without a good poll for so many intervals the link is lost (metering, section 7).
_INTERVALS: Final = 3
#: Two polls are at least so far apart, however often they are asked for.
_APART_S: Final = 1.0
#: Trunks are looked up again so often at most because of a number that nobody knows;
#: and so soon after the directory could not be read.
_AGAIN_S: Final = 60.0
#: The call log is looked for again so often after it could not be read and the CDR output took its place.
_LOG_AGAIN_S: Final = 3600.0
_SECOND_MS: Final = 1000


class ThreeCXConnector:
    """One 3CX.

    Args:
        name: The configured name of the PBX.
        settings: How to reach it.
        now: Reads the clock.
    """

    method = "polled"

    def __init__(self, name: str, settings: Settings, now: Now) -> None:
        self.name = name
        self.heard_at: Instant | None = None
        self.beside: Mapping[str, int] = {}
        self._settings = settings
        self._now = now
        self._tokens = Tokens(settings)
        self._run = Run()
        self._reach = calllog.Reach()
        self._known = directory.Directory()
        self._version = ""
        self._has_log = True
        self._log_from: Instant | None = None  # what ended before, the CDR output may have told
        self._log_shut = asyncio.Event()
        self._intake = (
            None
            if settings.cdr is None
            else Intake(
                settings.cdr,
                now,
                self._departments_of,
                counts=self._is_outside,
                ahead_ms=self._records_ahead_ms,
            )
        )
        self._ahead_ms: int | None = None
        self._records_ahead = 0
        self._missed = 0
        self._quiet_until = 0.0  # the loop's time before which the 3CX wants to be left alone
        self._look_again_at = 0.0
        self._next_at = 0.0  # the loop's time before which no further poll is asked for
        self._client: Client | None = None
        self._wake: asyncio.Event | None = None

    async def serve(self, sink: Sink) -> NoReturn:
        """As `Connector.serve`."""
        await asyncio.sleep(self._quiet_until - asyncio.get_running_loop().time())
        try:
            async with connected(self._settings, self._now) as line:
                client = self._asking(line)
                await self._meet(client)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep_known(client))
                    if self._intake is not None:
                        group.create_task(self._stand_in(self._intake, client))
                    await self._follow(client, sink)
        except trouble.Throttled as error:
            self._leave_alone(error)
            raise
        except BaseExceptionGroup as group_of_one:
            raise group_of_one.exceptions[0] from None
        finally:
            self._client = self._wake = None

    def resnapshot(self) -> None:
        """As `Connector.resnapshot`. Several wishes within a second are one."""
        if self._wake is not None:
            asyncio.get_running_loop().call_at(self._next_at, self._wake.set)

    async def read_extensions(self) -> ExtensionList:
        """As `Connector.read_extensions`: the users, and the 3CX's own count of them."""
        client = self._connected()
        own = await system.status(client, self._version)
        departments = await directory.read_departments(client)
        users = await directory.read_users(client)
        found = directory.Directory(users=users, departments=departments)
        return ExtensionList(self._now(), "xapi", found.extensions(), own.users)

    async def read_calls(self, since: Instant | None, *, soon: bool = False) -> CallsTold | None:
        """As `Connector.read_calls`: the call log where the role may read it, else the CDR output where there is one."""
        client = self._connected()
        if self._has_log:
            until = self._now() - calllog.SETTLE_MS
            wait_ms = 0 if soon else round(self._settings.log_every_s * 1000)
            if since is not None and until - since <= wait_ms:
                return None
            if self._log_from is None:
                self._log_from = 0 if self._intake is None else since or 0
            with suppress(trouble.Forbidden, trouble.Absent):
                return await self._read_log(client, since, until)
            self._log_is(readable=False)
        return None if self._intake is None else self._intake.take(since)

    async def probe(self) -> Probe:
        """As `Connector.probe`."""
        async with connected(self._settings, self._now) as line:
            return await _look(self._asking(line), self._settings, self._now)

    def _asking(self, line: Line) -> Client:
        return Client(line, self._tokens, self._settings.access)

    def _leave_alone(self, error: trouble.Throttled) -> None:
        self._quiet_until = asyncio.get_running_loop().time() + min(error.wait_s or 0.0, LONGEST_WAIT_S)

    def _departments_of(self, dn: str) -> tuple[str, ...]:
        return self._known.of_any(dn)

    def _is_outside(self, dn: str) -> bool:
        trunk = self._known.trunks.get(dn)
        return trunk is None or not trunk.bridge or self._settings.bridges

    def _records_ahead_ms(self) -> int:
        """Return how far the clock of the CDR output's whole seconds is ahead: the same until it is another second.

        Otherwise a call that began as another ended would overlap it by what the difference trembles.
        """
        if self._ahead_ms is not None and abs(self._ahead_ms - self._records_ahead) >= _SECOND_MS:
            self._records_ahead = round(self._ahead_ms / _SECOND_MS) * _SECOND_MS
        return self._records_ahead

    def _connected(self) -> Client:
        if self._client is None:
            raise trouble.gone()
        return self._client

    async def _meet(self, client: Client) -> None:
        """Find out what answers, and who is who."""
        self._version = await system.version(client)
        own = await system.status(client, self._version)
        self._known = await directory.read(client)
        if own.trunks and not self._known.trunks:
            raise trouble.trunkless(own.trunks)
        self._log_is(readable=self._intake is None or await _has_log(client, self._now()))

    def _log_is(self, *, readable: bool) -> None:
        self._has_log = readable
        if not readable:
            self._log_from = None

    async def _stand_in(self, intake: Intake, client: Client) -> NoReturn:
        """Let the CDR output arrive while the call log can't be read, and look for that again now and then."""
        while True:
            self._log_shut.clear()
            await self._log_shut.wait()
            async with intake:
                while not self._has_log:
                    await asyncio.sleep(_LOG_AGAIN_S)
                    with suppress(Unreachable, Garbled):  # a look that fails is none; polls tell of the link
                        self._log_is(readable=await _has_log(client, self._now()))

    async def _keep_known(self, client: Client) -> None:
        """Read the directory again and again. One that can't be read leaves the last one in force."""
        wait_s = self._settings.trunks_every_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(_AGAIN_S, self._settings.trunks_every_s)
            with suppress(Unreachable, Garbled):
                fresh = await directory.read(client)
                # A list that is empty all of a sudden is a right that was taken away, not a trunk.
                self._known = directory.with_trunks(fresh, fresh.trunks or self._known.trunks)
                wait_s = self._settings.trunks_every_s

    async def _follow(self, client: Client, sink: Sink) -> NoReturn:
        """Poll until no poll was good for three intervals, or it is refused."""
        loop = asyncio.get_running_loop()
        polling, rhythm = Polling(client, self._ahead_ms), Rhythm(self._settings.poll_s)
        wake = self._wake = asyncio.Event()
        good_at: float | None = None
        last: ConnectorError = trouble.silent()
        while True:
            wake.clear()
            rhythm.begun(loop.time())
            self._next_at = loop.time() + min(_APART_S, self._settings.poll_s)
            lost_at = None if good_at is None else good_at + _INTERVALS * self._settings.poll_s
            try:
                async with asyncio.timeout_at(lost_at):
                    snapshot = await self._poll(client, polling, followed=good_at is not None)
            except TimeoutError:
                self._missed += 1
                raise trouble.no_good_poll(last) from None
            except (Unreachable, Garbled) as error:
                self._missed += 1
                last = error
                if isinstance(error, trouble.Throttled):
                    rhythm.throttle(loop.time(), error.wait_s)
                    self._leave_alone(error)
                if lost_at is None:
                    raise
            else:
                self._missed, last = 0, trouble.silent()
                self._client = client
                self.heard_at = snapshot.at
                good_at = loop.time()
                lost_at = good_at + _INTERVALS * self._settings.poll_s
                if not self._has_log:  # only now is it known how far its records' clock is ahead
                    self._log_shut.set()
                sink((snapshot,))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(rhythm.due, lost_at)):
                    await wake.wait()
            if loop.time() >= lost_at:
                raise trouble.no_good_poll(last)

    async def _poll(self, client: Client, polling: Polling, *, followed: bool) -> Snapshot:
        poll = await polling.poll()
        seen = shown(poll.calls, self._known, bridges=self._settings.bridges)
        if seen.unknown and asyncio.get_running_loop().time() >= self._look_again_at:
            self._look_again_at = asyncio.get_running_loop().time() + _AGAIN_S
            with suppress(Unreachable, Garbled):
                trunks = await directory.read_trunks(client)
                self._known = directory.with_trunks(self._known, trunks or self._known.trunks)
                seen = shown(poll.calls, self._known, bridges=self._settings.bridges)
        self._ahead_ms = poll.ahead_ms
        self._run.see(poll.calls, poll.came_at, followed=followed)
        self.beside = self._beside(seen)
        return Snapshot(
            at=poll.came_at,
            requested_at=poll.asked_at,
            legs=seen.legs,
            booted=self._run.name,
            polled=True,
            missed=self._missed,
            ahead_ms=poll.ahead_ms,
        )

    def _beside(self, seen: Shown) -> Mapping[str, int]:
        counts = {"calls in all": seen.calls, "bridges": seen.bridged}
        if seen.odd:
            counts["calls of unknown status"] = seen.odd
        if self._intake is not None and not self._has_log:
            counts["CDR lines refused"] = self._intake.refused
        return counts

    async def _read_log(self, client: Client, since: Instant | None, until: Instant) -> CallsTold | None:
        first, start, end = self._reach.span(since, until)
        up, polled_at, oldest = dict(self._run.up), self._run.at or until, self._run.oldest(until)
        segments = await calllog.read(client, first, end, self._ahead_ms or 0)
        told = calllog.told(
            segments,
            self._known,
            bridges=self._settings.bridges,
            start=start,
            end=end,
            late_from=max(start - calllog.LATE_MS, self._log_from or 0),
            up=up,
            polled_at=polled_at,
        )
        if end == until:  # of an instant that is long over nobody knows what was up
            self._reach.note(told.end, oldest)
        return told if told.end > told.start else None


async def _has_log(client: Client, now: Instant) -> bool:
    """Return whether the call log can be read; on some systems it answers 500 whoever asks."""
    try:
        await client.read(Resource.CALL_LOG, {"$top": "1", "$skip": "0"}, period=(now - 60_000, now))
    except (trouble.Forbidden, trouble.Absent, Unreachable, Garbled):
        return False
    return True


async def _look(client: Client, settings: Settings, now: Now) -> Probe:
    """Find out what may be read. Raises as `Client.read`, but for single rights."""
    version = await system.version(client)
    rights = dict.fromkeys(("ActiveCalls", "Trunks", "Users", "Groups", "SystemStatus"), False)
    known, trunks, up = directory.Directory(), None, 0
    missing = suppress(trouble.Forbidden, trouble.Absent)
    with missing:
        trunks = (await system.status(client, version)).trunks
        rights["SystemStatus"] = True
    with missing:
        known = directory.with_trunks(known, await directory.read_trunks(client))
        rights["Trunks"] = bool(known.trunks) or not trunks
    with missing:
        known = replace(known, departments=await directory.read_departments(client))
        rights["Groups"] = True
    with missing:
        known = replace(known, users=await directory.read_users(client))
        rights["Users"] = True
    known = replace(known, others=await directory.read_others(client, known.trunks))
    with missing:
        poll = await Polling(client).poll()
        rights["ActiveCalls"] = True
        up = sum(leg.listed for leg in shown(poll.calls, known, bridges=settings.bridges).legs)
    return Probe(
        product=f"3CX {version}" if version else "3CX",
        rights=(
            *((what, allowed, True) for what, allowed in rights.items()),
            ("call log", await _has_log(client, now()), False),
        ),
        endpoints=known.endpoints(),
        trunk_hints=tuple(
            f"3CX/{dn}" for dn, trunk in known.trunks.items() if settings.bridges or not trunk.bridge
        ),
        up=up,
        users=known.extensions(),
    )
