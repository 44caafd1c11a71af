"""The one connection on which a PostgreSQL store writes: it leads, or it is not used (R0-03, X-24)."""

from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.contracts.errors import StartRefused
from orchestrator.storage import connecting, leading
from orchestrator.storage.migrate import migrate
from orchestrator.storage.settings import StorageSettings

log = structlog.get_logger("storage")


class Writer:
    """Makes the connection, and makes it anew where it is lost. `on_lost` is called when the server hangs up."""

    def __init__(self, settings: StorageSettings, on_lost: Callable[[], None]) -> None:
        self._settings = settings
        self._on_lost = on_lost
        self._engine = connecting.engine(settings)
        self._connection: AsyncConnection | None = None
        self._driver: Any = None
        self._term = 0

    async def open(self) -> None:
        """Connect, lead, migrate, begin a term. Raises `StartRefused` with what would mend it."""
        try:
            self._connection = await self._connect()
            self._term = await self._begin_term()
        except (DBAPIError, *connecting.FAULTS) as fault:
            await self.let_go()
            raise connecting.refusal(fault) from None
        except BaseException:
            await self.let_go()
            raise

    async def connection(self) -> AsyncConnection:
        """The connection, leading. Raises `Deposed`, `StartRefused`, or what connecting raises."""
        if self._connection is not None and self._driver.is_closed():
            await self.let_go(lost=True)
        if self._connection is None:
            self._connection = await self._connect()
            await self._connection.run_sync(leading.check, self._term)
            log.info("store.connected_again")
        return self._connection

    async def let_go(self, *, lost: bool = False) -> None:
        """Close it; the next one is made when it is wanted. A lost one is not spoken to any more."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            await _end(connection, lost=lost)

    async def _connect(self) -> AsyncConnection:
        """A connection that holds the leader's lock, to a server that will do."""
        connection = await self._engine.connect()
        try:
            if why := connecting.unfit(await connection.run_sync(connecting.facts)):
                raise StartRefused(why)
            await connection.run_sync(leading.take)
            self._driver = (await connection.get_raw_connection()).driver_connection
            self._driver.add_termination_listener(self._terminated)
        except BaseException:
            await _end(connection, lost=True)
            raise
        return connection

    def _terminated(self, driver: Any) -> None:
        if driver is self._driver:
            self._on_lost()

    async def _begin_term(self) -> int:
        """Migrate, however long it takes, while this one holds the lead."""
        engine = connecting.engine(self._settings, patient=True)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(migrate)
                return await connection.run_sync(leading.begin_term)
        finally:
            await engine.dispose()


async def _end(connection: AsyncConnection, *, lost: bool) -> None:
    try:
        if lost:
            await connection.invalidate()
        await connection.close()
    except (SQLAlchemyError, *connecting.FAULTS) as fault:
        log.debug("store.closing_failed", error=connecting.reason(fault))
