"""Bringing a database to the schema of this version, in one transaction, before anything else uses it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from orchestrator.contracts.errors import StartRefused
from orchestrator.storage.schema import BLOB_METADATA

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Upgrade the main database. Raises `StartRefused` for one that a newer version has written."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        current = _current(connection)
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            raise StartRefused(f"the database has the schema {current} of a newer version: use that version or newer")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.exec_driver_sql("COMMIT")
        connection.commit()


def migrate_blobs(engine: Engine) -> None:
    """Make the blob table; it has had one form so far."""
    BLOB_METADATA.create_all(engine)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return str(row[0]) if row else None
