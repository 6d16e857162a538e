"""What every command shares: options, exit codes, errors that say what to do, and the stored rows.

| code | means |
|---|---|
| 0 | fine |
| 1 | it ran and found a problem: the agent would not work, a record is not proved, figures differ |
| 2 | wrong usage |
| 69 | nobody answers: the agent does not run, the provider or the PBX can't be reached |
| 70 | a bug: a loop failed too often |
| 74 | the state directory or the key can't be used |
| 78 | the configuration is wrong |
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
from rich.console import Console

from agent import desk, keys
from agent.sealing import Halted
from agent.store.database import NAME, Database, Store, StoreError
from agent.supervisor import Bugged
from config.model import Config
from config.problems import ConfigError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

PROBLEM: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 69
BUG: Final = 70
STATE: Final = 74
CONFIG: Final = 78

console = Console()
complaints = Console(stderr=True)


def with_config_as(name: str) -> Callable[[F], F]:
    """Return the option for the configuration's file, given to the command as `name`."""
    return click.option(
        "--config",
        "-c",
        name,
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("/etc/pbx-meter/config.toml"),
        show_default=True,
        envvar="PBX_METER_CONFIG",
        help="The configuration.",
    )


with_config = with_config_as("file")
with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Commands(click.Group):
    """The group that turns every expected error into a sentence, a next step and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except ConfigError as error:
            for problem in error.problems:
                complaints.print(str(problem), markup=False, highlight=False, soft_wrap=True)
            raise SystemExit(CONFIG) from None
        except (StoreError, keys.KeyTrouble) as error:
            fail(STATE, str(error), error.hint)
        except desk.Unknown as error:
            fail(PROBLEM, str(error), error.hint)
        except Halted as error:
            fail(PROBLEM, f"nothing is sealed: {error}")
        except Bugged as error:
            fail(BUG, str(error), "the log above says where; please report it")


def fail(code: int, said: str, hint: str = "") -> NoReturn:
    """Say what is wrong and what to do, and leave with a code."""
    complaints.print(said, markup=False, highlight=False, soft_wrap=True)
    if hint:
        complaints.print(f"  -> {hint}", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(code)


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Let root act as a folder's owner meanwhile, so that what a command makes there is the agent's to write.

    Anybody else is who he is; so is root where the folder is not there yet.
    """
    if os.geteuid() != 0 or not folder.exists():
        yield
        return
    owner = folder.stat()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def stored(config: Config, work: Callable[[Database], T], *, write: bool = False) -> T:
    """Run work on the state directory's database, and return what it returns."""

    async def on_store() -> T:
        store = Store(config.agent.state_dir)
        await store.open()
        try:
            return await (store.write(work) if write else store.read(work))
        finally:
            await store.close()

    if not write and not (config.agent.state_dir / NAME).exists():
        fail(
            STATE, f"there is no database in {config.agent.state_dir}", "start the agent once: pbx-meter run"
        )
    with as_owner(config.agent.state_dir):
        return asyncio.run(on_store())
