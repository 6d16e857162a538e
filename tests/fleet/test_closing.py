"""Closing over real books: who belongs to a month, whose zone, and what is odd about them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from delivery.reporting.usage import Bounds, State
from meter import signature
from meter.canonical import canonical_bytes
from provider.books import Invited
from provider.closings import Closing, Revision
from provider.month import reports
from provider.month.closing import NotClosable, close, opened, revised
from provider.month.mailing import Addressees, again, approve
from provider.month.recurring import outdated
from provider.month.sources import span
from provider.partners import Partner, Placement, problems
from provider.storage.opening import Storage, open_storage
from tests.fleet.agents import PERIOD, Agent, Tenant
from tests.fleet.test_month import AMSTERDAM, LATER, PROVIDER, close_it, enrol, take

TO = Addressees(("billing@provider.example",), "usage@provider.example", "2025-11-28")
#: A change on a day of the month.
FIFTH = f"{PERIOD}-05"


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


async def agree(storage: Storage, *changes: Partner | Placement) -> None:
    partners = [one for one in changes if isinstance(one, Partner)]
    places = [one for one in changes if isinstance(one, Placement)]
    assert await storage.partners.change(partners, places, problems) == ()


async def one_month(storage: Storage, *changes: Partner | Placement) -> Agent:
    """Let one agent with one tenant live its month."""
    agent = Agent("a-01", [Tenant("one")])
    await enrol(storage, [agent])
    await agree(storage, *changes)
    await take(storage, *agent.month(interims=False))
    return agent


async def lacking(storage: Storage) -> set[str]:
    return {one.tenant for one in (await close_it(storage)).reports.whole.missing}


async def letters(storage: Storage) -> list[str]:
    """Return the letters that wait, without the hash of their address."""
    return sorted(row.id.rpartition("/")[0] for row in await storage.post.letters())


async def test_who_came_later_is_not_missed(storage) -> None:
    """A tenant that was placed since ever, or invited after the month, belongs to no month before its first word."""
    agent = await one_month(storage)
    await agree(storage, Placement("new-01", "fresh"), Placement("a-01", "newco"))
    await storage.books.invite("f" * 64, Invited("a-01", ("one", "newco"), LATER + 1))
    fresh = signature.new_key().public
    assert await storage.books.enrol("f" * 64, fresh, LATER, lambda *_: "welcome") == "welcome"

    assert await lacking(storage) == set()
    assert [row.tenants for row in await storage.books.agents()] == [("one", "newco")]
    assert agent.id == "a-01"


async def test_who_has_to_report_is_missed(storage) -> None:
    """A place that was given from a day on is a word: nothing came, so it is missing; after its end it is not."""
    await one_month(storage)
    await agree(storage, Placement("b-01", "dated", since=FIFTH), Placement("a-01", "left", since=FIFTH))

    assert await lacking(storage) == {"dated", "left"}
    await agree(storage, Placement("a-01", "left", since=f"{PERIOD}-20", ended=True))
    assert await lacking(storage) == {"dated"}


async def test_what_came_of_one_that_has_ended(storage) -> None:
    """A tenant whose place ended in the month is reported with what came, and missed by nobody in the next."""
    await one_month(storage, Partner("north", "North"), Placement("a-01", "one", partner="north"))
    await agree(storage, Placement("a-01", "one", since=FIFTH, partner="north", ended=True))
    await storage.books.withdraw("a-01")

    whole = (await close_it(storage)).reports.whole

    assert [(one.tenant, one.state, one.partner) for one in whole.tenants] == [("one", State.FINAL, "north")]
    with pytest.raises(NotClosable, match="no tenant belongs"):
        await close(storage, span("2025-11", AMSTERDAM), PROVIDER, LATER + 10**9)


async def test_a_record_of_two_thousand_years(storage) -> None:
    """A final whose bounds can't be the month's counts as not come; everybody else's month is as ever."""
    odd, good = Agent("odd-01", [Tenant("odd")]), Agent("a-01", [Tenant("one")])
    await enrol(storage, [odd, good])
    *before, last = odd.month(interims=False)
    content = json.loads(signature.unverified_payload(last, signature.TYP_RECORD))
    content["data"]["period"]["start"] = "0001-01-02T00:00:00.000Z"
    last = signature.sign(canonical_bytes(content), odd.key, signature.TYP_RECORD)
    await take(storage, *before, last, *good.month(interims=False))

    closed = await close_it(storage)

    whole = closed.reports.whole
    assert {(one.tenant, one.state) for one in whole.tenants} == {
        ("odd", State.MISSING),
        ("one", State.FINAL),
    }
    assert all(one.end - one.start < 33 * 86_400_000 for one in whole.tenants)
    assert not await outdated(storage, span(PERIOD, AMSTERDAM), closed.reports)


