"""A simulated 3CX, a connector that follows it, and what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from connectors.threecx.connector import ThreeCXConnector
from connectors.threecx.settings import Settings
from connectors.threecx.simulator import ADMIN, SimulatedThreeCX
from tests.contract.conftest import Clock, Heard


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def pbx(clock: Clock) -> AsyncIterator[SimulatedThreeCX]:
    async with SimulatedThreeCX(clock) as simulated:
        yield simulated
    assert simulated.dropped == []
    assert {one for one in simulated.received if not one.startswith("GET ")} <= {
        "POST /connect/token",
        "POST /webclient/api/Login/GetAccessToken",
    }


@pytest.fixture
def follower(clock: Clock) -> Callable[..., ThreeCXConnector]:
    def make(pbx: SimulatedThreeCX, client=ADMIN, **settings) -> ThreeCXConnector:
        given = {
            "url": pbx.url,
            "username": client.client_id,
            "secret": client.secret,
            "poll_s": 0.3,
            "answer_timeout_s": 5.0,
            **settings,
        }
        return ThreeCXConnector("cloud", Settings(**given), clock)

    return make
