"""The loops of one agent, from its start until it is stopped, and through a new configuration.

What must not pause lives as long as the agent: the heartbeat, the watchdog's food, the links to
the PBXs and the clock's jobs. The other loops belong to one configuration, and end and begin with it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from agent import app, notify, schedule
from agent.app import Agent
from agent.clock import Clock
from agent.doors import open_page, open_socket
from agent.health import Health
from agent.sampling import BEAT_S
from agent.store.database import StoreError
from agent.supervisor import Link, keep
from config.model import Config
from config.problems import ConfigError

log = structlog.get_logger(__name__)

#: How often the scheduled jobs look what is due, in s.
LOOK_EVERY_S: Final = 5.0
#: How long a loop may take to turn before the watchdog is not fed any more, in ms. The sampling loop
#: commits every second; closing folds months, which takes the time it takes.
TURNS_WITHIN_MS: Final = {"sampling": 15_000, "closing": 900_000}
#: What an agent keeps for its life: its state directory is locked and its socket is known.
FIXED: Final = ("id", "state_dir", "socket")


class NotReloaded(Exception):  # noqa: N818 - it says what is so
    """A configuration that can't be taken over by a running agent. It goes on as it was. `hint`: what to do."""

    def __init__(self, said: str, hint: str) -> None:
        super().__init__(said)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a new configuration did to the PBXs, by name.

    Attributes:
        kept: Followed without a gap.
        anew: New, or its section changed: followed anew.
        gone: Followed no longer.
    """

    kept: list[str]
    anew: list[str]
    gone: list[str]


async def run(
    config: Config,
    clock: Clock | None = None,
    *,
    look_every_s: float = LOOK_EVERY_S,
    started: Callable[[Agent], None] = lambda _: None,
    reread: Callable[[], Config] | None = None,
) -> None:
    """Run an agent until the task is cancelled.

    Args:
        config: What the operator wrote.
        clock: The clock.
        look_every_s: How often the jobs look what is due.
        started: Told once, when the loops turn.
        reread: Reads the configuration again, on SIGHUP too; None: it can't be read again.

    Raises:
        StoreError: The state directory can't be used.
        KeyTrouble: The signing key can't be used.
        ExceptionGroup: A loop failed too often (`Bugged`), at whatever depth.
    """
    async with app.agent(config, clock) as parts:
        await Running(parts, look_every_s, reread).turn(started)


class Running:
    """One agent's loops.

    Attributes:
        parts: What runs now.
    """

    def __init__(self, parts: Agent, look_every_s: float, reread: Callable[[], Config] | None) -> None:
        self.parts = parts
        self._reread = reread
        self._clock = parts.clock
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._loops: asyncio.TaskGroup
        # What a reload waits for, and what waits for it: jobs that look at the parts more than once.
        self._sealing, self._telling, self._troubling = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._renewed = asyncio.Event()
        self._looked_at = self._clock.boot()
        self._jobs = schedule.scheduler(
            seal_due=self._seal_due,
            read_extensions=self._read_extensions,
            read_calls=self._read_calls,
            look_for_troubles=self._look_for_troubles,
            store=parts.store,
            clock=parts.clock,
            every_s=look_every_s,
        )

    async def turn(self, started: Callable[[Agent], None]) -> None:
        """Let the loops turn until the task is cancelled."""
        systemd = notify.found()
        reload = None if self._reread is None else self._answer
        socket = self.parts.config.agent.socket
        door = await open_socket(socket, self._said, reload)
        try:
            async with door, asyncio.TaskGroup() as self._loops:
                self._keep("heartbeat", self.beat)
                self._keep(
                    "watchdog", partial(notify.feed, systemd, self._clock, self._stuck, self._in_short)
                )
                if self._reread is not None:
                    self._keep("reload", self._obey)
                for link in self.parts.links:
                    self._follow(link)
                while True:
                    await self._one_configuration(systemd, started)
        finally:
            systemd.tell("STOPPING=1")
            if self._jobs.running:
                self._jobs.shutdown(wait=False)
            log.info("agent.stopped")

    async def _one_configuration(self, systemd: notify.Systemd, started: Callable[[Agent], None]) -> None:
        """Let the loops of one configuration turn until there is another one."""
        parts = self.parts
        health = Health(parts.sampling, parts.links, parts.store, parts.clock, self._stuck)
        page = await open_page(parts.config, parts.status, parts.glance, health, parts.clock)
        async with page, asyncio.TaskGroup() as loops:
            turning = [loops.create_task(keep("sampling", self._clock, parts.sampling.run))]
            turning += [loops.create_task(keep("lane", self._clock, lane.run)) for lane in parts.lanes]
            if parts.shipping is not None:
                turning.append(loops.create_task(keep("shipping", self._clock, parts.shipping.run)))
            if not self._jobs.running:
                log.info("agent.started", agent=parts.config.agent.id, pbxs=len(parts.links))
                self._jobs.start()
                started(parts)
                systemd.tell("READY=1")
            await self._renewed.wait()
            self._renewed.clear()
            for task in turning:
                task.cancel()

    async def _said(self) -> dict[str, Any]:
        """Return what the agent says of itself now: another configuration brings another glance."""
        return await self.parts.glance.fresh()

    def _keep(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        self._loops.create_task(keep(name, self._clock, loop))

    def _follow(self, link: Link) -> None:
        name = f"link {link.connector.name}"
        self._links[link] = self._loops.create_task(keep(name, self._clock, link.follow))

    async def _hang_up(self, link: Link) -> None:
        task = self._links.pop(link)
        task.cancel()
        await asyncio.wait([task])

    async def beat(self) -> None:
        """Mind the time, and wait for nothing else: only so is a late turn the event loop's own."""
        while True:
            await self._clock.sleep(BEAT_S)
            self.parts.sampling.mind_time()

    # --- another configuration ---------------------------------------------------------

    async def reload(self) -> Reloaded:
        """Read the configuration again and go on by it.

        Raises:
            ConfigError: It is wrong; nothing changed.
            NotReloaded: It is another agent's, or the disk failed; nothing changed.
        """
        async with self._sealing, self._telling, self._troubling:
            if self._reread is None:
                raise NotReloaded("this agent's configuration can't be read again", "restart it")
            config, before = await asyncio.to_thread(self._reread), self.parts
            for name in FIXED:
                if getattr(config.agent, name) != getattr(before.config.agent, name):
                    raise NotReloaded(
                        f"[agent] {name} can't change while the agent runs",
                        "systemctl restart pbx-meter, or write what stood there",
                    )
            try:
                self.parts = await app.reconfigured(before, config, self._hang_up)
            except StoreError as error:
                raise NotReloaded(str(error), error.hint) from error
            except OSError as error:
                raise NotReloaded(str(error), "look at the files that ca_file names") from error
            finally:
                for link in self.parts.links:
                    if link not in self._links:
                        self._follow(link)
            self._renewed.set()
        kept = [link.connector.name for link in self.parts.links if link in before.links]
        names = [pbx.name for pbx in config.pbx]
        done = Reloaded(
            kept,
            [name for name in names if name not in kept],
            [pbx.name for pbx in before.config.pbx if pbx.name not in names],
        )
        log.info("config.reloaded", kept=done.kept, anew=done.anew, gone=done.gone)
        return done

    async def _obey(self) -> None:
        """Reload on SIGHUP; what can't be taken over is said, and the agent goes on as it was."""
        hung_up = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up.set)
        while True:
            await hung_up.wait()
            hung_up.clear()
            await self._answer()

    async def _answer(self) -> dict[str, Any]:
        """Reload, and return what came of it as plain values: `problems`, or what `Reloaded` says."""
        try:
            done = await self.reload()
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
        except NotReloaded as error:
            problems = [f"{error}; {error.hint}"]
        else:
            return {"problems": [], "kept": done.kept, "anew": done.anew, "gone": done.gone}
        log.error("config.not_reloaded", problems=problems)
        return {"problems": problems}

    # --- the clock's jobs, and the watchdog --------------------------------------------

    async def _seal_due(self) -> None:
        async with self._sealing:
            parts = self.parts
            try:
                parts.sampling.mind_time()  # after a sleep this may be the first to turn: the gap comes before the record
                known_at = parts.clock.now()
                await (
                    parts.sampling.commit()
                )  # a record is made from the ledger: nothing may be on its way there
                await parts.closing.seal_due(known_at)
            finally:
                self._looked_at = self._clock.boot()

    async def _read_extensions(self) -> None:
        await self.parts.reading.read_due()

    async def _read_calls(self) -> None:
        async with self._telling:
            parts = self.parts
            await parts.calls.read_due()
            if await parts.amending.correct_due() and parts.shipping is not None:
                parts.shipping.bell.ring()

    async def _look_for_troubles(self) -> None:
        async with self._troubling:
            await self.parts.troubles.look()

    def _stuck(self) -> str | None:
        turned_at = {"sampling": self.parts.sampling.tried_at, "closing": self._looked_at}
        return notify.late(turned_at, TURNS_WITHIN_MS, self._clock.boot())

    def _in_short(self) -> str:
        links = self.parts.links
        return f"{sum(link.up for link in links)} of {len(links)} PBX links up"
