"""Where the books are: one SQLite file, or a PostgreSQL. The only place that tells the two apart.

Rules of this file:
- Everything runs in threads of its own: one that writes, two that read. A write is one
  transaction, and it has survived a power cut when `write` returns.
- SQLite: WAL, `synchronous=FULL`, and a writing transaction begins IMMEDIATE. That takes
  the write lock before anything is read, so a second process (`import` beside `serve`)
  waits instead of judging by what is about to change.
- PostgreSQL: writing is READ COMMITTED; who changes what belongs to an agent locks the
  agent's row first (`SELECT … FOR UPDATE`, which SQLite leaves out as it needs none). Locks
  are taken in the order of ids, so that two processes never wait for each other.
- A read is one state of the books, however many statements it has: `audit` beside `serve`
  must not see a record without the end of its chain. On PostgreSQL that is REPEATABLE READ.
- The tables are made and brought up to date at opening (`provider.storage.migrating`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import (
    URL,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Engine,
    TextClause,
    bindparam,
    create_engine,
    event,
    inspect,
    make_url,
    text,
    tuple_,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from provider.books import BooksUnusable

FILE: Final = "books.db"

#: How long a call waits for another process to finish its transaction, and for a server to answer.
_BUSY_S: Final = 15
#: Each is named after its revision: m0001_….py.
_STEPS: Final = Path(__file__).parent / "migrations" / "versions"

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """An open database. Made by `open_database`."""

    def __init__(self, engine: Engine, writer: Executor, readers: Executor) -> None:
        self._engine = engine
        self._reading = engine.execution_options(reading=True)
        if engine.dialect.name == "postgresql":  # SQLite's transactions see one state anyway
            self._reading = self._reading.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._writer = writer
        self._readers = readers

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        """Run some work in one transaction, alone; it is durable when this returns.

        Raises:
            BooksUnusable: Nothing was changed.
        """
        return await self.alone(partial(self.write_now, work, *args, **more))

    def alone(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> asyncio.Future[T]:
        """Run some work in the thread that writes."""
        return asyncio.get_running_loop().run_in_executor(self._writer, partial(work, *args, **more))

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs) -> T:
        """Run some work that changes nothing, beside what is being written.

        Raises:
            BooksUnusable: The books can't be read.
        """
        return await self.beside(partial(self.read_now, work, *args, **more))

    def beside(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> asyncio.Future[T]:
        """Run some work in a thread that reads."""
        return asyncio.get_running_loop().run_in_executor(self._readers, partial(work, *args, **more))

    def read_now(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs) -> T:
        """Do as `read` does, for whoever is in a thread that reads already."""
        with translated(), self._reading.begin() as connection:
            return work(connection, *args, **more)

    def write_now(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs) -> T:
        """Do as `write` does, for whoever is in the thread that writes already."""
        with translated(), self._engine.begin() as connection:
            return work(connection, *args, **more)


def among(
    connection: Connection, columns: Sequence[Column[Any]], rows: Sequence[tuple[Any, ...]]
) -> ColumnElement[bool] | TextClause:
    """Return the condition that these columns are one of these rows, such that an index is searched for each."""
    if connection.dialect.name == "sqlite":
        # For a bare list of rows SQLite (3.40) reads the whole table; for the same list as a query it searches.
        names = ", ".join(f"{column.table.name}.{column.name}" for column in columns)
        given: BindParameter[Any] = bindparam("among", rows, expanding=True)
        listed = f"({names}) IN (SELECT * FROM :among)"  # noqa: S608  # names of our own tables
        return text(listed).bindparams(given)
    return tuple_(*columns).in_(rows)


class translated:  # noqa: N801  # used as a function
    """Within it an error of the database is `BooksUnusable`, without the values of any row."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Translate."""
        if isinstance(error, SQLAlchemyError):
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise BooksUnusable(str(cause).strip().partition("\n")[0]) from error


def address(folder: Path, database: str | None) -> URL:
    """Return where the books are: what is given, else a file in the folder.

    Raises:
        BooksUnusable: It is no address of a database that the books can be in.
    """
    if not database:
        return URL.create("sqlite", database=str(folder / FILE))
    try:
        url = make_url(database)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        raise BooksUnusable("no database that the books can be in: write postgresql://USER@HOST/NAME")
    return url.set(drivername="postgresql+psycopg")


@asynccontextmanager
async def open_database(url: URL) -> AsyncIterator[Store]:
    """Open a database, make or bring its tables up to date, and close it at the end.

    Raises:
        BooksUnusable: It can't be opened, is damaged, is not ours, or is of a newer build.
    """
    with (
        ThreadPoolExecutor(1, thread_name_prefix="books") as writer,
        ThreadPoolExecutor(2, thread_name_prefix="books-read") as readers,
    ):
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(writer, _open, url)
        try:
            yield Store(engine, writer, readers)
        finally:
            await loop.run_in_executor(writer, engine.dispose)


def _open(url: URL) -> Engine:
    with translated():
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_S})
            event.listen(engine, "connect", _sqlite_connected)
            event.listen(engine, "begin", _sqlite_begun)
        else:
            engine = create_engine(
                url,
                hide_parameters=True,
                pool_pre_ping=True,
                isolation_level="READ COMMITTED",
                connect_args={"connect_timeout": _BUSY_S},
            )
            event.listen(engine, "connect", _postgres_connected)
        try:
            with engine.begin() as connection:
                _bring_up_to_date(connection)
        except BaseException:
            engine.dispose()
            raise
    return engine


def _sqlite_connected(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begun(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _postgres_connected(connection: Any, _record: Any) -> None:
    # A server that is set to answer before the disk has it would make a receipt a lie.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()


def _bring_up_to_date(connection: Connection) -> None:
    """Make or change the tables where they are not this build's."""
    steps = sorted(file.stem[1:5] for file in _STEPS.glob("m[0-9]*.py"))
    asked = "SELECT version_num FROM alembic_version"
    if inspect(connection).has_table("alembic_version") and connection.scalar(text(asked)) == steps[-1]:
        return
    from provider.storage import migrating  # noqa: PLC0415  # half a second that only the first opening needs

    migrating.migrate(connection)
