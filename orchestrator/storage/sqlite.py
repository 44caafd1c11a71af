"""SQLite with one writer thread and group commit.

WAL, `synchronous=FULL`, `BEGIN IMMEDIATE`. Under load many transactions share one fsync, a savepoint each, so an audit
row is durable before each answer and still cheap.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.storage import instants
from orchestrator.storage.batches import Bounds, Committer, Job, deliver
from orchestrator.storage.migrate import migrate
from orchestrator.storage.port import Part, Tx
from orchestrator.storage.settings import StorageSettings

T = TypeVar("T")
log = structlog.get_logger("storage")


def open_engine(path: Path, blobs: Path, settings: StorageSettings) -> Engine:
    """An engine whose connections are durable, have the blobs attached, and leave transactions to us."""
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=settings.readers + 1,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.execute("ATTACH DATABASE ? AS blobs", (str(blobs),))
        for pragma in (f"busy_timeout={settings.busy_timeout_ms}", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        for database in ("main", "blobs"):
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-4000", f"journal_size_limit={2**20}"):
                connection.execute(f"PRAGMA {database}.{pragma}")

    return engine


class SqliteStore:
    """See `port.Store`. Brings the schema of both files up to date before anything else uses them."""

    def __init__(self, path: Path, blobs: Path, settings: StorageSettings, metrics: Metrics, clock: Clock) -> None:
        self._settings = settings
        self._now = instants.of(clock)
        self._engine = open_engine(path, blobs, settings)
        with self._engine.connect() as connection:
            _begin(connection)
            migrate(connection)
            _commit(connection)
        for file in (path, blobs):
            file.chmod(0o600)
        self._waiting: list[Job] = []
        self._jobs: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(settings.readers, thread_name_prefix=f"read-{path.stem}")
        self._closed = False
        self._committer = Committer(Bounds(_begin, _commit, _roll_back), metrics)
        self._writer = threading.Thread(target=self._write_for_ever, name=f"write-{path.stem}", daemon=True)
        self._writer.start()

    @property
    def fault(self) -> str | None:
        """Why the last commit failed; None while writing works."""
        return self._committer.fault

    def now(self, tx: Tx) -> str:
        return self._now(tx)

    def submit(
        self, work: Callable[[Tx], T] | None, *parts: Part, after: Callable[[], None] | None = None
    ) -> "asyncio.Future[T]":
        if self._closed:
            raise Unavailable("the store is closed", code="store_unavailable")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._hand_over)
        self._waiting.append(Job(work, parts, after, future))
        return future

    def _hand_over(self) -> None:
        """Wake the writer once for all transactions of one turn of the loop."""
        jobs, self._waiting = self._waiting, []
        if jobs:
            self._jobs.put(jobs)

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self.submit(work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        if self._closed:
            raise Unavailable("the store is closed", code="store_unavailable")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    def _read(self, work: Callable[[Tx], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except DBAPIError as fault:
            raise Unavailable(f"the store cannot be read: {fault.orig}", code="store_unavailable") from fault

    def _write_for_ever(self) -> None:
        """Write until the store is closed; on a new connection where one has failed as it must not."""
        sound = False
        while not sound:
            with self._engine.connect() as connection:
                sound = self._write_on(connection)

    def _write_on(self, connection: Connection) -> bool:
        """Write until the store is closed (True), or until writing itself has failed."""
        last = False
        while not last and (first := self._jobs.get()) is not None:
            batch, last = self._gather(first)
            try:
                self._committer.write(connection, batch)
            except Exception as fault:
                log.error("store.writing_failed", exc_info=fault)
                self._committer.fail(batch, f"cannot be written: {type(fault).__name__}")
                if not last:
                    return False
            finally:
                _settle(batch)
        return True

    def _gather(self, first: list[Job]) -> tuple[list[Job], bool]:
        batch = first
        while len(batch) < self._settings.batch_size:
            try:
                jobs = self._jobs.get_nowait()
            except queue.Empty:
                break
            if jobs is None:
                return batch, True
            batch = batch + jobs
        return batch, False


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _commit(connection: Connection) -> None:
    connection.exec_driver_sql("COMMIT")
    connection.commit()  # ends SQLAlchemy's own notion of a transaction; SQLite's is over


def _roll_back(connection: Connection) -> None:
    if connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
        connection.exec_driver_sql("ROLLBACK")
    connection.commit()


def _settle(batch: list[Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in batch:
        by_loop.setdefault(job.future.get_loop(), []).append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(deliver, jobs)
        except RuntimeError:
            log.warning("store.caller_gone", transactions=len(jobs))
