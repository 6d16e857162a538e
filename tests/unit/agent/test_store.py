"""The state directory's file: real SQLite, its transactions, its rows, its edges."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from agent.store import agreements, ledger, notices, outbox, readings, records, retention
from agent.store.database import NAME, Store, StoreError
from agent.store.ledger import Heard
from agent.store.migrations import SCHEMA
from agent.store.records import Sealed
from meter.model import Cause, Direction, Gap, Known, Leg, Level, Merge, Reading, Terms
from meter.periods import Period
from meter.watched import Changes, Reconciled

SEEN = Leg(1, "pbx1", "1795286668.10", "PJSIP/kpn", "PJSIP/kpn", Direction.IN, "1795286668.10", "acme", 1_000)


def fresh() -> Database:
    db = Database(sqlite3.connect(":memory:", check_same_thread=False), strict=True)
    SCHEMA.apply(db)
    return db


def kept(*facts: Leg | Gap | Merge, heard: tuple[Heard, ...] = ()) -> Database:
    db = fresh()
    record(db, *facts, heard=heard)
    return db


def record(db: Database, *facts: Leg | Gap | Merge, heard: tuple[Heard, ...] = ()) -> None:
    changes = Changes(
        legs={f.row: f for f in facts if isinstance(f, Leg)},
        gaps={f.row: f for f in facts if isinstance(f, Gap)},
        merges=[f for f in facts if isinstance(f, Merge)],
    )
    ledger.record(db, changes, heard)


# --- the file --------------------------------------------------------------------------------


def tables(db: Database) -> dict[str, list[tuple[str, str]]]:
    names = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {
        name: [(row[1], row[2]) for row in db.execute(f"PRAGMA table_info({name})")]
        for name in names
        if not name.startswith(("sqlite_", "_"))
    }


def test_the_schema_from_nothing() -> None:
    """From nothing the migrations make these tables, every one STRICT; applied again they change nothing."""
    db = fresh()
    before = tables(db)
    SCHEMA.apply(db)
    assert tables(db) == before

    assert {
        "chains", "clock_steps", "extensions", "facts", "gaps", "legs", "merges", "notices", "outbox", "pbxs",
        "periods", "readings", "reconciled", "records", "terms", "watches", "words",
    } <= tables(db).keys()  # fmt: skip
    assert tables(db)["legs"] == [
        ("row", "INTEGER"), ("pbx", "INTEGER"), ("leg", "TEXT"), ("endpoint", "TEXT"), ("trunk", "INTEGER"),
        ("direction", "INTEGER"), ("call", "TEXT"), ("tenant", "INTEGER"), ("started", "INTEGER"),
        ("start_known", "INTEGER"), ("answered", "INTEGER"), ("answer_known", "INTEGER"), ("ended", "INTEGER"),
        ("end_known", "INTEGER"),
    ]  # fmt: skip
    for name in tables(db):
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", [name]).fetchone()
        assert "STRICT" in sql.rpartition(")")[2], name


async def test_the_file_is_the_agents_alone(tmp_path: Path) -> None:
    """The database is readable by its owner only, and written through to the disk before a commit counts."""
    store = Store(tmp_path)
    await store.open()
    try:
        assert (tmp_path / NAME).stat().st_mode & 0o077 == 0
        mode, full = await store.read(
            lambda db: (
                db.execute("PRAGMA journal_mode").fetchone()[0],
                db.execute("PRAGMA synchronous").fetchone()[0],
            )
        )
        assert (mode, full) == ("wal", 2)
    finally:
        await store.close()


async def test_a_failing_write_leaves_nothing(store: Store) -> None:
    """Work that raises in the middle is rolled back whole, its own error comes out, and the next work finds no trace."""

    def half(db: Database) -> None:
        record(db, SEEN)
        agreements.open_period(db, "acme", Period("2026-11", 0, 1))
        raise LookupError("in the middle")

    with pytest.raises(LookupError):
        await store.write(half)

    assert await store.read(lambda db: ledger.legs(db, "acme", 0, 1 << 60)) == []
    assert await store.read(lambda db: agreements.periods(db, "acme")) == []
    assert await store.read(lambda db: db.execute("SELECT count(*) FROM words").fetchone()[0]) == 0
    await store.write(lambda db: record(db, SEEN))
    assert await store.read(lambda db: ledger.legs(db, "acme", 0, 1 << 60)) == [SEEN]


async def test_a_reader_sees_one_state(store: Store) -> None:
    """What is written while somebody reads is not seen by him, and does not wait for him."""
    await store.write(lambda db: record(db, SEEN))
    began, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(db: Database) -> tuple[int, int]:
        first = len(ledger.legs(db, "acme", 0, 1 << 60))
        loop.call_soon_threadsafe(began.set)
        go_on.wait(10)
        return first, len(ledger.legs(db, "acme", 0, 1 << 60))

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        reading = group.create_task(store.read(slow))
        await began.wait()
        await store.write(lambda db: record(db, replace(SEEN, row=2, leg="x")))
        go_on.set()

    assert await reading == (1, 1)
    assert len(await store.read(lambda db: ledger.legs(db, "acme", 0, 1 << 60))) == 2


@pytest.mark.parametrize(
    "content", [b"this is no database, but long enough to be read as one" * 30, b"\0" * 4096]
)
async def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    """A damaged file is refused at the start, with the next thing to type, and left as it is."""
    (tmp_path / NAME).write_bytes(content)

    store = Store(tmp_path)
    with pytest.raises(StoreError) as refused:
        await store.open()

    assert refused.value.damaged
    assert "pbx-meter chain new" in refused.value.hint
    assert (tmp_path / NAME).read_bytes() == content


async def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    """A state directory that is not there is said with a hint, not with a traceback."""
    with pytest.raises(StoreError) as refused:
        await Store(tmp_path / "missing").open()

    assert not refused.value.damaged
    assert str(tmp_path) in refused.value.hint


# --- the ledger ------------------------------------------------------------------------------

INSTANTS = st.integers(0, 2**53)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
LEGS = st.builds(
    Leg,
    row=st.just(1),
    pbx=NAMES,
    leg=NAMES,
    endpoint=NAMES,
    trunk=st.none() | NAMES,
    direction=st.sampled_from(Direction),
    call=NAMES,
    tenant=st.none() | NAMES,
    start=st.integers(0, 1000),
    start_known=st.sampled_from(Known),
    answer=st.none() | INSTANTS,
    answer_known=st.none() | st.sampled_from(Known),
    end=st.none() | st.integers(1000, 2**53),
    end_known=st.none() | st.sampled_from(Known),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(LEGS, max_size=8))
def test_a_leg_comes_back_as_it_was(drawn: list[Leg]) -> None:
    """Whatever a leg says, the same leg comes back; written again, changed, the last word holds."""
    legs = [replace(leg, row=row) for row, leg in enumerate(drawn, 1)]
    db = fresh()
    for leg in legs:
        record(db, replace(leg, end=None, end_known=None, answer=None, answer_known=None))
    record(db, *legs)
    record(db, *legs)

    back = [found for tenant in {leg.tenant for leg in legs} for found in ledger.legs(db, tenant, 0, 1 << 60)]

    assert sorted(back, key=lambda leg: leg.row) == legs


def test_legs_at_the_edges() -> None:
    """A leg touches a stretch if it ended at or after its start and began before its end; others' legs are not among them."""
    lives = [(0, 99), (0, 100), (0, None), (199, None), (200, None), (150, 150), (50, 300)]
    db = kept(
        *(
            replace(SEEN, row=n, leg=str(n), start=a, end=b, end_known=b and Known.SEEN)
            for n, (a, b) in enumerate(lives, 1)
        ),
        replace(SEEN, row=98, leg="other", tenant="globex", start=150),
        replace(SEEN, row=99, leg="nobody's", tenant=None, start=150),
    )

    assert [leg.row for leg in ledger.legs(db, "acme", 100, 200)] == [2, 3, 7, 6, 4]
    assert [leg.row for leg in ledger.legs(db, None, 100, 200)] == [99]
    assert ledger.legs(db, "never heard of", 100, 200) == []


