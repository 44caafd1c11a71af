"""Many transactions under one commit, on any backend: a savepoint each, then what they have in common in bulk.

A transaction that fails takes no other with it. Where the whole batch fails, each is tried alone; where it cannot be
known what became of a batch, none of it is answered as written.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.metrics import Metrics
from orchestrator.storage.port import Part, Tx

_OF_THE_DATABASE = (OperationalError, InterfaceError, InternalError)
"""Faults that say nothing of the statement: a full disk, a lost connection."""
log = structlog.get_logger("storage")


@dataclass(slots=True)
class Job:
    """One transaction on its way; `settled` once `value` or `fault` is what its caller will get."""

    work: Callable[[Tx], Any] | None
    parts: tuple[Part, ...]
    after: Callable[[], None] | None
    future: "asyncio.Future[Any]"
    value: Any = None
    fault: Exception | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How a backend begins a transaction, makes it durable, and takes it back. One that raises ends the connection."""

    begin: Callable[[Connection], None]
    commit: Callable[[Connection], None]
    roll_back: Callable[[Connection], None]


class Committer:
    """Writes batches on a connection of one writer."""

    def __init__(self, bounds: Bounds, metrics: Metrics) -> None:
        self._bounds = bounds
        self._metrics = metrics
        self.fault: str | None = None
        """Why the last commit failed; None while writing works."""

    def write(self, connection: Connection, batch: Sequence[Job]) -> None:
        """Commit a batch and settle its jobs.

        Raises where the connection failed: what is not settled then was not written, or nobody knows.
        """
        started = time.perf_counter()
        fault = self._attempt(connection, batch)
        self._metrics.commits.observe(time.perf_counter() - started)
        if fault is None:
            return
        if len(batch) == 1:
            log.error("store.commit_failed", error=str(fault))
            self.fail(batch, f"cannot be written: {type(fault).__name__}")
            return
        for job in batch:
            job.value = job.fault = None
            self.write(connection, [job])

    def fail(self, batch: Sequence[Job], reason: str) -> None:
        """Settle what is not settled with `Unavailable`, or with the fault of its own that it has."""
        self.fault = reason
        for job in batch:
            if not job.settled:
                job.fault = job.fault or Unavailable(f"the store {reason}", code="store_unavailable")
                job.settled = True

    def _attempt(self, connection: Connection, batch: Sequence[Job]) -> Exception | None:
        """None once the batch is on disk; what it failed with if it was rolled back."""
        self._bounds.begin(connection)
        try:
            if len(batch) == 1 and not self._run_alone(connection, batch[0]):
                return None
            if len(batch) > 1:
                for job in batch:
                    _run(connection, job)
            _write_parts(connection, batch)
        except TimeoutError:
            raise  # a database that is silent: nothing more is to be heard on this connection
        except Exception as fault:  # noqa: BLE001 - whatever it is, nobody in this batch has been served
            self._bounds.roll_back(connection)
            return fault
        self._bounds.commit(connection)
        self.fault = None
        for job in batch:
            job.settled = True
        return None

    def _run_alone(self, connection: Connection, job: Job) -> bool:
        """Run the only job of a batch, which needs no savepoint: two round trips less. False if its own work failed."""
        if job.work is None:
            return True
        try:
            job.value = job.work(connection)
        except (TimeoutError, *_OF_THE_DATABASE):
            raise
        except Exception as fault:  # noqa: BLE001 - it belongs to the one who asked
            self._bounds.roll_back(connection)
            job.fault, job.settled = fault, True
            return False
        return True


def deliver(batch: Sequence[Job]) -> None:
    """On the loop of the callers: tell each what became of its transaction, in commit order."""
    for job in batch:
        if job.fault is None and job.after is not None:
            try:
                job.after()
            except Exception as fault:  # the next one is to be told all the same
                log.error("store.after_failed", exc_info=fault)
        if job.future.cancelled():
            continue
        if job.fault is None:
            job.future.set_result(job.value)
        else:
            job.future.set_exception(job.fault)


def _run(connection: Connection, job: Job) -> None:
    """Run the job's own work. Raises where that took the transaction of the whole batch down."""
    if job.work is None:
        return
    connection.exec_driver_sql("SAVEPOINT job")
    try:
        job.value = job.work(connection)
    except TimeoutError:
        raise
    except Exception as fault:  # noqa: BLE001 - it belongs to the one who asked
        try:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
        except SQLAlchemyError:
            raise fault from None  # it has taken the whole transaction along
        job.fault = fault
    connection.exec_driver_sql("RELEASE SAVEPOINT job")


def _write_parts(connection: Connection, batch: Sequence[Job]) -> None:
    """Call each bulk writer once, with the items of all jobs that did not fail."""
    items: dict[Callable[[Tx, list[Any]], None], list[Any]] = {}
    for job in batch:
        if job.fault is None:
            for writer, item in job.parts:
                items.setdefault(writer, []).append(item)
    for writer, found in items.items():
        writer(connection, found)
