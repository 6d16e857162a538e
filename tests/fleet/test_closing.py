"""Closing over real books: who belongs to a month, whose zone, and what is odd about them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from delivery.reporting.usage import Bounds, State
from provider.month.closing import NotClosable
from provider.partners import Partner, Placement, problems
from provider.storage.opening import Storage, open_storage
from tests.fleet.agents import Agent, Tenant
from tests.fleet.test_month import close_it, enrol, take


@pytest.fixture
async def storage(tmp_path: Path, database: str | None) -> AsyncIterator[Storage]:
    async with open_storage(tmp_path, database) as opened:
        yield opened


async def test_nobody_belongs_to_it(storage) -> None:
    """A month without a tenant is not closed: an empty report would look complete."""
    with pytest.raises(NotClosable, match="no tenant belongs"):
        await close_it(storage)


async def test_an_agent_out_of_service_is_not_missed(storage) -> None:
    """An agent that never said a word is missed; one whose keys were all withdrawn before is not."""
    silent, gone = Agent("silent-01", [Tenant("acme")]), Agent("gone-01", [Tenant("acme")])
    await enrol(storage, [silent, gone])
    await storage.books.withdraw("gone-01")

    (one,) = (await close_it(storage)).reports.whole.tenants

    assert (one.agent, one.state, one.partner) == ("silent-01", State.MISSING, None)


async def test_one_customer_under_two_partners(storage) -> None:
    """A customer with tenants under two partners is one heap for whoever is above both, and none for each of them."""
    agents = [Agent("a-01", [Tenant("one")]), Agent("b-01", [Tenant("two")])]
    await enrol(storage, agents)
    partners = [
        Partner("top", "Top"),
        Partner("left", "Left", parent="top"),
        Partner("right", "Right", parent="top"),
    ]
    places = [
        Placement("a-01", "one", partner="left", customer="77"),
        Placement("b-01", "two", partner="right", customer="77"),
    ]
    assert await storage.partners.change(partners, places, problems) == ()
    for agent in agents:
        await take(storage, *agent.month(interims=False))

    made = (await close_it(storage)).reports

    for partner in (None, "top"):
        (customer,) = made.of(partner).customers
        assert customer.of == (("a-01", "one"), ("b-01", "two"))
        assert customer.heap == made.whole.heap
    assert made.of("left").customers == made.of("right").customers == ()
    assert [id_ for id_, _, _ in made.of("top").partners] == ["top", "left", "right"]


async def test_an_odd_zone_stops_nobody(storage) -> None:
    """An agent in a zone that is not known here is reported in UTC, and everybody else as ever."""
    odd = Agent("odd-01", [Tenant("acme", timezone="UTC")])
    odd.accounts["acme"].tenant = Tenant("acme", timezone="Mars/Olympus")
    await enrol(storage, [odd])
    await take(storage, *odd.month(interims=False))

    (one,) = (await close_it(storage)).reports.whole.tenants

    assert (one.timezone, one.state) == ("UTC", State.FINAL)


async def test_the_bounds_of_two(storage) -> None:
    """Two tenants in one heap have bounds: the higher of both at least, what their minutes allow at most."""
    agents = [
        Agent("a-01", [Tenant("one", height=3)], seed=1),
        Agent("b-01", [Tenant("two", height=3)], seed=2),
    ]
    await enrol(storage, agents)
    for agent in agents:
        await take(storage, *agent.month(interims=False))

    whole = (await close_it(storage)).reports.whole

    peaks = [one.peak.level for one in whole.tenants]
    assert whole.heap.peak.at_least == max(peaks)
    assert max(peaks) <= whole.heap.peak.at_most <= sum(peaks)
    assert isinstance(whole.heap.peak, Bounds)