def test_gaps_at_the_edges() -> None:
    """A gap touches a stretch likewise; one that lasts touches everything after its start."""
    bounds = [(0, 99), (0, 100), (199, 200), (200, 201), (50, None)]
    db = kept(*(Gap(n, "pbx1", a, b, Cause.LINK_LOST) for n, (a, b) in enumerate(bounds, 1)))

    assert [gap.row for gap in ledger.gaps(db, ["pbx1"], 100, 200)["pbx1"]] == [2, 5, 3]
    assert ledger.gaps(db, ["pbx2"], 100, 200) == {"pbx2": []}


def test_merges_keep_their_order() -> None:
    """Merges of one instant come back in the order in which they were seen, of the PBXs asked for, half-open."""
    merges = [Merge("pbx1", 100, "a", "b"), Merge("pbx2", 150, "a", "b"), Merge("pbx1", 199, "c", "b"),
              Merge("pbx1", 199, "b", "d"), Merge("pbx1", 200, "d", "e")]  # fmt: skip
    db = kept(*merges)

    assert ledger.merges(db, ["pbx1"], 100, 200) == [merges[0], merges[2], merges[3]]
    assert ledger.merges(db, ["pbx1", "pbx2"], 101, 200) == merges[1:4]


def test_what_a_pbx_was_left_with() -> None:
    """The last commit's legs, calls' names, running gap and boot come back; of other PBXs nothing does."""
    gap = Gap(1, "pbx1", 40, None, Cause.LINK_LOST)
    up = replace(SEEN, row=2, leg="up", start=30)
    db = kept(
        replace(SEEN, row=1, end=20, end_known=Known.SEEN), up, replace(SEEN, row=3, pbx="pbx2"), gap,
        Gap(2, "pbx1", 1, 2, Cause.EVENTS_LOST), Merge("pbx1", 29, "old", "older"), Merge("pbx1", 30, "up", "b"),
        Merge("pbx2", 30, "up", "c"), heard=(Heard("pbx1", 39, "run 7"), Heard("pbx2", 44, None)),
    )  # fmt: skip

    left = ledger.left(db, "pbx1")
    assert (left.heard_at, left.booted, left.legs, left.names, left.gap) == (
        39,
        "run 7",
        (up,),
        (("up", "b"),),
        gap,
    )
    assert ledger.left(db, "pbx3") is None
    assert ledger.next_rows(db) == (4, 3)
    assert ledger.last_heard(db) == 44