async def test_closed_in_another_zone(storage) -> None:
    """A month that was closed in one zone is not closed again in another, where all its bounds would move."""
    await one_month(storage)
    await close_it(storage)

    with pytest.raises(NotClosable, match="was closed in Europe/Amsterdam") as refusal:
        await close(storage, span(PERIOD, ZoneInfo("UTC")), PROVIDER, LATER)
    assert 'timezone = "Europe/Amsterdam"' in refusal.value.hint
    assert len(await storage.closings.revisions(PERIOD)) == 1


@pytest.mark.parametrize(
    "change",
    [
        Placement("a-01", "one", partner="north", capacity=9, basis="calls"),
        Placement("a-01", "one", partner="north", capacity=9, packages=(4, 8)),
        Placement("a-01", "one", partner="north"),
        Placement("a-01", "one", partner="north", capacity=9, customer="7"),
        Placement("a-01", "one", partner="top", capacity=9),
        Placement("b-01", "two", partner="north"),
        Partner("north", "North", parent="top"),
    ],
    ids=["basis", "packages", "capacity", "customer", "partner", "another", "tree"],
)
async def test_a_change_is_noticed_long_after(storage, change) -> None:
    """A dated change of a contract, a place or the tree is noticed in any month that was closed, without closing it."""
    place = Placement("a-01", "one", partner="north", capacity=9)
    await one_month(storage, Partner("top", "Top"), Partner("north", "North"), place)
    closed, of = await close_it(storage), span(PERIOD, AMSTERDAM)
    assert not await outdated(storage, of, closed.reports)

    await agree(storage, replace(change, since=FIFTH))

    assert await outdated(storage, of, closed.reports)
    assert (await close_it(storage)).new
    assert not await outdated(storage, of, (await close_it(storage)).reports)


@dataclass
class Meanwhile:
    """Closings in which somebody approves the newest revision just after it was looked which there are."""

    storage: Storage
    done: bool = False

    def __getattr__(self, name: str):
        return getattr(self.storage.closings, name)

    async def revisions(self, period: str) -> Sequence[Revision]:
        found = await self.storage.closings.revisions(period)
        if not self.done:
            self.done = True
            await approve(self.storage, period, TO, by="somebody", now=LATER)
        return found


async def twice_closed(storage: Storage) -> Placement:
    """Approve revision 1, make revision 2 by another capacity, and take that back."""
    place = Placement("a-01", "one", partner="north", capacity=8)
    await one_month(storage, Partner("north", "North", email=("n@north.example",)), place)
    await close_it(storage)
    await approve(storage, PERIOD, TO, by="somebody", now=LATER)
    await agree(storage, replace(place, capacity=99))
    assert (await close_it(storage)).new
    await agree(storage, place)
    return place


async def test_approved_while_the_next_is_made(storage) -> None:
    """A revision that somebody approves while the next is put together is what the next is compared with."""
    await twice_closed(storage)
    meanwhile = replace(storage, closings=Meanwhile(storage))

    closed = await close(meanwhile, span(PERIOD, AMSTERDAM), PROVIDER, LATER)

    assert (closed.reports.whole.revision, closed.reports.whole.compared) == (3, 2)
    assert {one.what for one in closed.reports.of("north").differences} >= {"capacity"}


async def test_a_letter_follows_the_wrong_one(storage) -> None:
    """Whoever got a wrong revision gets the next, though that was compared with one that says the same."""
    await twice_closed(storage)
    first, _ = await storage.closings.closings(PERIOD)
    await approve(storage, PERIOD, TO, by="somebody", now=LATER)
    made = revised(await opened(first), 3, await opened(first))
    await storage.closings.close(Closing(PERIOD, 3, LATER, reports.written(made), "0" * 64))

    done = await approve(storage, PERIOD, TO, by="somebody", now=LATER)

    assert (done.revision, done.letters) == (3, 2)
    assert f"month/{PERIOD}/3/north" in await letters(storage)


async def test_only_the_newest_is_approved(storage) -> None:
    """A draft that was replaced is not released any more, not even by whoever read that it was the newest."""
    await twice_closed(storage)
    assert (await close_it(storage)).closing.revision == 3

    assert not await storage.closings.approve(PERIOD, 2, at=LATER, by="somebody")


async def test_a_partner_without_an_address(storage) -> None:
    """Who has no address is named; once he has one his letter is written, and nobody else's."""
    await one_month(storage, Partner("north", "North"), Placement("a-01", "one", partner="north"))
    await close_it(storage)
    with pytest.raises(NotClosable, match="was not approved"):
        await again(storage, storage.post, PERIOD, TO, now=LATER)
    done = await approve(storage, PERIOD, TO, by="somebody", now=LATER)
    assert (done.letters, done.unaddressed) == (1, ("north",))

    await agree(storage, Partner("north", "North", email=("n@north.example",)))
    done = await again(storage, storage.post, PERIOD, TO, now=LATER, partner="north")

    assert (done.letters, done.unaddressed) == (1, ())
    assert len(await storage.post.letters()) == 2
    with pytest.raises(NotClosable, match="has no tenants"):
        await again(storage, storage.post, PERIOD, TO, now=LATER, partner="south")
