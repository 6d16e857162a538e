"""The tables of the books on SQLite. Append only: what was released is never edited."""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("provider.books")


@migrations()
def m001_books(db: Database) -> None:
    """Make the first tables. Instants are milliseconds of UTC."""
    db.executescript(
        """
        CREATE TABLE agents (
            id TEXT PRIMARY KEY,
            tenants TEXT NOT NULL,         -- JSON array of the ids that it may report
            rejoining INTEGER NOT NULL,    -- 1: enrolled by a fresh token, nothing taken since
            chain TEXT                     -- the chain it is on
        ) STRICT;

        CREATE TABLE keys (
            thumbprint TEXT PRIMARY KEY,
            agent TEXT NOT NULL REFERENCES agents (id),
            jwk TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('active', 'superseded', 'withdrawn')),
            number INTEGER NOT NULL        -- grows with every key made known or known afresh
        ) STRICT;
        CREATE INDEX keys_agent ON keys (agent);

        CREATE TABLE invitations (
            token_sha256 TEXT PRIMARY KEY,
            agent TEXT NOT NULL,
            tenants TEXT NOT NULL,
            expires_at INTEGER NOT NULL,
            used_by TEXT,
            used_at INTEGER,
            answer TEXT
        ) STRICT;

        CREATE TABLE chains (
            agent TEXT NOT NULL REFERENCES agents (id),
            id TEXT NOT NULL,
            number INTEGER NOT NULL,       -- 1 for the agent's first chain
            starts_after INTEGER NOT NULL, -- 0, or the number before the first that came
            continues TEXT,                -- JSON [chain, sequence, sha256] as its first record names it
            PRIMARY KEY (agent, id)
        ) STRICT;

        CREATE TABLE records (
            agent TEXT NOT NULL,
            chain TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            id TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            previous_sha256 TEXT,
            status TEXT NOT NULL CHECK (status IN ('counted', 'refused')),
            reason TEXT,
            jws TEXT NOT NULL,             -- byte for byte
            receipt TEXT NOT NULL,
            taken_at INTEGER NOT NULL,
            PRIMARY KEY (agent, chain, sequence),
            UNIQUE (agent, chain, id),
            UNIQUE (agent, sha256),
            FOREIGN KEY (agent, chain) REFERENCES chains (agent, id)
        ) STRICT;

        -- Derived from records of kind final and correction, and the newest interim of each period.
        CREATE TABLE summaries (
            agent TEXT NOT NULL,
            tenant TEXT NOT NULL,
            period TEXT NOT NULL,
            kind TEXT NOT NULL,
            revision INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            as_of INTEGER NOT NULL,
            basis TEXT NOT NULL,
            capacity INTEGER,
            peak_channels INTEGER,
            peak_calls INTEGER,
            peak_answered INTEGER,
            users INTEGER,
            expected_ms INTEGER NOT NULL,
            observed_ms INTEGER NOT NULL,
            PRIMARY KEY (agent, tenant, period, kind, revision)
        ) STRICT;
        """
    )
