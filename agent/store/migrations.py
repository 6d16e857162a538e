"""The tables, as a list of migrations. Append only: a released migration never changes.

Instants are integers of UTC milliseconds. `words` gives short numbers to names that
stand in every leg; a leg costs about a hundred bytes that way.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

SCHEMA: Final = Migrations("pbx-meter")


@SCHEMA(name="0001_ledger")
def _ledger(db: Database) -> None:
    _run(
        db,
        "CREATE TABLE words (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT",
        """CREATE TABLE pbxs (
            name TEXT PRIMARY KEY, heard_at INTEGER NOT NULL, booted TEXT
        ) STRICT""",
        # endpoint NULL: the same as the trunk rule; call NULL: the same as leg.
        """CREATE TABLE legs (
            row INTEGER PRIMARY KEY,
            pbx INTEGER NOT NULL REFERENCES words, leg TEXT NOT NULL,
            endpoint TEXT, trunk INTEGER REFERENCES words,
            direction INTEGER NOT NULL, call TEXT, tenant INTEGER REFERENCES words,
            started INTEGER NOT NULL, start_known INTEGER NOT NULL,
            answered INTEGER, answer_known INTEGER,
            ended INTEGER, end_known INTEGER
        ) STRICT""",
        "CREATE INDEX legs_by_tenant ON legs (tenant, ended)",
        """CREATE TABLE merges (
            pbx INTEGER NOT NULL REFERENCES words, at INTEGER NOT NULL,
            gone TEXT NOT NULL, into_call TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX merges_by_time ON merges (at)",
        """CREATE TABLE gaps (
            row INTEGER PRIMARY KEY, pbx INTEGER NOT NULL REFERENCES words,
            started INTEGER NOT NULL, ended INTEGER, cause TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE terms (
            tenant TEXT NOT NULL, at INTEGER NOT NULL, lines INTEGER, basis TEXT NOT NULL,
            pbxs TEXT NOT NULL, user_pbxs TEXT NOT NULL, packages TEXT NOT NULL, name TEXT NOT NULL,
            timezone TEXT NOT NULL, period TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE periods (
            tenant TEXT NOT NULL, name TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL,
            PRIMARY KEY (tenant, started)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE readings (
            pbx TEXT NOT NULL, tenant TEXT, at INTEGER NOT NULL, count INTEGER, source TEXT NOT NULL,
            created INTEGER NOT NULL, removed INTEGER NOT NULL, pbx_own_count INTEGER
        ) STRICT""",
        """CREATE TABLE extensions (
            pbx TEXT NOT NULL, source TEXT NOT NULL, number TEXT NOT NULL, tenant TEXT,
            PRIMARY KEY (pbx, source, number)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE reconciled (
            pbx TEXT NOT NULL, bucket INTEGER NOT NULL,
            snapshots INTEGER NOT NULL, missed_starts INTEGER NOT NULL, missed_hangups INTEGER NOT NULL,
            PRIMARY KEY (pbx, bucket)
        ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE clock_steps (at INTEGER NOT NULL, step_ms INTEGER NOT NULL, repeated_ms INTEGER NOT NULL) STRICT",
    )


@SCHEMA(name="0002_records")
def _records(db: Database) -> None:
    _run(
        db,
        # halted: why nothing is sealed any more; NULL while all is well.
        """CREATE TABLE chains (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, continues TEXT, halted TEXT
        ) STRICT""",
        # jws NULL: let go after its time; its hash stays. receipt NULL: not yet.
        """CREATE TABLE records (
            chain INTEGER NOT NULL REFERENCES chains, sequence INTEGER NOT NULL,
            id TEXT NOT NULL, kind TEXT NOT NULL, tenant TEXT, tenant_sequence INTEGER,
            period TEXT, period_start INTEGER, revision INTEGER NOT NULL,
            sealed_at INTEGER NOT NULL, sha256 TEXT NOT NULL, jws TEXT,
            status TEXT, why TEXT, receipt TEXT,
            PRIMARY KEY (chain, sequence), UNIQUE (chain, id)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX records_by_tenant ON records (tenant, kind, period_start)",
    )


@SCHEMA(name="0003_outbox")
def _outbox(db: Database) -> None:
    _run(
        db,
        """CREATE TABLE outbox (
            row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
            lane TEXT NOT NULL, target TEXT NOT NULL, body BLOB,
            made_at INTEGER NOT NULL, due_at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
            state TEXT NOT NULL DEFAULT 'waiting', why TEXT, hint TEXT, settled_at INTEGER
        ) STRICT""",
        "CREATE INDEX outbox_due ON outbox (state, lane, due_at)",
        """CREATE TABLE watches (tenant TEXT PRIMARY KEY, watch TEXT NOT NULL) STRICT""",
        """CREATE TABLE notices (
            id TEXT PRIMARY KEY, tenant TEXT NOT NULL, at INTEGER NOT NULL, notice TEXT NOT NULL
        ) STRICT""",
        "CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    )


@SCHEMA(name="0004_corrections")
def _corrections(db: Database) -> None:
    _run(
        db,
        # What a correction takes instead of the ledger's rows. leg NULL: it leaves that row out.
        # row < 0: only call records tell of it.
        """CREATE TABLE corrected_legs (
            chain INTEGER NOT NULL, sequence INTEGER NOT NULL, row INTEGER NOT NULL,
            leg TEXT, ended INTEGER,
            PRIMARY KEY (chain, sequence, row)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE corrected_gaps (
            chain INTEGER NOT NULL, sequence INTEGER NOT NULL,
            pbx TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL,
            PRIMARY KEY (chain, sequence, pbx, started)
        ) STRICT, WITHOUT ROWID""",
    )


@SCHEMA(name="0005_polled")
def _polled(db: Database) -> None:
    _run(
        db,
        "ALTER TABLE reconciled ADD COLUMN missed_polls INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE reconciled ADD COLUMN ahead_ms INTEGER",
        # What a PBX's own call records tell. The columns of `legs`, with rows below zero, and when it was told.
        """CREATE TABLE told_legs (
            row INTEGER PRIMARY KEY,
            pbx INTEGER NOT NULL REFERENCES words, leg TEXT NOT NULL,
            endpoint TEXT, trunk INTEGER REFERENCES words,
            direction INTEGER NOT NULL, call TEXT, tenant INTEGER REFERENCES words,
            started INTEGER NOT NULL, start_known INTEGER NOT NULL,
            answered INTEGER, answer_known INTEGER,
            ended INTEGER, end_known INTEGER,
            told_at INTEGER NOT NULL
        ) STRICT""",
        "CREATE INDEX told_legs_by_id ON told_legs (pbx, leg)",
        "CREATE INDEX told_legs_by_tenant ON told_legs (tenant, ended)",
        # Which of the polled legs is which of those.
        "CREATE TABLE seen_as (leg INTEGER PRIMARY KEY, told INTEGER NOT NULL, told_at INTEGER NOT NULL) STRICT",
        # The time of which they tell everything that ended in it.
        """CREATE TABLE told (
            pbx TEXT NOT NULL, source TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL,
            PRIMARY KEY (pbx, started)
        ) STRICT, WITHOUT ROWID""",
    )


@SCHEMA(name="0006_troubles")
def _troubles(db: Database) -> None:
    _run(
        db,
        # told_at NULL: it is over, which was told at over_at; remembered, so that a return is damped.
        """CREATE TABLE troubles (
            kind TEXT NOT NULL, subject TEXT NOT NULL, since INTEGER NOT NULL,
            told_at INTEGER, over_at INTEGER, calm_ms INTEGER NOT NULL,
            PRIMARY KEY (kind, subject)
        ) STRICT, WITHOUT ROWID""",
        # They are looked for every few seconds, among all records of thirteen months.
        "CREATE INDEX records_refused ON records (chain, sequence) WHERE status = 'refused'",
    )


@SCHEMA(name="0007_retention")
def _retention(db: Database) -> None:
    _run(
        db,
        # Without them each look for what waits, or is over its time, would read every record there is.
        "CREATE INDEX records_waiting ON records (chain, sequence) WHERE receipt IS NULL",
        "CREATE INDEX records_kept ON records (kind, sealed_at) WHERE jws IS NOT NULL AND receipt IS NOT NULL",
    )


@SCHEMA(name="0008_without_a_provider")
def _without_a_provider(db: Database) -> None:
    # What nobody gives a receipt for is let go after its time too, and found the same way.
    _run(
        db,
        "CREATE INDEX records_unreceived ON records (kind, sealed_at) WHERE jws IS NOT NULL AND receipt IS NULL",
    )


def _run(db: Database, *statements: str) -> None:
    for statement in statements:
        db.execute(statement)
