"""How a migration reaches the database: through the connection, and in the transaction, of `storage.migrate`."""

from alembic import context

from orchestrator.storage.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
