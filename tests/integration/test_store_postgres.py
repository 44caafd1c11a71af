"""What only a server can do to its store: refuse it, crash under it, keep silent, serve another daemon (R0-03, X-21)."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import insert, select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.audit.reading import AuditReader
from orchestrator.bus.local import LocalBus
from orchestrator.contracts.errors import StartRefused, Unavailable
from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage import opening
from orchestrator.storage.connecting import Facts, unfit
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.postgres import PostgresStore
from orchestrator.storage.schema import identities
from orchestrator.storage.settings import StorageSettings
from tests.own_engine import own_folder
from tests.own_postgres import Server, running_server, without_password


def add(tx: Tx, name: str) -> str:
    tx.execute(insert(identities), {"id": name, "kind": "person", "name": name, "created_at": "now"})
    return name


async def names(store: Store) -> list[str]:
    return await store.read(lambda tx: list(tx.execute(select(identities.c.id)).scalars()))


def settings(url: str, **more: int) -> StorageSettings:
    return StorageSettings(url=SecretStr(url), **{"busy_timeout_ms": 300, **more})


@asynccontextmanager
async def opened(url: str, **more: int) -> AsyncIterator[PostgresStore]:
    supervisor = Supervisor()
    store = await PostgresStore.open(settings(url, **more), Metrics(), supervisor)
    try:
        yield store
    finally:
        await store.close()
        await supervisor.close()


async def refused(url: str, **more: int) -> str:
    """Why the store does not open; nothing of the password is in it."""
    with pytest.raises(StartRefused) as caught:
        async with opened(url, **more):
            pass
    assert without_password(str(caught.value))
    assert without_password(repr(caught.value.__cause__))
    return caught.value.detail


@pytest.fixture
async def url(postgres_server: Server) -> AsyncIterator[str]:
    async with postgres_server.database() as name:
        yield postgres_server.url(name)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's."""
    with own_folder() as folder:
        yield folder


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may crash."""
    with running_server() as server:
        yield server


async def test_a_wrong_password_is_told_with_what_would_mend_it(postgres_server: Server) -> None:
    told = await refused(postgres_server.url("postgres", password="wr0ng"))
    assert "password authentication failed" in told
    assert "PGPASSWORD" in told
    assert "wr0ng" not in told


async def test_a_database_that_is_not_there_is_told(postgres_server: Server) -> None:
    assert "createdb" in await refused(postgres_server.url("nowhere"))


async def test_a_server_that_is_not_there_is_told(tmp_path: Path, postgres_server: Server) -> None:
    assert "the server is not reached" in await refused(postgres_server.url("postgres", folder=tmp_path))
    assert "the server is not reached" in await refused("postgresql://me@127.0.0.1:1/base")


@pytest.mark.parametrize("address", ["postgresql://me:p@ss/wörd@host/base", "postgresql://me:wörd@host:port/base"])
async def test_an_address_that_cannot_be_understood_is_told_and_not_repeated(address: str) -> None:
    told = await refused(address)
    assert "storage.url" in told
    assert "wörd" not in told


async def test_a_user_without_rights_is_told(postgres_server: Server) -> None:
    database = await postgres_server.new_database()
    connection = await postgres_server.connect(database)
    await connection.execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'g'")
    await connection.close()
    assert "make it the owner" in await refused(postgres_server.url(database, user="guest", password="g"))
    connection = await postgres_server.connect(database)
    await connection.execute(f"GRANT CREATE ON DATABASE {database} TO guest")
    await connection.close()
    told = await refused(postgres_server.url(database, user="guest", password="g"))
    assert "permission denied for schema public" in told
    assert "owner of the database" in told


async def test_a_database_in_another_encoding_is_refused(postgres_server: Server) -> None:
    database = await postgres_server.new_database("ENCODING 'LATIN1' TEMPLATE template0")
    assert "encoded in LATIN1" in await refused(postgres_server.url(database))


async def test_the_doctor_looks_at_the_server(url: str, tmp_path: Path) -> None:
    assert re.fullmatch(r"PostgreSQL \d+\.\d+", await opening.look(settings(url)))
    assert await opening.look(StorageSettings()) == "SQLite, in the state directory"
    with pytest.raises(StartRefused, match="the server is not reached"):
        await opening.look(settings(f"postgresql://me@/base?host={tmp_path}"))


async def test_a_driver_that_is_not_installed_is_told_with_how_to_get_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "orchestrator.storage.connecting")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StartRefused, match=r"asyncpg is not installed: pip install 'orchestratord\[cluster\]'"):
        await opening.look(settings(url))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Facts(150018, "UTF8", standby=False, may_create=True), None),
        (Facts(130000, "UTF8", standby=False, may_create=True), None),
        (Facts(120022, "UTF8", standby=False, may_create=True), "the server is PostgreSQL 12: version 13 or newer"),
        (Facts(150018, "SQL_ASCII", standby=False, may_create=True), "encoded in SQL_ASCII"),
        (Facts(150018, "UTF8", standby=True, may_create=True), "name the primary"),
        (Facts(150018, "UTF8", standby=False, may_create=False), "may not create"),
    ],
)
def test_which_servers_will_do(found: Facts, told: str | None) -> None:
    why = unfit(found)
    assert why is None if told is None else why is not None and told in why


async def test_it_is_durable_by_its_own_settings_whatever_the_databases_are(postgres_server: Server) -> None:
    """REQUIREMENTS 3.2: what is answered as written is on disk; two that write in turn see each other's rows."""
    database = await postgres_server.new_database()
    own = {"synchronous_commit": "on", "transaction_isolation": "read committed", "TimeZone": "UTC"}
    others = {"synchronous_commit": "off", "default_transaction_isolation": "serializable", "TimeZone": "Asia/Tokyo"}
    connection = await postgres_server.connect()
    for name, value in others.items():
        await connection.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    await connection.close()
    async with opened(postgres_server.url(database)) as store:
        for name, value in own.items():
            assert await store.write(lambda tx, name=name: tx.exec_driver_sql(f"SHOW {name}").scalar()) == value
        with pytest.raises(Unavailable, match="read-only"):
            await store.read(lambda tx: add(tx, "a"))


