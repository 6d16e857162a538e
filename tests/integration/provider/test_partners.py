"""The tree and what was agreed, on both databases: dated, all or nothing, one change at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from delivery.reporting.usage import Brand
from provider.partners import Partner, Placement, problems
from provider.storage.opening import open_storage

NORTH = Partner(
    "north",
    "North B.V.",
    "2026-01-01",
    None,
    "nl",
    ("bills@north.example", "boss@north.example"),
    Brand(
        "North",
        "#aa0011",
        "no-reply@north.example",
        "desk@north.example",
        "North\nKvK",
        ("image/png", b"\x89PNG\x00"),
    ),
)
SOUTH = Partner("south", "South", parent="north")
ACME = Placement("ams-01", "acme", "2026-11-01", "south", "1007", 16, (8, 16, 24), "calls")


@pytest.fixture
async def storage(tmp_path, database):
    async with open_storage(tmp_path, database) as opened:
        yield opened


@pytest.fixture
def partners(storage):
    return storage.partners


async def test_what_is_written_is_read(partners):
    """Every field of a partner and of a tenant's place comes back as it was given."""
    early = replace(NORTH, since="2026-01-01")
    assert (
        await partners.change(
            [early, replace(SOUTH, since="2026-02-01")],
            [ACME, replace(ACME, tenant="t", ended=True)],
            problems,
        )
        == ()
    )

    assert await partners.partners() == [early, replace(SOUTH, since="2026-02-01")]
    assert await partners.placements() == [ACME, replace(ACME, tenant="t", ended=True)]


async def test_changes_are_added_and_kept(partners):
    """A change adds a row from its day on; the same day again takes the place of that row alone."""
    await partners.change([NORTH], [], problems)
    await partners.change([replace(NORTH, name="Nord", since="2026-06-01")], [], problems)
    await partners.change([replace(NORTH, name="Norden", since="2026-06-01")], [], problems)

    assert [(one.since, one.name) for one in await partners.partners()] == [
        ("2026-01-01", "North B.V."),
        ("2026-06-01", "Norden"),
    ]


async def test_nothing_is_written_if_anything_is_wrong(partners):
    """One change that does not fit keeps all of them out, and every problem is said."""
    wrong = await partners.change([NORTH, SOUTH], [ACME, replace(ACME, tenant="x", partner="west")], problems)

    assert wrong == [
        "partner south: there is no partner north on any day",
        "tenant x of ams-01: there is no partner west on 2026-11-01",
    ]
    assert await partners.partners() == await partners.placements() == []


async def test_two_changes_make_no_circle_together(partners, tmp_path, database):
    """Two operators who each make a right change that would be a circle together: one of them is told."""
    await partners.change([Partner("a", "A"), Partner("b", "B")], [], problems)

    async with open_storage(tmp_path, database) as other:
        answers = await asyncio.wait_for(
            asyncio.gather(
                partners.change([Partner("a", "A", "2026-02-01", "b")], [], problems),
                other.partners.change([Partner("b", "B", "2026-02-01", "a")], [], problems),
            ),
            30,
        )

    assert sorted(map(len, answers)) == [0, 2]
    assert problems(await partners.partners(), []) == []
