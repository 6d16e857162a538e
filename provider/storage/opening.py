"""Everything that the provider keeps, opened at once: in a file of its folder, or in a PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from provider.storage import rebuilding
from provider.storage.agreeing import StoredPartners
from provider.storage.books import StoredBooks
from provider.storage.database import Store, address, open_database
from provider.storage.posting import StoredClosings, StoredPost
from provider.storage.watching import StoredFleet


@dataclass(frozen=True, slots=True)
class Storage:
    """What is kept, by its seams.

    Attributes:
        books: What agents reported (`provider.books`).
        partners: The tree, and what was agreed (`provider.partners`).
        closings: Closed periods (`provider.closings`).
        post: What has to leave (`provider.closings`).
        fleet: What is known of agents, and what was told of them (`provider.fleet.telling`).
        database: Where it all is.
    """

    books: StoredBooks
    partners: StoredPartners
    closings: StoredClosings
    post: StoredPost
    fleet: StoredFleet
    database: Store


@asynccontextmanager
async def open_storage(folder: Path, database: str | None = None) -> AsyncIterator[Storage]:
    """Open it, bring its tables and what is derived up to date, and close it at the end.

    Args:
        folder: Holds `books.db`, unless another database is given.
        database: A PostgreSQL: `postgresql://USER@HOST/NAME`. None: the file.

    Raises:
        BooksUnusable: It can't be opened, is damaged, is not ours, or is of a newer build.
    """
    async with open_database(address(folder, database)) as opened:
        books = StoredBooks(opened)
        if await opened.read(rebuilding.is_stale):
            await books.rebuild()
        yield Storage(
            books,
            StoredPartners(opened),
            StoredClosings(opened),
            StoredPost(opened),
            StoredFleet(opened),
            opened,
        )
