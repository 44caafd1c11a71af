"""How a migration reaches the database: through the connection, and in the transaction, of `storage.migrate`."""

from alembic import context

from orchestrator.storage import schema

context.configure(connection=context.config.attributes["connection"], target_metadata=schema.events.metadata)
context.run_migrations()
