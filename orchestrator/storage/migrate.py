"""Bringing the databases to the schema of this version, in one transaction, before anything else uses it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from orchestrator.contracts.errors import StartRefused
from orchestrator.storage.schema import BLOB_METADATA

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Upgrade the main database, make the one of the blobs.

    Raises `StartRefused` for one that a newer version has written.
    """
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
        BLOB_METADATA.create_all(connection)  # it has had one form so far
        connection.exec_driver_sql("COMMIT")
        connection.commit()


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return str(row[0]) if row else None