def test_a_pbx_is_never_heard_earlier() -> None:
    """What a later commit says of a PBX holds, and being heard never goes back."""
    db = kept(heard=(Heard("pbx1", 100, "run 1"),))
    record(db, heard=(Heard("pbx1", 90, "run 2"),))

    assert (ledger.left(db, "pbx1").heard_at, ledger.left(db, "pbx1").booted) == (100, "run 2")


def test_verdicts_of_snapshots_add_up() -> None:
    """Snapshots, missed starts and missed hangups of a stretch are added over its PBXs."""
    db = fresh()
    minute = 60_000
    for at in range(0, 20 * minute, minute):
        for pbx in ("pbx1", "pbx2"):
            ledger.record(db, Changes(reconciled=[Reconciled(pbx, at, 1, 2)]), ())

    assert ledger.reconciled(db, ["pbx1"], 5 * minute, 10 * minute) == (5, 5, 10)
    assert ledger.reconciled(db, ["pbx1", "pbx2"], 0, 20 * minute) == (40, 40, 80)
    assert ledger.reconciled(db, ["pbx3"], 0, 20 * minute) == (0, 0, 0)


def test_what_is_let_go_after_thirteen_months() -> None:
    """Facts that ended before the limit go; what lasts, or reaches over it, stays."""
    db = kept(
        replace(SEEN, row=1, end=2_000, end_known=Known.SEEN), replace(SEEN, row=2, leg="b", end=5_000, end_known=Known.SEEN),
        replace(SEEN, row=3, leg="c"), Gap(1, "pbx1", 0, 4_999, Cause.LINK_LOST), Gap(2, "pbx1", 0, None, Cause.LINK_LOST),
    )  # fmt: skip
    assert not retention.let_go(db, facts_before=5_000, interims_before=0)

    assert [leg.row for leg in ledger.legs(db, "acme", 0, 1 << 60)] == [2, 3]
    assert [gap.row for gap in ledger.gaps(db, ["pbx1"], 0, 1 << 60)["pbx1"]] == [2]


