"""Closed periods and what has to leave, on both databases: once, in one transaction, and never in two hands."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from provider.closings import Closing, Letter
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


async def test_a_known_letter_is_left_as_it_is(storage):
    """The same id twice is one letter, also after it was delivered."""
    await storage.closings.close(closing(), [letter("a"), letter("a")])
    await storage.post.delivered("a", AT)

    await storage.closings.close(closing(2, b"later"), [letter("a"), letter("b")])

    assert [one.letter.id for one in await storage.post.claim(AT)] == ["b"]
