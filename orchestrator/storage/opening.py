"""Which store there is: the one place that knows all of them, and chooses by `storage.url` (X-21)."""

import importlib
from pathlib import Path
from typing import Any

from orchestrator.contracts.errors import StartRefused
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.port import Store
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite import SqliteStore


async def open_store(
    settings: StorageSettings, path: Path, blobs: Path, *, metrics: Metrics, clock: Clock, supervisor: Supervisor
) -> Store:
    """The PostgreSQL database of `storage.url`, or without one SQLite in the files `path` and `blobs`.

    Raises `StartRefused` with what would mend it.
    """
    if not settings.url.get_secret_value():
        return SqliteStore(path, blobs, settings, metrics, clock)
    store: Store = await with_driver("postgres").PostgresStore.open(settings, metrics, supervisor)
    return store


async def look(settings: StorageSettings) -> str:
    """Which store it is, in words, after a look at the server where it is one. Raises `StartRefused`."""
    if not settings.url.get_secret_value():
        return "SQLite, in the state directory"
    told: str = await with_driver("connecting").look(settings)
    return told


def with_driver(module: str) -> Any:
    """A module that needs the driver, which is an extra, and takes a while to import that most starts can spare."""
    try:
        return importlib.import_module(f"orchestrator.storage.{module}")
    except ModuleNotFoundError as lacking:
        mend = "pip install 'orchestratord[cluster]'"
        raise StartRefused(f"storage.url is set, and {lacking.name} is not installed: {mend}") from None
