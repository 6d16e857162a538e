"""The tables are made, or brought up to date, by Alembic: in one transaction, by one process at a time.

A step is a file in `migrations/versions`, named after its revision (`m0003_….py`, revision
"0003"). What was released is never edited. There is no way back but a copy of the books.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from provider.books import BooksUnusable

#: Any number that no other program on the same PostgreSQL locks for itself.
_MIGRATING: Final = 0x7062785F6D657465
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate(connection: Connection) -> None:
    """Bring the tables up to date within a transaction that has begun.

    Raises:
        BooksUnusable: They are of a newer build.
    """
    if connection.dialect.name == "postgresql":  # SQLite's transaction has the write lock already
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATING})
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    tables = inspect(connection).get_table_names()
    if "_sqlite_migrations" in tables and "alembic_version" not in tables:
        command.stamp(config, "0001")  # the builds before Alembic left the tables as its first step does
        connection.execute(text("DROP TABLE _sqlite_migrations"))
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise BooksUnusable("these books are of a newer build than this one: install that") from None
