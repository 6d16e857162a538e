"""The outside world of one Asterisk: carriers and phones that answer, and scripted calls placed among them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from tests.asterisk import ami, sipp
from tests.asterisk.calls import NO_END_MS, Script
from tests.asterisk.instance import Instance
from tests.asterisk.moves import Moves
from tests.asterisk.patience import until
from tests.asterisk.sipp import Dialling, Party
from tests.asterisk.wire import WireLeg

#: After the last scripted instant: retransmissions, and Asterisk's own last hangups.
_LINGER_S: Final = 8.0


class Astray(Exception):  # noqa: N818 - the calls went astray, not the harness
    """Calls did not go as their scripts say."""


@dataclass(slots=True)
class Placed:
    """Calls that are being placed.

    Attributes:
        scripts: What was asked for.
        joined_ms: When two calls became one (UTC ms), by the id of the script that joins.
    """

    scripts: tuple[Script, ...]
    _instance: Instance = field(repr=False)
    _callers: list[Party] = field(repr=False)
    _moves: Moves = field(repr=False)
    _session: ami.Session = field(repr=False)

    @property
    def joined_ms(self) -> dict[int, int]:
        """See the class."""
        return self._moves.joined_ms

    @property
    def merges(self) -> list[tuple[int, int, int]]:
        """Which calls became one so far, as `wire.calls` takes it: (first, second, from when)."""
        joining = (script for script in self.scripts if script.joins is not None)
        return [(s.id, s.joins or 0, self.joined_ms[s.id]) for s in joining if s.id in self.joined_ms]

    def tenant(self, leg: WireLeg) -> str | None:
        """Return whose line a leg on the wire holds; None: no script of these made it."""
        return next((script.whose(leg.trunk) for script in self.scripts if script.id == leg.script), None)

    async def finished(self) -> None:
        """Wait until every call ended as scripted and Asterisk has no channel left.

        Raises:
            Astray: Some did not; the sentence quotes SIPp.
            TimeoutError: Some never end.
        """
        ending = [script for script in self.scripts if script.talk_ms < NO_END_MS]
        longest = max(script.at_ms + script.ring_ms + script.talk_ms for script in ending)
        within_s = longest / 1000 + _LINGER_S
        await until(
            lambda: all(party.process.poll() is not None for party in self._callers), within_s=within_s
        )
        failed = [party for party in self._callers if party.process.returncode != 0]
        undone = self._moves.undone()
        if failed or undone:
            complaints = [party.complaints() for party in failed]
            raise Astray("\n".join([*undone, *complaints, self._instance.epitaph()]))
        await until(self._all_gone, within_s=_LINGER_S)

    async def clear(self) -> None:
        """Hang up whatever is left: the calls of a test that failed are not the next one's."""
        with suppress(ami.Refused, TimeoutError):  # refused: there is no channel
            await self._session.act("Hangup", Channel="/.*/")

    async def _all_gone(self) -> bool:
        return (await self._session.act("CoreShowChannels"))[-1]["ListItems"] == "0"


@dataclass(slots=True)
class Network:
    """Carriers and phones around `instance`. Made by `around()`."""

    instance: Instance
    _home: Path
    _batches: Iterator[int] = field(default_factory=count, repr=False)

    @asynccontextmanager
    async def place(self, scripts: Sequence[Script]) -> AsyncIterator[Placed]:
        """Place calls from now on; at the end their callers are gone, whatever became of the calls.

        `async with network.place(scripts) as placed: await placed.finished()`.
        """
        instance = self.instance
        where = instance.addresses
        moves = Moves(
            {script.id: script for script in scripts},
            (where.host, where.sip_port),
            where.parties["phones"][0],
        )
        driver = instance.accounts["driver"]
        async with (
            ami.session(instance.host, instance.ami_port, driver, events="call") as session,
            ami.lone_errors(),
            asyncio.TaskGroup() as group,
        ):
            session.listener = lambda event: moves.hear(event, session, group)
            callers = self._callers(scripts)
            placed = Placed(tuple(scripts), instance, callers, moves, session)
            try:
                yield placed
            finally:
                moves.stop()
                for party in callers:
                    party.stop()
                if not session.ended.is_set():
                    await placed.clear()

    def _callers(self, scripts: Sequence[Script]) -> list[Party]:
        by_party: dict[str, list[Dialling]] = {}
        for script in scripts:
            party, dialling = script.dialling()
            by_party.setdefault(party, []).append(dialling)
        where = self.instance.addresses
        batch = next(self._batches)
        return [
            sipp.calling(
                f"{party}-{batch}", where.parties[party][0], (where.host, where.sip_port), calls, self._home
            )
            for party, calls in by_party.items()
        ]


@contextmanager
def around(instance: Instance) -> Iterator[Network]:
    """Give the network around an instance; it outlives restarts of Asterisk and ends with the context."""
    home = instance.home / "sipp"
    home.mkdir(exist_ok=True)
    where = instance.addresses
    asterisk = (where.host, where.sip_port)
    parties: list[Party] = []
    try:
        for name, at in where.parties.items():
            parties.append(sipp.answering(name, at, asterisk, home, silent=name == "silent"))
        for party in parties:
            party.wait_until_bound()
        yield Network(instance, home)
    finally:
        for party in parties:
            party.stop()