async def test_without_a_clock_of_its_own_the_time_is_the_servers(url: str) -> None:
    """REQUIREMENTS 3.3."""
    async with opened(url) as store:
        first, second = await store.write(lambda tx: (store.now(tx), store.now(tx)))
        assert len(first) == len("2026-01-02T03:04:05.678Z")
        assert "2026" <= first <= second


async def test_two_daemons_never_share_a_database(url: str) -> None:
    """R0-03: the second says who holds it; after the first has ended, another may."""
    async with opened(url) as first:
        assert "in use by another daemon (process " in await refused(url)
        await first.write(lambda tx: add(tx, "a"))
    async with opened(url) as second:
        assert await names(second) == ["a"]


async def test_a_daemon_whose_database_another_has_led_meanwhile_ends(url: str, postgres_server: Server) -> None:
    """X-24: what it knows of keys and grants is of the past. The chain of both holds."""
    supervisor, rival = Supervisor(), Supervisor()
    first = await PostgresStore.open(settings(url), Metrics(), supervisor)
    await record(first, supervisor, 3)
    waiting = rival.child("second", PostgresStore.open(settings(url, busy_timeout_ms=20_000), Metrics(), rival))
    lead = "FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = $1)"
    other, database = await postgres_server.connect(), url.partition("?")[0].rpartition("/")[2]
    async with asyncio.timeout(10):
        while not await other.fetch(f"SELECT pid {lead} AND NOT granted", database):
            pass
    await other.fetch(f"SELECT pg_terminate_backend(pid) {lead} AND granted", database)
    await other.close()
    second = await waiting
    await record(second, rival, 3)
    with pytest.raises(Unavailable, match=r"in use by another daemon|the connection is lost"):
        await first.write(lambda tx: add(tx, "late"))
    await second.close()
    assert await asyncio.wait_for(supervisor.failed, 10) == "store"
    with pytest.raises(Unavailable):
        await first.write(lambda tx: add(tx, "later"))
    await first.close()
    async with opened(url) as third:
        assert await names(third) == []
        verdict = await AuditReader(third).verify()
        assert (verdict.ok, verdict.entries) == (True, 6)
    await supervisor.close()
    await rival.close()


async def test_two_that_write_all_the_same_keep_one_chain(url: str) -> None:
    """The lock of each commit alone keeps the order, where somebody has stepped around the leader's."""
    supervisor = Supervisor()
    stores = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.storage.leading.take", lambda connection: None)
        for _ in range(2):
            stores.append(await PostgresStore.open(settings(url, busy_timeout_ms=20_000), Metrics(), supervisor))
    await asyncio.gather(*(record(store, supervisor, 25) for store in stores))
    verdict = await AuditReader(stores[0]).verify()
    assert (verdict.ok, verdict.entries) == (True, 50)
    for store in stores:
        await store.close()
    await supervisor.close()


async def test_a_batch_whose_session_ends_is_not_written_on_another_that_does_not_lead(url: str) -> None:
    """R0-03: neither the one that ended it nor those that shared its commit; the next one leads again, and is written."""
    async with opened(url) as store:
        for alone in (True, False):
            others = [] if alone else [store.write(lambda tx, n=n: add(tx, n)) for n in ("a", "b")]
            outcomes = await asyncio.gather(*others, store.write(end_own_session), return_exceptions=True)
            assert [getattr(outcome, "code", outcome) for outcome in outcomes] == ["store_unavailable"] * len(outcomes)
        assert await store.write(lambda tx: add(tx, "later")) == "later"
        assert await names(store) == ["later"]
        assert "in use by another daemon" in await refused(url)


