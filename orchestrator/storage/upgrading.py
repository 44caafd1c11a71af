"""Carrying out the steps of `migrations`, by alembic. Imported only where a database is behind."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from orchestrator.storage.migrations import FOLDER


def config() -> Config:
    """Where alembic finds the steps."""
    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    return made


def upgrade(connection: Connection) -> None:
    """Bring the main database to the newest schema, within the connection's transaction."""
    command.upgrade(_with(connection), "head")


def downgrade(connection: Connection, revision: str = "base") -> None:
    """Take the main database back to an older schema; what only the newer one has is lost."""
    command.downgrade(_with(connection), revision)


def _with(connection: Connection) -> Config:
    made = config()
    made.attributes["connection"] = connection
    return made
