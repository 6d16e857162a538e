"""A 3CX whose call records are all that can be had: `access = "cdr"`, on every edition, with no licence for more.

Levels are known after the fact: a call is told when it ends. What is given to the sink is a
snapshot without legs for as long as records can arrive; the calls come by `read_calls`.

Their times are by the 3CX's own clock, as it wrote them: a line that comes late and a clock that is behind
look alike, so nothing is corrected. One that is off moves calls over a period's edge by as much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NoReturn

from connectors.connector import CallsTold, ExtensionList, Now, Probe, Sink
from connectors.errors import Denied, Garbled, Unreachable
from connectors.threecx.intake import Intake
from connectors.threecx.settings import Cdr, Settings
from meter.events import Snapshot
from meter.model import Cause, Instant

#: So many legs, the newest, a look is content with.
_PROBED: Final = 1_000

#: So many lines in a row that can't be read are no accident: another layout was chosen.
_MOST_IN_VAIN: Final = 5


class RecordsOnly:
    """One 3CX by its CDR output. Makes a `connectors.connector.Connector`.

    Args:
        name: The configured name of the PBX.
        settings: Where its records arrive (`cdr`), and how patient to be.
        now: The clock.
    """

    method = "cdr"

    def __init__(self, name: str, settings: Settings, now: Now) -> None:
        self.name = name
        self.heard_at: Instant | None = None
        self._settings = settings
        self._cdr = settings.cdr or Cdr()
        self._now = now
        self._intake = Intake(self._cdr, now, look_every_s=min(1.0, settings.poll_s))
        self._serving = False
        self.beside: Mapping[str, int] = self._counts()

    async def serve(self, sink: Sink) -> NoReturn:
        """As `Connector.serve`: snapshots without legs while the 3CX is connected, or its file can be read."""
        stood = False
        self._serving = True
        try:
            async with self._intake as intake:
                while True:
                    await self._arrival(intake, self._cdr.grace_s, stood=stood)
                    if intake.in_vain >= _MOST_IN_VAIN:
                        raise self._misread(intake)
                    stood = True
                    self.beside = self._counts()
                    at = self.heard_at = self._now()
                    sink([Snapshot(at=at, requested_at=at, legs=(), polled=True)])
                    await asyncio.sleep(self._settings.poll_s)
        finally:
            self._serving = False
            self.beside = self._counts()

    def resnapshot(self) -> None:
        """As `Connector.resnapshot`: there is one again within `poll_s` anyway."""

    async def read_extensions(self) -> ExtensionList:
        """As `Connector.read_extensions`: there is no list.

        Raises:
            Denied: Always.
        """
        raise Denied(
            f"{self.name} is followed by its call records, which hold no list of extensions.",
            hint='Users stay unknown with access = "cdr". With an Enterprise licence, access = "xapi" reads them; '
            'access = "user_login" does on every edition.',
        )

    async def read_calls(self, since: Instant | None, *, soon: bool = False) -> CallsTold | None:
        """As `Connector.read_calls`: calls within seconds of their lines, that there was none once a minute."""
        return self._intake.take(since, soon=soon)

    async def probe(self) -> Probe:
        """As `Connector.probe`: listen for `answer_timeout_s`; the trunks of the records that came are its endpoints."""
        if self._serving:
            return await self._look(self._intake)
        async with Intake(self._cdr, self._now, most=_PROBED) as intake:
            return await self._look(intake)

    def _counts(self) -> Mapping[str, int]:
        """Count what came besides calls: see `Intake`."""
        intake = self._intake
        return {
            "CDR lines": intake.lines,
            "CDR lines refused": intake.refused,
            "CDR legs lost": intake.lost,
            "outside parties without a leg": intake.untold,
            "connections by strangers": intake.strangers,
        }

    async def _look(self, intake: Intake) -> Probe:
        await self._arrival(intake, self._settings.answer_timeout_s, stood=False)
        return Probe("", (("CDR output", True, True),), intake.trunks, intake.trunks)

    async def _arrival(self, intake: Intake, within_s: float, *, stood: bool) -> None:
        try:
            async with asyncio.timeout(within_s):
                await intake.connection()
        except TimeoutError as exc:
            raise self._absence(intake, within_s, stood=stood) from exc

    def _misread(self, intake: Intake) -> Garbled:
        return Garbled(
            f"The last {intake.in_vain} CDR lines of {self.name} could not be read: {intake.trouble}.",
            hint="In the 3CX's Admin Console, on the CDR page: are the fields those of `fields`, in that order (without "
            "it: all, in 3CX's own order), with commas between them?",
        )

    def _absence(self, intake: Intake, within_s: float, *, stood: bool) -> Unreachable:
        cause = Cause.LINK_LOST if stood else Cause.PBX_UNREACHABLE
        file = self._cdr.file
        if file is not None:
            return Unreachable(
                f"The CDR file {file.name} could not be read for {within_s:g} s: {intake.trouble}.",
                hint="In the 3CX's Admin Console, on the CDR page: output on, to a single file for all calls; "
                "and the agent's user must be able to read that file.",
                cause=cause,
            )
        place = f"{self._cdr.host}:{intake.port}"
        strangers = ""
        if intake.stranger:
            strangers = f" {intake.stranger} tried to: is that the 3CX? Then it is the `peer` to configure."
        return Unreachable(
            f"The 3CX at {self._cdr.peer} is not connected to {place} for its CDR output "
            f"({'lost' if stood else 'not come'} for {within_s:g} s).",
            hint="In the 3CX's Admin Console, on the CDR page: output on, as client (active socket), to this "
            f"machine's address and port {intake.port}.{strangers}",
            cause=cause,
        )
