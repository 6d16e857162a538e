"""Another program's call records: a table `cdr` in an SQLite file, as cdr_sqlite3_custom or an export makes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

#: How every SQLite file begins.
MAGIC: Final = b"SQLite format 3\x00"


def is_database(file: Path) -> bool:
    """Return whether a file is an SQLite database.

    Raises:
        OSError: It can't be read.
    """
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def rows(file: Path) -> list[dict[str, str]]:
    """Return every row of the table `cdr`, by column, as text; the file is only read.

    Raises:
        ValueError: There is no such table in it.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            found = db.execute("SELECT * FROM cdr")
            names = [column[0].lower() for column in found.description]
            return [
                {name: "" if value is None else str(value) for name, value in zip(names, row, strict=True)}
                for row in found
            ]
    except sqlite3.Error as error:
        raise ValueError(f"its table cdr can't be read: {error}") from None