def test_a_leg_is_about_a_hundred_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """20,000 legs as they come in a busy month cost at most 120 bytes each, index included."""
    db = Database(sqlite3.connect(tmp_path / "size.db"), strict=True)
    SCHEMA.apply(db)
    db.execute("VACUUM")
    empty = (tmp_path / "size.db").stat().st_size
    at, legs = 1_794_475_867_000, {}
    for row in range(1, 20_001):
        at += 1_900
        leg = f"{at // 1000}.{row}"
        out = row % 3 == 0  # dialled out: its call has the id of the extension's leg
        legs[row] = Leg(
            row, "pbx1", leg, "PJSIP/trunk-kpn", "PJSIP/trunk-kpn", Direction.OUT if out else Direction.IN,
            f"{at // 1000 - 2}.{row - 1}" if out else leg, f"tenant-{row % 5}", at, Known.SEEN,
            at + 7_000, Known.SEEN, at + 180_000, Known.SEEN,
        )  # fmt: skip
        if len(legs) == 100:
            with db.atomic():
                ledger.record(db, Changes(legs=legs), (Heard("pbx1", at, "run 1"),))
            legs = {}
    db.close()
    each = ((tmp_path / "size.db").stat().st_size - empty) / 20_000
    with capsys.disabled():
        print(f"\nbytes per leg, index included: {each:.1f}")

    assert each <= 120


# --- agreements, readings, notices -----------------------------------------------------------


def test_terms_come_back_in_order() -> None:
    """Terms come back as they were agreed, in order; tenants in the order in which they came."""
    one = Terms("acme", 5, 16, Level.CHANNELS, ("pbx1", "pbx2"), packages=(4, 8), name="ACME B.V.",
                timezone="Europe/Amsterdam", period="day")  # fmt: skip
    two = replace(one, at=9, lines=None, basis=Level.ANSWERED)
    db = fresh()
    for terms in (replace(one, tenant="zulu"), one, two):
        agreements.agree(db, terms)

    assert agreements.terms(db, "acme") == [one, two]
    assert agreements.tenants(db) == ["zulu", "acme"]
    assert agreements.terms(db, "nobody") == []


def test_a_period_is_opened_once() -> None:
    """A period's bounds are those of its first opening."""
    db = fresh()
    agreements.open_period(db, "acme", Period("2026-11", 10, 20))
    agreements.open_period(db, "acme", Period("2026-11", 10, 25))
    agreements.open_period(db, "acme", Period("2026-12", 20, 30))

    assert agreements.periods(db, "acme") == [Period("2026-11", 10, 20), Period("2026-12", 20, 30)]
    assert agreements.last_period(db, "acme") == Period("2026-12", 20, 30)
    assert agreements.last_period(db, "globex") is None


def test_readings_with_the_last_good_one_before() -> None:
    """Of the readings before the stretch only each PBX's last good one comes along; failed ones within it do."""
    rows = [Reading("pbx1", "acme", 1, 40, "pjsip"), Reading("pbx1", "acme", 5, 41, "pjsip"),
            Reading("pbx1", "acme", 8, None, ""), Reading("pbx2", "acme", 3, 7, "devices"),
            Reading("pbx1", "acme", 10, 42, "pjsip", 2, 1), Reading("pbx1", "acme", 15, None, ""),
            Reading("pbx1", "acme", 20, 43, "pjsip"), Reading("pbx1", None, 12, 3, "pjsip")]  # fmt: skip
    db = fresh()
    readings.read(db, rows)

    found = readings.readings(db, "acme", 10, 20)
    assert {(r.pbx, r.at, r.count) for r in found} == {
        ("pbx1", 5, 41),
        ("pbx2", 3, 7),
        ("pbx1", 10, 42),
        ("pbx1", 15, None),
    }
    assert [(r.created, r.removed) for r in found if r.at == 10] == [(2, 1)]
    assert readings.readings(db, None, 10, 20) == [rows[-1]]
    assert readings.users_now(db, "acme", ["pbx1", "pbx2"]) == 50
    assert readings.users_now(db, "acme", ["pbx1", "pbx9"]) is None


