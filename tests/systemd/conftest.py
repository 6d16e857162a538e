"""The package as this checkout makes it, and machines with a real systemd to install it on.

Where this machine lacks what that needs, these tests are skipped with what is missing;
where CI=true they fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.asterisk.roots import cache
from tests.systemd import installed, roots
from tests.systemd.machine import Machine, booted

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real() -> None:
    """Whoever asks for it can boot a real systemd of Debian's."""
    if lacks := roots.missing(*(suite for suite in roots.SUITES if suite != roots.UBUNTU)):
        sentence = f"no real systemd: {'; '.join(lacks)}"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)


@pytest.fixture(scope="session")
def package(real: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, built as `make package` does."""
    into = tmp_path_factory.mktemp("package")
    command = [sys.executable, str(ROOT / "deploy/debian/build.py"), "--into", str(into)]
    command += ["--wheels", str(cache() / "wheels")]
    subprocess.run(command, check=True, timeout=600, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return next(into.glob("*.deb"))


@pytest.fixture
def machine(request: pytest.FixtureRequest, real: None) -> Iterator[Machine]:
    """A machine that nothing was installed on yet: a Debian 12, unless the test names another."""
    with booted(_root(getattr(request, "param", roots.SUITES[0]))) as found:
        yield found


@pytest.fixture(scope="module", params=roots.SUITES)
def agent(request: pytest.FixtureRequest, real: None, package: Path) -> Iterator[Machine]:
    """A machine on which the agent runs beside a simulated PBX, one of each suite. Tests leave it running."""
    with booted(_root(request.param)) as found:
        installed.install(found, package)
        installed.configure(found)
        found.run("systemctl", "start", "pbx-meter")
        yield found


def _root(suite: str) -> Path:
    if lacks := roots.missing(suite):
        pytest.skip(
            "; ".join(lacks)
        )  # an Ubuntu that nobody named a mirror of: `real` answers for the Debians
    return roots.root(suite)
