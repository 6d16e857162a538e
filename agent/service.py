"""`pbx-meter run`, and the same as systemd starts it: without what only a terminal needs.

A process that runs for years holds in memory what it once imported. The service's own way in
(deploy/debian/pbx-meter-agent) leaves out the other commands and whatever draws tables. Its sentences and exit codes
are those of the command (agent.terminal).
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from agent import logs, running
from agent.keys import KeyTrouble
from agent.store.database import StoreError
from agent.supervisor import Bugged
from config.load import load
from config.model import Config
from config.problems import ConfigError

T = TypeVar("T")

log = structlog.get_logger(__name__)

BUG: Final = 70
STATE: Final = 74
CONFIG: Final = 78


def run(file: Path) -> None:
    """Run the agent of a configuration until SIGTERM or SIGINT.

    Raises:
        ConfigError: The configuration is wrong.
        StoreError: The state directory can't be used.
        KeyTrouble: The signing key can't be used.
        Bugged: A loop failed too often.
    """

    def read() -> Config:
        config = load(file)
        logs.set_up(config.agent.log_level)
        for problem in config.warnings:
            log.warning("config.warning", key=problem.key, what=problem.what, hint=problem.hint)
        return config

    config = read()
    faulthandler.enable(2)  # the watchdog's SIGABRT leaves in the log where a hung loop stood
    try:
        asyncio.run(until_stopped(running.run(config, reread=read)))
    except ExceptionGroup as loops:
        bug: Exception = loops
        while isinstance(bug, ExceptionGroup):
            bug = bug.exceptions[0]  # each is `Bugged`; the first says it
        raise bug from None


async def until_stopped(work: Coroutine[Any, Any, T]) -> T | None:
    """Run until it ends, or until SIGTERM or SIGINT cancels it: None. What it raises is raised as it is."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run runs it
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        return await work
    return None


def main() -> None:
    """Run the agent of the configuration that is named by the first word or PBX_METER_CONFIG."""
    named = sys.argv[1] if sys.argv[1:] else os.environ.get("PBX_METER_CONFIG")
    try:
        run(Path(named or "/etc/pbx-meter/config.toml"))
    except ConfigError as error:
        _leave(CONFIG, *map(str, error.problems))
    except (StoreError, KeyTrouble) as error:
        _leave(STATE, str(error), f"  -> {error.hint}")
    except Bugged as error:
        _leave(BUG, str(error), "  -> the log above says where; please report it")


def _leave(code: int, *said: str) -> None:
    sys.stderr.write("\n".join([*said, ""]))
    sys.exit(code)
