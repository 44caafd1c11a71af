"""Which store there is: the one place that knows all of them, and chooses by `storage.url` (X-21)."""

import importlib
from pathlib import Path

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
    try:
        # The driver is an extra, and a fifth of a second to import that most starts do not need.
        postgres = importlib.import_module("orchestrator.storage.postgres")
    except ModuleNotFoundError as lacking:
        mend = "pip install 'orchestratord[cluster]'"
        raise StartRefused(f"storage.url is set, and {lacking.name} is not installed: {mend}") from None
    store: Store = await postgres.PostgresStore.open(settings, metrics, supervisor)
    return store
