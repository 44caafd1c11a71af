"""The stores under contract: how to have each here, and how somebody else looks into its database.

To add one: a `Ground` of its own, and a line in `GROUNDS`.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import SecretStr
from sqlalchemy import Connection

from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage import connecting, instants
from orchestrator.storage.port import Store
from orchestrator.storage.postgres import PostgresStore
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite import SqliteStore, open_engine
from tests.own_postgres import Server

T = TypeVar("T")


class Ground(Protocol):
    """One empty database."""

    settings: StorageSettings

    async def open(self, clock: Clock) -> Store:
        """The store, as the daemon opens it, but for its clock."""
        ...

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as another program would."""
        ...

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction without a store."""
        ...


class SqliteGround:
    """Files in a folder."""

    def __init__(self, folder: Path, _supervisor: Supervisor) -> None:
        self.settings = StorageSettings()
        self.files = folder / "o.db", folder / "b.db"

    async def open(self, clock: Clock) -> Store:
        return SqliteStore(*self.files, self.settings, Metrics(), clock)

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.files[0])
        try:
            found = connection.execute(statement).fetchall()
            connection.commit()
            return found
        finally:
            connection.close()

    async def run(self, work: Callable[[Connection], T]) -> T:
        engine = open_engine(*self.files, self.settings)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                done = work(connection)
                connection.exec_driver_sql("COMMIT")
                return done
        finally:
            engine.dispose()


class PostgresGround:
    """A database of a running server."""

    def __init__(self, server: Server, database: str, supervisor: Supervisor) -> None:
        self.server = server
        self.database = database
        self.settings = StorageSettings(url=SecretStr(server.url(database)), busy_timeout_ms=500)
        self._supervisor = supervisor

    async def open(self, clock: Clock) -> PostgresStore:
        return await PostgresStore.open(self.settings, Metrics(), self._supervisor, instants.of(clock))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        connection = await self.server.connect(self.database)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    async def run(self, work: Callable[[Connection], T]) -> T:
        engine = connecting.engine(self.settings)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()


GROUNDS = ("sqlite", "postgres")
