"""A real Asterisk for each version, the network around it, and a capture of its wire.

Where the machine lacks what that needs, these tests are skipped with what is
missing; where CI=true they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.asterisk import network, roots
from tests.asterisk.instance import Instance, running
from tests.asterisk.network import Network
from tests.asterisk.wire import Wire


@pytest.fixture(scope="session", params=list(roots.SUITES), ids=lambda generation: f"asterisk{generation}")
def asterisk_instance(request: pytest.FixtureRequest) -> Iterator[Instance]:
    """A booted Asterisk. Tests may restart it, but leave it up and without calls."""
    if lacks := roots.missing():
        sentence = f"no real Asterisk: {'; '.join(lacks)}"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with running(roots.root(request.param)) as instance:
        yield instance


@pytest.fixture(scope="session")
def asterisk_network(asterisk_instance: Instance) -> Iterator[Network]:
    """The carriers and phones around it."""
    with network.around(asterisk_instance) as around:
        yield around


@pytest.fixture
def wire(asterisk_instance: Instance) -> Iterator[Wire]:
    """A capture of its SIP during one test."""
    with Wire(asterisk_instance.addresses) as capture:
        yield capture
