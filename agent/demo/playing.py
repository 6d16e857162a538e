"""`pbx-meter demo`: the whole way on one machine, from a call to the provider's books, in about a minute.

No root, no PBX, nothing left behind: everything listens on loopback, lives in this
process and in one temporary folder, and ends with it.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from agent import logs, running
from agent.app import Agent
from agent.clock import Clock
from agent.demo import report, script
from agent.demo.proof import Proof, keep_files, prove
from agent.demo.screen import Screen, screen
from agent.demo.stage import Stage, stage
from agent.demo.story import Story
from connectors.asterisk.simulated import day
from connectors.threecx.simulated import day as day_on_3cx
from meter.model import Instant
from meter.periods import MINUTE_MS

_PERIOD_MS: Final = 5 * MINUTE_MS
_FRAME_S: Final = 0.1
#: How often the agent looks what is due to be sealed.
_LOOK_EVERY_S: Final = 0.5
#: So long after the period's end everything has long been counted, or never will be.
_PATIENCE_MS: Final = 35_000


async def play(seconds: int, keep: Path | None = None) -> bool:
    """Play the demo, and return whether everything that it promises has happened.

    Args:
        seconds: How long it takes, about; the last part of it only on a terminal.
        keep: A folder for the mail, the records, their receipts and the public keys; None: nothing is kept.

    Raises:
        OSError: The folder can't be used, or no port can be had.
        Bugged: A loop of the agent failed too often.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars in a terminal that knows no such characters
    console = Console(highlight=False)
    moving = sys.stdout.isatty() and not console.is_dumb_terminal
    murmur = io.StringIO()
    logs.set_up("warning", murmur)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once, before anything runs
    clock, closes_at = _clock(seconds)
    try:
        with tempfile.TemporaryDirectory(prefix="pbx-meter-demo-") as folder:
            async with stage(Path(folder), clock) as around:
                report.introduce(console, around, folder)
                with screen(console, moving=moving) as shown:
                    until = closes_at + seconds * 120 if moving else closes_at
                    story, proof = await _live(around, shown, closes_at, until, murmur)
    except asyncio.CancelledError:
        console.print("\nStopped. Nothing is left behind.")
        raise
    except ExceptionGroup as loops:
        console.print(murmur.getvalue(), markup=False)
        raise loops.exceptions[0] from None  # the first says it
    if keep is not None:
        keep_files(keep, story, proof)
    report.conclude(console, story, proof, keep, murmur.getvalue(), with_letter=moving)
    return proof.good


def _clock(seconds: int) -> tuple[Clock, Instant]:
    """Return a clock so far ahead that a period closes when most of the demo is over, and when that is."""
    wall = Clock().wall()
    closes_at = wall + seconds * 880
    ahead_ms = -closes_at % _PERIOD_MS
    return Clock(ahead_ms=ahead_ms), closes_at + ahead_ms


async def _live(
    around: Stage, shown: Screen, closes_at: Instant, until: Instant, murmur: io.StringIO
) -> tuple[Story, Proof]:
    """Let the agent and the simulated days run; look at them until all is told."""
    clock = around.clock
    started: asyncio.Future[Agent] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        agent = group.create_task(
            running.run(around.config, clock, look_every_s=_LOOK_EVERY_S, started=started.set_result)
        )
        story = Story(around, await started, closes_at)
        calls = None
        while not _told(story, until):
            await story.look()
            shown.draw(story, murmur.getvalue())
            if calls is None and story.linked:
                story.opened_at = clock.now()
                calls = group.create_task(_day(around, story))
            await clock.sleep(_FRAME_S)
        proof = await prove(story)
        if calls is not None:
            calls.cancel()
        agent.cancel()
    return story, proof


def _told(story: Story, until: Instant) -> bool:
    """Return whether there is nothing more to wait for."""
    now = story.stage.clock.now()
    if len(story.finals) == len(story.tenants):
        return now >= until
    return now >= story.closes_at + _PATIENCE_MS


async def _day(around: Stage, story: Story) -> None:
    """Live both offices' days on the simulated PBXs."""
    asterisk, threecx = around.asterisk.exchange, around.threecx
    phones = day_on_3cx.office(threecx.directory)
    async with asyncio.TaskGroup() as days:
        days.create_task(
            day.play(
                asterisk,
                script.overrun(asterisk.trunks[0], asterisk.extensions),
                speed=story.speed,
                from_s=script.OPENS_S,
            )
        )
        days.create_task(
            day_on_3cx.play(
                threecx.exchange,
                script.flash(phones.trunks[0], phones.extensions),
                speed=story.speed,
                from_s=script.OPENS_S,
                advance=threecx.advance,
            )
        )
