"""Commits of the store on each backend: one caller who waits for each, and many who wait at once."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.bulk import insert_rows
from orchestrator.storage.opening import open_store
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import events
from orchestrator.storage.settings import StorageSettings
from tests import own_postgres

CALLERS = 200
ROUNDS = 3
_EVENT = {"topic": "bench", "name": "bench", "source": "bench", "subject": None, "owner": None, "data": {"n": 1}}


class Rows:
    """Events, one a transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written = 0

    def row(self) -> dict[str, Any]:
        """The next one."""
        self._written += 1
        return {"seq": self._written, "id": str(self._written), "time": "2026-01-01T00:00:00.000Z", **_EVENT}

    async def alone(self) -> None:
        """A transaction with work of its own."""
        row = self.row()
        await self._store.write(lambda tx: _insert(tx, [row]))

    async def in_bulk(self) -> None:
        """A part of a commit, as the journal writes."""
        await self._store.submit(None, (_insert, self.row()))


async def measure(seconds: float = 3.0) -> AsyncIterator[str]:
    """Lines of the table, as they are known."""
    async with AsyncExitStack() as stack:
        supervisor = Supervisor()
        stack.push_async_callback(supervisor.close)
        grounds = {"SQLite": StorageSettings()}
        if own_postgres.find() is not None:
            server = stack.enter_context(own_postgres.running_server())
            grounds["PostgreSQL, unix socket"] = StorageSettings(url=SecretStr(server.url("postgres")))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-bench-", dir="/var/tmp")))
        rows = {}
        for name, settings in grounds.items():
            store = await open_store(
                settings, folder / "o.db", folder / "b.db",
                metrics=Metrics(), clock=SystemClock(), supervisor=supervisor,
            )  # fmt: skip
            stack.push_async_callback(store.close)
            rows[name] = Rows(store)
        yield f"{'store, durable commits':34} {'one/s':>8} {'p50 ms':>8} {'p99 ms':>8} {f'{CALLERS} callers, rows/s':>24}"
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in rows}
        for _ in range(ROUNDS):
            for name, of_store in rows.items():
                found[name].append((*await _one_by_one(of_store, seconds), await _together(of_store, seconds)))
        for name, figures in found.items():
            rate, p50, p99, together = (statistics.median(column) for column in zip(*figures, strict=True))
            yield f"{name:34} {rate:8.0f} {p50:8.2f} {p99:8.2f} {together:24.0f}"
        if len(grounds) == 1:
            yield "PostgreSQL is not installed"


async def _one_by_one(rows: Rows, seconds: float) -> tuple[float, float, float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await rows.alone()
        times.append(time.perf_counter() - began)
    times.sort()
    return len(times) / seconds, statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3


async def _together(rows: Rows, seconds: float) -> float:
    written, end = 0, time.perf_counter() + seconds

    async def one() -> None:
        nonlocal written
        while time.perf_counter() < end:
            await rows.in_bulk()
            written += 1

    await asyncio.gather(*(one() for _ in range(CALLERS)))
    return written / seconds


def _insert(tx: Tx, rows: list[dict[str, Any]]) -> None:
    insert_rows(tx, events, rows)
