"""Looking into a store that a daemon may be using: one snapshot, and nothing can be written."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from orchestrator.contracts.errors import StartRefused
from orchestrator.storage.opening import with_driver
from orchestrator.storage.port import Tx
from orchestrator.storage.settings import StorageSettings

T = TypeVar("T")


def look_into(settings: StorageSettings, path: Path, blobs: Path, work: Callable[[Tx], T]) -> T:
    """What `work` reads in the store of these settings. Raises `StartRefused` where there is none to be read."""
    if settings.url.get_secret_value():
        found: T = asyncio.run(with_driver("connecting").look_into(settings, work))
        return found
    if not (path.exists() and blobs.exists()):
        raise StartRefused(f"there is no store at {path} yet: it is made at the first start")
    engine = create_engine("sqlite://", creator=lambda: _open(path, blobs), poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            return work(connection)
    except DBAPIError as fault:
        raise StartRefused(f"the store at {path} cannot be read: {fault.orig}") from None
    finally:
        engine.dispose()


def _open(path: Path, blobs: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.execute("ATTACH DATABASE ? AS blobs", (f"{blobs.as_uri()}?mode=ro",))
    connection.execute("PRAGMA query_only=ON")
    return connection