def test_what_is_remembered_of_an_episode() -> None:
    """The last word on a tenant's episode is what is remembered."""
    db = fresh()
    notices.remember(db, "acme", "1")
    notices.remember(db, "acme", "2")

    assert notices.remembered(db) == {"acme": "2"}
    assert notices.numbers(db) == {}


# --- the outbox ------------------------------------------------------------------------------


def test_the_outbox_row_by_row() -> None:
    """Due in order of time, put off, delivered, parked and let go again; an id that is known is not written twice."""
    db = fresh()
    outbox.enqueue(
        db,
        [("a", "mail", "x@y.example", b"1"), ("b", "mail", "x@y.example", b"2"), ("c", "webhook", "h", b"3")],
        100,
    )
    outbox.enqueue(db, [("a", "mail", "other", b"other")], 50)

    assert [(w.id, w.body, w.attempts) for w in outbox.due(db, "mail", 100, 9)] == [
        ("a", b"1", 0),
        ("b", b"2", 0),
    ]
    assert outbox.due(db, "mail", 99, 9) == []
    assert [w.id for w in outbox.due(db, "mail", 100, 1)] == ["a"]
    a, b = (w.row for w in outbox.due(db, "mail", 100, 9))
    outbox.again(db, a, 500, "busy")
    assert outbox.next_due(db, "mail", 99) == 100
    outbox.delivered(db, b, 120)
    assert outbox.next_due(db, "mail", 100) == 500
    assert [(w.id, w.attempts) for w in outbox.due(db, "mail", 500, 9)] == [("a", 1)]
    outbox.park(db, a, 600, "no such box", "check the address")
    assert outbox.next_due(db, "mail", 100) is None
    assert outbox.counts(db) == {"waiting": 1, "parked": 1}
    assert [(p.id, p.why, p.hint) for p in outbox.parked(db)] == [("a", "no such box", "check the address")]
    retention.let_go(db, facts_before=0, interims_before=1 << 60)
    assert outbox.counts(db)["parked"] == 1, "what was parked is never deleted"
    assert outbox.retry(db, 700) == 1
    assert [(w.id, w.attempts) for w in outbox.due(db, "mail", 700, 9)] == [("a", 0)]


def test_a_delivered_row_keeps_no_content() -> None:
    """Once delivered, neither body nor address stays; its id does, so that it is not sent again."""
    db = fresh()
    outbox.enqueue(db, [("a", "mail", "x@y.example", b"1")], 100)
    outbox.delivered(db, outbox.due(db, "mail", 100, 1)[0].row, 120)
    outbox.enqueue(db, [("a", "mail", "x@y.example", b"1")], 130)

    assert outbox.due(db, "mail", 1 << 60, 9) == []
    assert db.execute("SELECT body, target FROM outbox").fetchall() == [(None, "")]


# --- records ---------------------------------------------------------------------------------


def sealed(
    chain: int,
    sequence: int,
    *,
    tenant: str = "acme",
    kind: str = "final",
    period_start: int = 0,
    revision: int = 1,
) -> Sealed:
    id_ = f"{tenant}/{period_start}/{kind}/{revision}"
    return Sealed(
        chain,
        sequence,
        id_,
        kind,
        tenant,
        sequence,
        "p",
        period_start,
        revision,
        100,
        f"hash {sequence}",
        f"jws {sequence}",
    )


