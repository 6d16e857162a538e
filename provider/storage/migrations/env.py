"""Runs the migrations on the connection, and in the transaction, that `provider.storage.database` gives."""

from __future__ import annotations

from alembic import context

from provider.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
