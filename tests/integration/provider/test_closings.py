"""Closed periods and what has to leave, on both databases: once, in one transaction, and never in two hands."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from delivery.courier import Delivered
from delivery.lane import AT_ONCE, AT_ONCE_TO_ONE
from provider.closings import Closing, Letter
from provider.shipping import letters_lane
from provider.storage.opening import open_storage

AT = 1_796_464_800_000


def closing(revision: int = 1, document: bytes = b"figures", period: str = "2026-11") -> Closing:
    return Closing(period, revision, AT, document, hashlib.sha256(document).hexdigest())


def letter(name: str) -> Letter:
    return Letter(name, "month", "bills@north.example", b"\x00mail")


@pytest.fixture
async def storage(tmp_path, database):
    async with open_storage(tmp_path, database) as opened:
        yield opened


async def test_a_revision_is_kept_once(storage):
    """A revision that is there already is not written again, nor changed, nor mailed again."""
    closings, post = storage.closings, storage.post
    assert await closings.close(closing(), [letter("a")])

    assert not await closings.close(closing(document=b"others"), [letter("b")])
    assert await closings.close(closing(2, b"later"))
    assert await closings.close(closing(period="2026-12"))

    assert await closings.closings("2026-11") == [closing(), closing(2, b"later")]
    assert len(await closings.closings()) == 3
    assert [one.id for one in await post.letters()] == ["a"]


async def test_approval_is_added_once(storage):
    """A draft is approved once, with what has to leave; what is none is not."""
    closings, post = storage.closings, storage.post
    await closings.close(closing())

    assert await closings.approve("2026-11", 1, at=AT + 5, by="somebody", letters=[letter("a"), letter("b")])
    assert not await closings.approve("2026-11", 1, at=AT + 6, by="another", letters=[letter("c")])
    assert not await closings.approve("2026-11", 2, at=AT, by="somebody")

    (kept,) = await closings.closings()
    assert (kept.approved_at, kept.approved_by, kept.document) == (AT + 5, "somebody", b"figures")
    assert sorted(one.id for one in await post.letters()) == ["a", "b"]


async def test_two_processes_close_once(storage, tmp_path, database):
    """Of two processes that close one period at once one does, and its letters are there once."""
    async with open_storage(tmp_path, database) as other:
        done = await asyncio.wait_for(
            asyncio.gather(
                storage.closings.close(closing(document=b"one"), [letter("same")]),
                other.closings.close(closing(document=b"two"), [letter("same")]),
            ),
            30,
        )

    assert sorted(done) == [False, True]
    assert len(await storage.closings.closings()) == len(await storage.post.letters()) == 1


async def test_a_letter_is_in_one_hand(storage, tmp_path, database):
    """Who claims a letter has it for a while: no other process gets it, and if he dies it is due again."""
    await storage.closings.close(closing(), [letter(f"l-{number:02}") for number in range(30)])

    async with open_storage(tmp_path, database) as other:
        hands = await asyncio.wait_for(
            asyncio.gather(*(one.post.claim(AT, most=10) for one in (storage, other, storage, other))), 30
        )
    names = [one.letter.id for hand in hands for one in hand]

    assert sorted(names) == [f"l-{number:02}" for number in range(30)]
    assert await storage.post.claim(AT + 119_999) == []
    again = await storage.post.claim(AT + 120_000, most=30)
    assert [one.attempts for one in again] == [0] * 30
    assert again[0].letter.body == b"\x00mail"
    assert again[0].made_at == AT


async def test_how_a_letter_ends(storage):
    """A letter is put off, parked and tried again, or delivered: then its body and address are let go."""
    post = storage.post
    await storage.closings.close(closing(), [letter("a"), letter("b")])
    await post.claim(AT)
    await post.again("a", AT + 500_000, "greylisted")
    await post.park("b", AT + 1, "no such mailbox")

    assert await post.claim(AT + 499_999) == []
    assert [(one.id, one.state, one.attempts, one.said) for one in await post.letters()] == [
        ("a", "waiting", 1, "greylisted"),
        ("b", "parked", 1, "no such mailbox"),
    ]

    assert await post.retry(AT + 2) == 1
    assert [(one.letter.id, one.attempts) for one in await post.claim(AT + 2)] == [("b", 0)]
    await post.delivered("b", AT + 3)
    assert [one.id for one in await post.letters()] == ["a"]
    assert [one.id for one in await post.letters(settled_since=AT)] == ["a", "b"]
    assert [one.letter.id for one in await post.claim(AT + 10_000_000)] == ["a"]


async def test_what_is_settled_stays_settled(storage):
    """A process whose claim ran out while another one delivered can neither park nor put off what has left."""
    post = storage.post
    await storage.closings.close(closing(), [letter("a"), letter("b"), letter("c")])
    await post.claim(AT)
    await post.delivered("a", AT + 1)
    await post.delivered("b", AT + 1)
    await post.park("a", AT + 2, "no such mailbox")
    await post.again("b", AT + 2, "greylisted")
    await post.park("c", AT + 2, "no such mailbox")
    await post.again("c", AT + 3, "greylisted")
    await post.delivered("c", AT + 4)

    assert await post.letters() == []
    settled = await post.letters(settled_since=AT)
    assert [(one.id, one.state, one.attempts, one.said) for one in settled] == [
        ("a", "delivered", 1, None),
        ("b", "delivered", 1, None),
        ("c", "delivered", 2, None),
    ]
    assert await post.retry(AT + 5) == 0
    assert await post.claim(AT + 10_000_000) == []


async def test_what_was_let_go_can_not_leave_again(storage):
    """Books in which a delivered letter was parked, as builds before this one could, hinder no other letter."""
    await storage.closings.close(closing(), [letter("a"), letter("b"), letter("c")])
    for name, state in (("a", "parked"), ("b", "waiting")):
        spoilt = f"UPDATE mails SET state = '{state}', body = NULL WHERE id = '{name}'"
        await storage.database.write(lambda db, spoilt=spoilt: db.exec_driver_sql(spoilt))

    assert await storage.post.retry(AT) == 0
    assert [one.letter.id for one in await storage.post.claim(AT)] == ["c"]


async def test_one_address_takes_no_more_than_its_places(storage):
    """Of the letters to one address no more are claimed than may be in hand, those that are counted; others take the rest."""
    to = {"a": "dead", "b": "dead", "c": "dead", "d": "slow", "e": "slow", "f": "slow", "g": "well"}
    letters = [Letter(name, "month", f"{who}@x.example", b"mail") for name, who in to.items()]
    await storage.closings.close(closing(), letters)

    held = ["dead@x.example", "dead@x.example", "slow@x.example"]
    first = await storage.post.claim(AT, most=3, to_one=2, held=held)
    rest = await storage.post.claim(AT, most=9, to_one=2)

    assert [one.letter.id for one in first] == ["d", "g"]
    assert [one.letter.id for one in rest] == ["a", "b", "e", "f"]


async def test_many_letters_leave_without_a_pause(storage):
    """Of very many letters none waits for a lease to end while one is slow: no more are claimed than can leave at once."""
    letters = [Letter(f"l-{n:03}", "month", f"p{n % 150}@x.example", b"mail") for n in range(200)]
    await storage.closings.close(closing(), letters)
    courier = Couriers(200, last="l-000")

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        lane = group.create_task(letters_lane(storage.post, courier, lambda: AT).run())
        await courier.all.wait()
        while await storage.post.letters():
            pass  # the timeout ends it
        lane.cancel()

    assert sorted(courier.carried) == [one.id for one in letters]
    assert courier.most <= AT_ONCE


async def test_a_dead_address_costs_its_own_places(storage):
    """Letters to an address that never answers leave the places of all others free, and wait unclaimed themselves."""
    dead = [Letter(f"a-{n:02}", "month", "dead@x.example", b"mail") for n in range(20)]
    well = [Letter(f"b-{n:02}", "month", f"p{n}@x.example", b"mail") for n in range(30)]
    await storage.closings.close(closing(), [*dead, *well])
    courier = Couriers(30, dead="dead@x.example")

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        lane = group.create_task(letters_lane(storage.post, courier, lambda: AT).run())
        await courier.all.wait()
        while len(await storage.post.letters()) > len(dead):
            pass  # the timeout ends it
        left = await storage.post.letters()
        lane.cancel()

    assert sorted(courier.carried) == [one.id for one in well]
    assert len([one for one in left if one.due_at == AT]) == len(dead) - AT_ONCE_TO_ONE


class Couriers:
    """Carries at once, the last one when all others are; who is dead is never answered for. `all`: so many were carried."""

    def __init__(self, count: int, dead: str = "", last: str = "") -> None:
        self.carried, self.all, self.most = [], asyncio.Event(), 0
        self._count, self._dead, self._away = count, dead, 0
        self._last, self._others = last, asyncio.Event()

    async def carry(self, parcel):
        self._away += 1
        self.most = max(self.most, self._away)
        if parcel.target == self._dead:
            await asyncio.Event().wait()
        if parcel.id == self._last:
            await self._others.wait()
        self._away -= 1
        self.carried.append(parcel.id)
        if len(self.carried) == self._count - 1:
            self._others.set()
        if len(self.carried) == self._count:
            self.all.set()
        return Delivered()


async def test_a_known_letter_is_left_as_it_is(storage):
    """The same id twice is one letter, also after it was delivered."""
    await storage.closings.close(closing(), [letter("a"), letter("a")])
    await storage.post.delivered("a", AT)

    await storage.closings.close(closing(2, b"later"), [letter("a"), letter("b")])

    assert [one.letter.id for one in await storage.post.claim(AT)] == ["b"]
