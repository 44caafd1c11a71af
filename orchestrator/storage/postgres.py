"""PostgreSQL with one writer connection and group commit.

Everything runs on the daemon's loop: SQLAlchemy lets a synchronous transaction wait there for the driver. While one
commit is under way the next batch gathers, so that under load many transactions share one flush to disk.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoReaderFree

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage import connecting, instants, leading
from orchestrator.storage.batches import Bounds, Committer, Job, deliver
from orchestrator.storage.instants import Now
from orchestrator.storage.leading import Deposed
from orchestrator.storage.port import Part, Tx
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.writer import Writer

T = TypeVar("T")
log = structlog.get_logger("storage")
_LOOK_AGAIN_S = 0.5
"""After so long a lost server is looked for again, asked for or not."""


class PostgresStore:
    """See `port.Store`. Made by `open`, which brings the schema up to date and takes the lead."""

    def __init__(self, settings: StorageSettings, metrics: Metrics, now: Now) -> None:
        self._settings = settings
        self._now = now
        self._committer = Committer(Bounds(_begin, Connection.commit, _roll_back), metrics)
        self._waiting: deque[Job] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._writer = Writer(settings, self._lost)
        self._reading = connecting.engine(settings, readers=settings.readers)
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, settings: StorageSettings, metrics: Metrics, supervisor: Supervisor, now: Now = instants.of_server
    ) -> "PostgresStore":
        """Connect, lead, migrate. Raises `StartRefused` with what would mend it."""
        store = cls(settings, metrics, now)
        await store._writer.open()
        store._task = supervisor.root("store", store._write_for_ever())
        return store

    @property
    def fault(self) -> str | None:
        """Why nothing could be written of late; None while writing works."""
        return self._committer.fault

    def now(self, tx: Tx) -> str:
        return self._now(tx)

    def submit(
        self, work: Callable[[Tx], T] | None, *parts: Part, after: Callable[[], None] | None = None
    ) -> "asyncio.Future[T]":
        self._refuse_if_closed()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(Job(work, parts, after, future))
        self._wake.set()
        return future

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self.submit(work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        self._refuse_if_closed()
        try:
            return await self._read(work)
        except DBAPIError as fault:
            if not fault.connection_invalidated:
                raise connecting.of_input(fault) or _unreadable(fault) from None
        try:
            return await self._read(work)  # the pool's connections were to a server that was restarted since
        except DBAPIError as fault:
            raise _unreadable(fault) from None

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._writer.let_go()
        await self._reading.dispose()

    def _refuse_if_closed(self) -> None:
        if self._closing or (self._task is not None and self._task.done()):
            raise Unavailable("the store is closed", code="store_unavailable")

    async def _read(self, work: Callable[[Tx], T]) -> T:
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._reading.connect())
            except (*connecting.FAULTS, NoReaderFree) as fault:
                raise _unreadable(fault) from None
            try:
                return await connection.run_sync(work)
            except TimeoutError as fault:
                await connection.invalidate()
                raise _unreadable(fault) from None

    async def _write_for_ever(self) -> None:
        """Write until the store is closed and all is written. Raises `Deposed`, which ends the daemon."""
        try:
            while self._waiting or not self._closing:
                await self._until_wanted()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._settings.batch_size))]
                if batch or self.fault:
                    await self._write(batch)
        finally:
            rest = list(self._waiting)
            if rest:
                self._committer.fail(rest, "is closed")
                deliver(rest)

    async def _until_wanted(self) -> None:
        """Until there is something to write, or it is time to look for a lost server."""
        if self._waiting or self._closing:
            return
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_AGAIN_S if self.fault else None):
                await self._wake.wait()

    async def _write(self, batch: list[Job]) -> None:
        """Settle a batch on a connection that leads, and tell the callers. An empty one tries whether writing works."""
        try:
            connection = await self._writer.connection()
            await connection.run_sync(self._committer.write, batch)
            for job in batch:
                job.fault = connecting.of_input(job.fault) or job.fault
        except Deposed as why:
            self._committer.fail(batch, f"cannot be written: {why}")
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, the next batch gets another connection
            self._told(batch, fault)
            await self._writer.let_go(lost=True)
        except BaseException:
            self._committer.fail(batch, "was ended while it wrote")
            raise
        finally:
            deliver(batch)

    def _told(self, batch: list[Job], fault: Exception) -> None:
        reason = f"cannot be written: {connecting.reason(fault)}"
        if self.fault != reason:
            log.error("store.writing_failed", error=reason)
        self._committer.fail(batch, reason)

    def _lost(self) -> None:
        """Health is to know of it before somebody writes."""
        if not self._closing:
            self._committer.fail((), "cannot be written: the connection is lost")
            self._wake.set()


def _begin(connection: Connection) -> None:
    leading.begin_writing(connection)


def _roll_back(connection: Connection) -> None:
    """Raises where there is nobody left to tell: SQLAlchemy would connect anew by itself, and nothing would lead."""
    if connection.invalidated:
        raise ConnectionResetError("the connection is lost")
    connection.rollback()


def _unreadable(fault: BaseException) -> Unavailable:
    return Unavailable(f"the store cannot be read: {connecting.reason(fault)}", code="store_unavailable")
