"""Troubles as rows, and what the look at them does with a disk that fails or with nobody to tell."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from agent import app
from agent.health import free_bytes
from agent.store import readings, troubles
from agent.store.database import Store, StoreError
from agent.store.migrations import SCHEMA
from agent.troubles import Telling
from meter.model import Cause, Reading
from meter.periods import MINUTE_MS
from meter.troubles import Case, Kind
from tests.unit.agent.conftest import Awake, Configure, HandClock

OPERATOR = """
[smtp]
host = "127.0.0.1"
port = 9
sender = "meter@partner.example"

[operator]
email = ["noc@partner.example", "night@partner.example"]
"""


def fresh() -> Database:
    db = Database(sqlite3.connect(":memory:"), strict=True)
    SCHEMA.apply(db)
    return db


CASES = st.builds(
    Case,
    kind=st.sampled_from(Kind),
    subject=st.sampled_from(["", "pbx1", "acme/2026-11/final"]),
    since=st.integers(0, 1 << 50),
    noticed_at=st.integers(0, 1 << 50),
    told_at=st.none() | st.integers(0, 1 << 50),
    well_at=st.none() | st.integers(0, 1 << 50),
    over_at=st.none() | st.integers(0, 1 << 50),
    calm_ms=st.integers(0, 1 << 30),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CASES, unique_by=lambda c: (c.kind, c.subject)), st.lists(CASES, max_size=1))
def test_what_was_told_is_kept_and_nothing_else(cases: list[Case], before: list[Case]) -> None:
    """Each keeping replaces the one before; a case comes back with what was told of it, and its calm begins anew."""
    db = fresh()
    troubles.keep(db, before)
    troubles.keep(db, cases)
    told = {(c.kind, c.subject): c for c in cases if c.told_at is not None or c.over_at is not None}
    kept = troubles.kept(db)
    assert kept.keys() == told.keys()
    for key, case in kept.items():
        of = told[key]
        assert (case.since, case.told_at, case.over_at, case.calm_ms) == (
            of.since,
            of.told_at,
            of.over_at,
            of.calm_ms,
        )
        assert case.well_at is None


def test_readings_fail_since_the_last_good_one() -> None:
    """One good reading of any tenant ends it; a PBX that was never read fails since its first try."""
    db = fresh()
    assert readings.unread_since(db, "pbx1") is None
    readings.read(db, [Reading("pbx1", None, at, None, "") for at in (1_000, 2_000)])
    assert readings.unread_since(db, "pbx1") == 1_000
    readings.read(db, [Reading("pbx1", "acme", 3_000, 5, "pjsip")])
    assert readings.unread_since(db, "pbx1") is None
    readings.read(db, [Reading("pbx1", None, at, None, "") for at in (4_000, 5_000)])
    readings.read(db, [Reading("pbx2", None, 6_000, 5, "pjsip")])
    assert readings.unread_since(db, "pbx1") == 4_000


def test_the_room_on_a_disk(tmp_path: Path) -> None:
    """A disk that is there has room; of one that is not, nothing is known."""
    found = free_bytes(tmp_path)
    assert found is not None
    assert found > 0
    assert free_bytes(tmp_path / "gone") is None


async def test_a_disk_that_fails_tells_nothing_twice(
    clock: HandClock, configure: Configure, awake: Awake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written was not told; it is told once the disk works, to each address once."""
    async with awake(configure(rest=OPERATOR)) as parts:
        parts.troubles._synchronised = lambda: True
        parts.sampling.lost("pbx1", clock.now(), Cause.LINK_LOST)
        parts.links[0].up = True

        async def pass_minutes(count: int) -> None:
            for _ in range(count * 2):
                clock.advance(MINUTE_MS // 2)
                await parts.troubles.look()

        await pass_minutes(5)

        async def full(self: Store, work: object) -> None:
            raise StoreError("the disk is full", hint="df -h", damaged=False)

        with monkeypatch.context() as patched:
            patched.setattr(Store, "write", full)
            for _ in range(5):
                clock.advance(MINUTE_MS)
                with pytest.raises(StoreError):
                    await parts.troubles.look()
        await pass_minutes(30)
        rows = await parts.store.read(
            lambda db: db.execute("SELECT id, target FROM outbox ORDER BY row").fetchall()
        )
    assert [target for _, target in rows] == ["noc@partner.example", "night@partner.example"]
    assert all("@" not in id_ for id_, _ in rows)


async def test_without_an_operator_nothing_is_written(
    clock: HandClock, configure: Configure, awake: Awake
) -> None:
    """Nobody is told, so nothing counts as told: whoever is configured later hears of what stands then."""
    async with awake(configure()) as parts:
        parts.troubles._synchronised = lambda: False
        for _ in range(40):
            clock.advance(MINUTE_MS)
            await parts.troubles.look()
        assert parts.troubles.lines == [
            "the machine's clock is not synchronised. Type: timedatectl set-ntp true"
        ]
        assert "Type: timedatectl set-ntp true" in str((await parts.status.read(clock.now()))["trouble"])
        assert await parts.store.read(troubles.kept) == {}
    async with awake(configure(rest=OPERATOR)) as parts:
        parts.troubles._synchronised = lambda: False
        for _ in range(40):
            clock.advance(MINUTE_MS)
            await parts.troubles.look()
        assert (Kind.CLOCK, "") in await parts.store.read(troubles.kept)


def test_how_long_each_kind_settles() -> None:
    """A PBX by the configuration, a clock for as long as a start takes, the rest for a minute."""
    telling = Telling(None, 10_000)
    assert {kind: telling.settle_ms(kind) for kind in Kind} == dict.fromkeys(Kind, MINUTE_MS) | {
        Kind.UNSEEN: 10_000,
        Kind.CLOCK: 15 * MINUTE_MS,
    }


async def test_a_pbx_that_is_configured_no_longer_is_neither_mourned_nor_called_well(
    clock: HandClock, configure: Configure, awake: Awake
) -> None:
    """What was told of it is let go at the next start: no mail says that it is followed again."""

    async def pass_minutes(parts: app.Agent) -> None:
        parts.troubles._synchronised = lambda: True
        for _ in range(20):
            clock.advance(MINUTE_MS)
            await parts.troubles.look()

    async with awake(configure(pbxs=("pbx1", "pbx2"), rest=OPERATOR)) as parts:
        parts.sampling.lost("pbx1", clock.now(), Cause.LINK_LOST)
        parts.links[0].up = True
        await pass_minutes(parts)
        assert (Kind.UNSEEN, "pbx1") in await parts.store.read(troubles.kept)
    tenant = 'id = "acme"\nmatch = { trunks = ["PJSIP/pbx2-kpn"] }\ncapacity = 2'
    async with awake(configure(pbxs=("pbx2",), tenants=(tenant,), rest=OPERATOR)) as parts:
        await pass_minutes(parts)
        count = await parts.store.read(lambda db: db.execute("SELECT count(*) FROM outbox").fetchone()[0])
        assert count == 2  # to two addresses, once