def test_heads_of_the_chains() -> None:
    """The next record stands after the last of its chain and of its tenant; a new chain begins at 1."""
    db = fresh()
    assert records.chain(db) is None
    first = records.begin_chain(db, "c-1", None)
    assert (records.head(db, 1), records.tenant_head(db, 1, "acme")) == (
        records.Head(1, None),
        records.Head(1, None),
    )
    records.seal(db, sealed(1, 1))
    records.seal(db, replace(sealed(1, 2, tenant="globex"), tenant_sequence=1))
    assert records.head(db, first.number) == records.Head(3, "hash 2")
    assert records.tenant_head(db, 1, "acme") == records.Head(2, "hash 1")
    second = records.begin_chain(db, "c-2", {"chain": "c-1", "sequence": 2, "sha256": "hash 2"})
    assert records.chain(db) == second
    assert records.head(db, second.number) == records.Head(1, None)
    assert second.continues == {"chain": "c-1", "sequence": 2, "sha256": "hash 2"}


@pytest.mark.parametrize("change", [{"sequence": 1}, {"id": "acme/0/final/1"}])
def test_a_place_is_taken_once(change: dict) -> None:
    """A sealed record is never overwritten: neither its place nor its id can be taken again."""
    db = fresh()
    records.begin_chain(db, "c-1", None)
    records.seal(db, sealed(1, 1))

    with pytest.raises(sqlite3.IntegrityError):
        records.seal(db, replace(sealed(1, 2, period_start=5), **change))

    assert [r.jws for r in records.every(db)] == ["jws 1"]


def test_a_halted_chain_says_so() -> None:
    """A halt holds for the present chain alone, also if none was begun: nothing is sealed then either."""
    db = fresh()
    records.halt(db, "type this")
    assert records.chain(db).halted == "type this"
    records.begin_chain(db, "c-2", None)
    assert records.chain(db).halted is None


def test_receipts() -> None:
    """The first record without a receipt is where sending goes on; what was refused is counted."""
    db = fresh()
    records.begin_chain(db, "c-1", None)
    assert records.first_without_receipt(db, 1) == 1
    for n in (1, 2, 3):
        records.seal(db, sealed(1, n, period_start=n))
    records.receipted(db, 1, 1, "receipt", "counted", None)
    records.receipted(db, 1, 2, "receipt", "refused", "why")
    assert records.first_without_receipt(db, 1) == 3
    records.receipted(db, 1, 3, "receipt", "counted", None)
    assert records.first_without_receipt(db, 1) == 4
    assert records.counts(db) == {"sealed": 3, "receipted": 3, "refused": 1}


def test_the_newest_revision() -> None:
    """The newest of a period is its highest revision among the kinds asked for."""
    db = fresh()
    records.begin_chain(db, "c-1", None)
    records.seal(db, sealed(1, 1))
    records.seal(db, sealed(1, 2, kind="correction", revision=2))
    records.seal(db, sealed(1, 3, kind="interim", revision=9))

    assert records.newest(db, "acme", ("final", "correction"), 0).sequence == 2
    assert records.newest(db, "acme", ("interim",), 0).sequence == 3
    assert records.newest(db, "acme", ("final",), 7) is None


def test_what_stays_of_old_records() -> None:
    """Interims with a receipt lose their text after 35 days, all others after 13 months, none without a receipt; hashes stay."""
    db = fresh()
    records.begin_chain(db, "c-1", None)
    for n, (kind, at, receipted) in enumerate(
        [
            ("interim", 10, True),
            ("interim", 10, False),
            ("final", 10, True),
            ("final", 1, True),
            ("interim", 60, True),
        ],
        1,
    ):
        records.seal(db, replace(sealed(1, n, kind=kind, period_start=n), sealed_at=at))
        if receipted:
            records.receipted(db, 1, n, "receipt", "counted", None)
    assert not retention.let_go(db, facts_before=5, interims_before=50)

    assert [r.jws is None for r in records.every(db)] == [True, False, False, True, False]
    assert records.hashes(db, 1) == {n: f"hash {n}" for n in range(1, 6)}
