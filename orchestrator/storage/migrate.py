"""Bringing the databases to the schema of this version, in one transaction, before anything else uses it."""

import importlib

from sqlalchemy import Connection, inspect
from sqlalchemy.schema import CreateSchema

from orchestrator.contracts.errors import StartRefused
from orchestrator.storage.columns import BLOB_METADATA, BLOBS
from orchestrator.storage.migrations import FOLDER


def migrate(connection: Connection) -> None:
    """Upgrade the main database, make the one of the blobs, in the transaction that the connection is in.

    Raises `StartRefused` for one that a newer version has written.
    """
    known = revisions()
    current = _current(connection)
    if current is not None and current not in known:
        raise StartRefused(f"the database has the schema {current} of a newer version: use that version or newer")
    if current != known[-1]:
        # What upgrades takes a third of a second to import, which most starts do not need.
        importlib.import_module("orchestrator.storage.upgrading").upgrade(connection)
    if not inspect(connection).has_schema(BLOBS):
        connection.execute(CreateSchema(BLOBS))
    BLOB_METADATA.create_all(connection)  # it has had one form so far


def revisions() -> list[str]:
    """The steps that this version knows, oldest first: `0001` is the file `v0001_WORDS.py`."""
    return sorted(file.stem[1:].partition("_")[0] for file in (FOLDER / "versions").glob("v*.py"))


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return str(row[0]) if row else None
