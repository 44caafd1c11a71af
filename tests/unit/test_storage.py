"""The store: durable, ordered, grouped, and each transaction alone in its fate. The journal writes through it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.audit.reading import AuditReader
from orchestrator.bus.local import LocalBus
from orchestrator.contracts.callers import LOOPBACK, Caller, Scope
from orchestrator.contracts.errors import Invalid, NotFound, StartRefused, Unavailable
from orchestrator.contracts.events import Event
from orchestrator.kernel.clock import FakeClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage import upgrading
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.migrate import migrate, revisions
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import METADATA, identities
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite import SqliteStore, open_engine

SETTINGS = StorageSettings()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "o.db", tmp_path / "b.db", SETTINGS, Metrics())
    yield opened
    await opened.close()


def add(tx: Tx, name: str) -> str:
    tx.execute(insert(identities), {"id": name, "kind": "person", "name": name, "created_at": "now"})
    return name


async def names(store: SqliteStore) -> list[str]:
    return await store.read(lambda tx: [row.id for row in tx.execute(select(identities)).all()])


async def test_what_write_answered_is_there_for_another_process(store: SqliteStore, tmp_path: Path) -> None:
    assert await store.write(lambda tx: add(tx, "a")) == "a"
    other = sqlite3.connect(tmp_path / "o.db")
    assert other.execute("SELECT id FROM identities").fetchall() == [("a",)]
    other.close()


async def test_it_is_durable_by_its_settings(store: SqliteStore) -> None:
    """DESIGN 3: WAL and FULL."""
    pragmas = await store.read(
        lambda tx: [
            tx.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    )
    assert pragmas == ["wal", 2, 1]


async def test_in_one_commit_a_failing_transaction_takes_no_other_with_it(store: SqliteStore) -> None:
    await store.write(lambda tx: add(tx, "taken"))
    outcomes = await asyncio.gather(
        *(store.write(lambda tx, n=n: add(tx, "taken" if n % 3 == 0 else f"n{n}")) for n in range(30)),
        return_exceptions=True,
    )
    assert sum(isinstance(o, IntegrityError) for o in outcomes) == 10
    assert len(await names(store)) == 21


async def test_a_transaction_that_raises_leaves_nothing(store: SqliteStore) -> None:
    def half(tx: Tx) -> None:
        add(tx, "half")
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await store.write(half)
    assert await names(store) == []


async def test_after_is_called_in_commit_order_even_for_a_cancelled_caller(store: SqliteStore) -> None:
    told: list[str] = []
    writes = [store.submit(lambda tx, n=n: add(tx, n), after=lambda n=n: told.append(n)) for n in ("a", "b", "c")]
    writes[1].cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await store.write(lambda tx: None)
    assert told == ["a", "b", "c"]


async def test_parts_of_many_transactions_are_written_at_once_and_without_those_that_failed(store: SqliteStore) -> None:
    calls: list[list[str]] = []

    def bulk(tx: Tx, items: list[str]) -> None:
        calls.append(items)
        for item in items:
            add(tx, item)

    def fail(tx: Tx) -> None:
        raise ValueError("on purpose")

    futures = [store.submit(None if n != 3 else fail, (bulk, f"n{n}")) for n in range(20)]
    await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(futures[3].exception(), ValueError)
    assert len(await names(store)) == 19
    assert len(calls) < 19


async def test_a_bad_part_fails_its_own_transaction_alone(store: SqliteStore) -> None:
    def bulk(tx: Tx, items: list[str]) -> None:
        for item in items:
            add(tx, item)

    futures = [store.submit(None, (bulk, "same" if n in (3, 4) else f"n{n}")) for n in range(20)]
    await asyncio.gather(*futures, return_exceptions=True)
    failed = [n for n, f in enumerate(futures) if f.exception() is not None]
    assert failed == [4]
    assert len(await names(store)) == 19


async def test_writing_that_fails_as_it_must_not_fails_its_callers_and_goes_on(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R4-43: nobody waits for ever, and one fault is not the end of the store."""

    def broken(*_: object) -> None:
        raise OSError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.storage.batches._write_parts", broken)
        patch.setattr(store._committer, "_bounds", replace(store._committer._bounds, roll_back=broken))
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(store.write(lambda tx, n=n: add(tx, f"n{n}")) for n in range(3)), return_exceptions=True),
            5,
        )
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert store.fault is not None
    assert await asyncio.wait_for(store.write(lambda tx: add(tx, "later")), 5) == "later"
    assert (await names(store), store.fault) == (["later"], None)


async def test_a_closed_store_says_so(store: SqliteStore) -> None:
    await store.close()
    with pytest.raises(Unavailable) as caught:
        await store.write(lambda tx: add(tx, "late"))
    assert caught.value.code == "store_unavailable"


def test_the_names_of_the_steps_are_their_revisions() -> None:
    """A start looks at the names alone."""
    steps = ScriptDirectory.from_config(upgrading.config()).walk_revisions()
    assert [step.revision for step in steps][::-1] == revisions()


