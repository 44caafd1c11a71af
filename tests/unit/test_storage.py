"""What is SQLite's alone in the store; what every backend does is in `tests/contract`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from orchestrator.kernel.clock import FakeClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.storage import upgrading
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.migrate import revisions
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite import SqliteStore

SETTINGS = StorageSettings()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "o.db", tmp_path / "b.db", SETTINGS, Metrics(), FakeClock())
    yield opened
    await opened.close()


async def test_it_is_durable_by_its_settings(store: SqliteStore) -> None:
    """DESIGN 3: WAL and FULL."""
    pragmas = await store.read(
        lambda tx: [
            tx.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    )
    assert pragmas == ["wal", 2, 1]


def test_the_names_of_the_steps_are_their_revisions() -> None:
    """A start looks at the names alone."""
    steps = ScriptDirectory.from_config(upgrading.config()).walk_revisions()
    assert [step.revision for step in steps][::-1] == revisions()


async def test_no_raw_output_is_in_the_main_database(store: SqliteStore, tmp_path: Path) -> None:
    """R4-06."""
    await Blobs(store, SETTINGS, FakeClock()).put(b"canary-of-the-raw-output")
    await store.close()
    assert b"canary-of-the-raw-output" in (tmp_path / "b.db").read_bytes()
    assert b"canary-of-the-raw-output" not in (tmp_path / "o.db").read_bytes()
