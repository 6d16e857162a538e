"""What the commands of `pbx-meter-provider` share: where everything is, how they run, print and fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from config.problems import ConfigError
from meter.signature import Unverified
from provider.books import BooksUnusable
from provider.keys import KeyTrouble
from provider.settings import Settings, load
from provider.storage.opening import Storage, open_storage

T = TypeVar("T")

#: Something was not taken or not found, or a check found something wrong.
EX_PROBLEM: Final = 1
EX_IOERR: Final = 74
EX_CONFIG: Final = 78

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


@dataclass(frozen=True, slots=True)
class Site:
    """Where the provider keeps things: what every command is given as click's `obj`.

    Attributes:
        data: The folder with the receiver's key, and with the books unless they are elsewhere.
        database: The PostgreSQL with the books; None: a file in the folder.
        settings: What the operator wrote.
    """

    data: Path
    database: str | None = None
    settings: Settings = Settings()  # noqa: RUF009  # frozen


def site_of(data: Path, database: str | None, config: Path | None) -> Site:
    """Return where things are; settings that can't be used end the command, all their problems at once."""
    try:
        settings = load(config)
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
    if database is None and settings.database is not None:
        database = settings.database.url.reveal()
    return Site(data, database, settings)


def run(site: Site, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run one command over the data folder; what can't be used becomes a sentence and a hint."""
    try:
        site.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return asyncio.run(work())
    except Unverified as error:
        raise click.UsageError(str(error)) from None
    except KeyTrouble as error:
        fail(f"{error}\n  {error.hint}", EX_IOERR)
    except BooksUnusable as error:
        hint = (
            "look at the server, the name and the rights that --database gives"
            if site.database
            else "choose another folder with --data, or look at its owner"
        )
        fail(f"{'the database' if site.database else site.data}: {error}\n  {hint}", EX_IOERR)
    except OSError as error:
        fail(f"{site.data}: {error}\n  choose another folder with --data, or look at its owner", EX_IOERR)


def run_with(site: Site, work: Callable[[Storage], Coroutine[Any, Any, T]]) -> T:
    """Run one command over what is kept, as `run` does."""

    async def opened() -> T:
        async with open_storage(site.data, site.database) as storage:
            return await work(storage)

    return run(site, opened)


def fail(message: str, code: int = EX_PROBLEM) -> NoReturn:
    """End the command with a sentence on standard error."""
    click.echo(f"pbx-meter-provider: {message}", err=True)
    raise SystemExit(code)


def print_json(rows: Iterable[Any]) -> None:
    """Print dataclasses or dictionaries, one JSON object a line."""
    for row in rows:
        click.echo(json.dumps(row if isinstance(row, dict) else asdict(row)))