def end_own_session(tx: Tx) -> None:
    tx.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_crash_of_the_server_loses_nothing_and_is_over_when_it_is_back(own_server: Server) -> None:
    """REQUIREMENTS 3.2, "DB unavailable": failures while it is down, told by health; then writing by itself."""
    async with opened(own_server.url("postgres")) as store:
        kept: list[str] = []
        for turn in range(3):
            for n in range(10):
                kept.append(await store.write(lambda tx, n=n, turn=turn: add(tx, f"{turn}-{n}")))
            own_server.stop()
            async with asyncio.timeout(10):
                while store.fault is None:
                    await asyncio.sleep(0)
            for n in range(3):
                with pytest.raises(Unavailable) as caught:
                    await store.write(lambda tx, n=n: add(tx, f"lost {n}"))
                assert caught.value.code == "store_unavailable"
                with pytest.raises(Unavailable):
                    await names(store)
            own_server.start()
            async with asyncio.timeout(10):
                while store.fault is not None:
                    await asyncio.sleep(0.01)
            assert sorted(await names(store)) == sorted(kept)


async def test_a_crash_under_load_loses_no_row_that_was_answered_as_written(own_server: Server) -> None:
    """REQUIREMENTS 3.2: no false success."""
    written: list[str] = []

    async def write(store: Store, who: int) -> None:
        for n in range(100_000):
            try:
                written.append(await store.write(lambda tx, n=n: add(tx, f"{who}-{n}")))
            except Unavailable:
                return

    async with opened(own_server.url("postgres")) as store:
        async with asyncio.TaskGroup() as group:
            for who in range(8):
                group.create_task(write(store, who))
            while len(written) < 200:
                await asyncio.sleep(0)
            await asyncio.to_thread(own_server.stop)
        own_server.start()
        assert set(written) <= set(await names(store))


async def test_a_commit_whose_outcome_nobody_knows_is_told_as_a_failure(
    url: str, postgres_server: Server, short: Path
) -> None:
    """REQUIREMENTS 3.2: the connection ends after COMMIT was sent and before its answer came."""
    through = url.replace(str(postgres_server.folder), str(short))
    async with Cutter(postgres_server.folder / SOCKET, short / SOCKET) as cutter, opened(through) as store:
        await store.write(lambda tx: add(tx, "before"))
        told: list[str] = []
        cutter.armed = True
        outcomes = await asyncio.gather(
            *(store.submit(lambda tx, n=n: add(tx, n), after=lambda n=n: told.append(n)) for n in ("a", "b")),
            return_exceptions=True,
        )
        assert [getattr(outcome, "code", outcome) for outcome in outcomes] == ["store_unavailable"] * 2
        assert told == []
        assert cutter.cut == 1
        assert await store.write(lambda tx: add(tx, "after")) == "after"
        assert {"before", "after"} <= set(await names(store)) <= {"before", "a", "b", "after"}


async def test_a_server_that_falls_silent_counts_as_lost(url: str, postgres_server: Server, short: Path) -> None:
    through = url.replace(str(postgres_server.folder), str(short))
    cutter = Cutter(postgres_server.folder / SOCKET, short / SOCKET)
    async with cutter, opened(through, silence_ms=500) as store:
        await store.write(lambda tx: add(tx, "before"))
        cutter.silent = True
        with pytest.raises(Unavailable, match="no answer in time"):
            await store.write(lambda tx: add(tx, "lost"))
        with pytest.raises(Unavailable):
            await names(store)
        assert store.fault is not None
        cutter.silent = False
        async with asyncio.timeout(20):
            while store.fault is not None:
                await asyncio.sleep(0.01)
        assert await names(store) == ["before"]


SOCKET = ".s.PGSQL.5432"


class Cutter:
    """Stands between store and server: hands a COMMIT on and hangs up before its answer; or hands nothing on at all."""

    def __init__(self, server: Path, socket: Path) -> None:
        self._server = server
        self._socket = socket
        self._ends: set[asyncio.StreamWriter] = set()
        self.armed = self.silent = False
        self.cut = 0

    async def __aenter__(self) -> "Cutter":
        self._listening = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for end in self._ends:
            end.close()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        self._ends |= {writer, to_server}
        await asyncio.gather(self._pass(reader, to_server, writer), self._pass(from_server, writer, to_server))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(2**16):
                if self.silent:
                    continue
                writer.write(data)
                if self.armed and b"COMMIT" in data:
                    self.armed, self.cut = False, self.cut + 1
                    await writer.drain()
                    back.close()
        except ConnectionError:
            back.close()
        finally:
            writer.close()


async def record(store: Store, supervisor: Supervisor, entries: int) -> None:
    journal = Journal(store, LocalBus(supervisor, Metrics()), SystemClock())
    await journal.open()
    for _ in range(entries):
        await journal.record(Entry("query.completed", "subject", "actor"))
