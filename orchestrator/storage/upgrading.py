"""Carrying out the steps of `migrations`, by alembic. Imported only where a database is behind."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from orchestrator.storage.migrate import VERSIONS


def config() -> Config:
    """Where alembic finds the steps."""
    made = Config()
    made.set_main_option("script_location", str(VERSIONS.parent))
    return made


def upgrade(connection: Connection) -> None:
    """Bring the main database to the newest schema, within the connection's transaction."""
    made = config()
    made.attributes["connection"] = connection
    command.upgrade(made, "head")