def test_migrations_build_exactly_the_tables(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "m.db", tmp_path / "b.db", SETTINGS)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    migrate(engine)
    engine.dispose()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "m.db", tmp_path / "b.db", SETTINGS)
    migrate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartRefused, match="newer version"):
        migrate(engine)
    engine.dispose()


async def test_a_blob_is_found_by_its_content(store: SqliteStore) -> None:
    blobs = Blobs(store, SETTINGS, FakeClock())
    (one, two, again), part = blobs.part(b"one", b"two", b"one")
    await store.submit(None, part)
    assert one == again != two
    assert await blobs.get(two) == b"two"
    assert await blobs.put(b"one") == one
    with pytest.raises(NotFound):
        await blobs.get("0" * 64)


async def test_a_blob_past_the_bound_is_refused(store: SqliteStore) -> None:
    blobs = Blobs(store, StorageSettings(blob_max_bytes=2**20), FakeClock())
    with pytest.raises(Invalid):
        await blobs.put(b"x" * (2**20 + 1))


async def test_no_raw_output_is_in_the_main_database(store: SqliteStore, tmp_path: Path) -> None:
    """R4-06."""
    await Blobs(store, SETTINGS, FakeClock()).put(b"canary-of-the-raw-output")
    await store.close()
    assert b"canary-of-the-raw-output" in (tmp_path / "b.db").read_bytes()
    assert b"canary-of-the-raw-output" not in (tmp_path / "o.db").read_bytes()


@pytest.fixture
async def journal(store: SqliteStore) -> AsyncIterator[Journal]:
    supervisor = Supervisor()
    opened = Journal(store, LocalBus(supervisor, Metrics()), FakeClock())
    await opened.open()
    yield opened
    await supervisor.close()


def entry(topic: str = "query.completed", owner: str | None = LOOPBACK) -> Entry:
    return Entry(topic, "subject", LOOPBACK, owner=owner)


async def test_entries_become_events_and_a_chain_that_holds(journal: Journal, store: SqliteStore) -> None:
    await asyncio.gather(*(journal.record(entry()) for _ in range(50)))
    reader = AuditReader(store)
    verdict = await reader.verify()
    assert (verdict.ok, verdict.entries, verdict.first_bad) == (True, 50, None)
    rows = await reader.page(limit=10)
    assert [row["seq"] for row in rows] == list(range(50, 40, -1))
    assert [row["seq"] for row in await reader.page(limit=10, before=5)] == [4, 3, 2, 1]


async def test_a_row_changed_in_the_database_is_found(journal: Journal, store: SqliteStore, tmp_path: Path) -> None:
    for _ in range(5):
        await journal.record(entry())
    other = sqlite3.connect(tmp_path / "o.db")
    other.execute("UPDATE audit SET actor = 'somebody else' WHERE seq = 3")
    other.commit()
    other.close()
    assert (await AuditReader(store).verify()).first_bad == 3


async def test_the_bus_hears_only_what_was_committed(journal: Journal, store: SqliteStore) -> None:
    heard: list[Event] = []
    done = asyncio.Event()

    def listen(event: Event) -> None:
        heard.append(event)
        if event.topic == "last":
            done.set()

    journal._bus.subscribe(">", listen, name="test")

    def failing(tx: Tx) -> tuple[None, list[Entry]]:
        add(tx, "x")
        raise ValueError("rolled back")

    with pytest.raises(ValueError, match="rolled back"):
        await journal.write(failing)
    await journal.record(entry("first"), entry("last"))
    await asyncio.wait_for(done.wait(), 5)
    assert [(e.seq, e.topic) for e in heard] == [(1, "first"), (2, "last")]


async def test_events_are_for_their_owner_and_the_daemons_own_for_key_holders(
    journal: Journal, store: SqliteStore
) -> None:
    """CONTRACT 1, "Whose"."""
    await journal.record(
        entry(owner="alice"), entry(owner="bob"), entry("plugin.loaded", None), entry(), entry("sandbox.started")
    )
    reader = AuditReader(store)

    async def seen(owner: str, kind: str, *scopes: Scope) -> list[int]:
        found, _ = await reader.events_after(0, Caller(owner, kind, frozenset(scopes), key_id="k"))
        return [e.seq for e in found]

    assert await seen("alice", "person", Scope.QUERY) == [1, 3]
    assert await seen("bob", "service", Scope.QUERY) == [2, 3]
    assert await seen(LOOPBACK, "loopback", Scope.QUERY) == [4]
    assert await seen("root", "person", Scope.ADMIN) == [1, 2, 3, 4, 5]


async def test_a_reader_never_skips_an_event_it_may_see(journal: Journal, store: SqliteStore) -> None:
    for n in range(25):
        await journal.record(entry(owner="alice" if n % 2 else "bob"))
    alice, seq, seen = Caller("alice", "person", frozenset({Scope.QUERY}), key_id="k"), 0, []
    reader = AuditReader(store)
    while True:
        found, following = await reader.events_after(seq, alice, limit=5)
        seen += [e.seq for e in found]
        if following == seq:
            break
        seq = following
    assert seen == list(range(2, 26, 2))
