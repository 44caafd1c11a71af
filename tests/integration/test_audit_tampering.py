"""A log of 10,000 rows: flip, delete, reorder, truncate, each found (REQUIREMENTS 3.2 "audit tampering", I8)."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from orchestrator.audit import chain
from orchestrator.audit.anchors import Anchors, anchor_head, known
from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.audit.reading import AuditReader, Verdict
from orchestrator.bus.local import LocalBus
from orchestrator.kernel.clock import FakeClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.schema import audit
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite import SqliteStore
from orchestrator.testing.daemons import NO_ENGINE, running

MANY = 10_000
EVERY = 500


class Log:
    """A store with its journal and anchors, as a daemon has them."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.clock = FakeClock()
        self.supervisor = Supervisor()
        self.store = SqliteStore(state / "o.db", state / "b.db", StorageSettings(), Metrics(), self.clock)
        self.journal = Journal(self.store, LocalBus(self.supervisor, Metrics()), self.clock)
        self.anchors = Anchors(state, self.clock)

    async def verify(self) -> Verdict:
        return await AuditReader(self.store, lambda: known(self.anchors, self.journal)).verify()

    async def close(self) -> None:
        await self.store.close()
        await self.supervisor.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with such a log, anchored every 500 rows."""
    return tmp_path_factory.mktemp("log") / "state"


@pytest.fixture
async def log(written: Path, tmp_path: Path) -> AsyncIterator[Log]:
    if not written.exists():
        written.mkdir()
        first = Log(written)
        for start in range(0, MANY, EVERY):
            await first.journal.record(*(Entry("query.completed", f"q{start + n}", "a") for n in range(EVERY)))
            anchor_head(first.anchors, first.journal)
        await first.close()
    shutil.copytree(written, tmp_path / "state")
    opened = Log(tmp_path / "state")
    await opened.journal.open()
    yield opened
    await opened.close()


async def change(log: Log, statement: str) -> None:
    await log.store.write(lambda tx: tx.exec_driver_sql(statement) and None)


async def test_one_that_nobody_touched_holds_and_is_anchored_to_its_end(log: Log) -> None:
    assert await log.verify() == Verdict(ok=True, entries=MANY, first_bad=None, anchored=MANY, forged=0)


@pytest.mark.parametrize("column", [name for name in chain.COLUMNS if name != "seq"])
async def test_a_changed_field_is_found_in_its_row(log: Log, column: str) -> None:
    for seq in (1, 4711, MANY):
        await change(log, f"UPDATE audit SET {column} = 'x' || coalesce({column}, '') WHERE seq = {seq}")
        assert (await log.verify()).first_bad == seq
        await change(log, f"UPDATE audit SET {column} = nullif(substr({column}, 2), '') WHERE seq = {seq}")


@pytest.mark.parametrize("seq", [1, 4711, MANY - 1])
async def test_a_row_that_is_gone_is_found(log: Log, seq: int) -> None:
    await change(log, f"DELETE FROM audit WHERE seq = {seq}")
    assert (await log.verify()).first_bad == seq


async def test_rows_that_changed_places_are_found(log: Log) -> None:
    await change(log, "UPDATE audit SET seq = -1 WHERE seq = 100")
    await change(log, "UPDATE audit SET seq = 100 WHERE seq = 101")
    await change(log, "UPDATE audit SET seq = 101 WHERE seq = -1")
    assert (await log.verify()).first_bad == 100


@pytest.mark.parametrize("left", [0, 1, 4711, MANY - 1])
async def test_an_end_that_was_cut_off_is_found_by_the_next_daemon_too(log: Log, left: int) -> None:
    """A chain alone does not show it: the anchors outside the database do."""
    await change(log, f"DELETE FROM audit WHERE seq > {left}")
    assert (await log.verify()).first_bad == left + 1
    await log.journal.open()  # another life: it knows nothing but what is on disk
    verdict = await log.verify()
    assert (verdict.ok, verdict.first_bad, verdict.entries) == (False, left + 1, left)


async def test_an_end_that_was_cut_off_and_written_anew_is_found(log: Log) -> None:
    """However many rows follow, and whatever is anchored after them."""
    await change(log, f"DELETE FROM audit WHERE seq > {MANY - 3}")
    await log.journal.open()
    await log.journal.record(*(Entry("query.completed", "forged", "a") for _ in range(10)))
    anchor_head(log.anchors, log.journal)
    verdict = await log.verify()
    assert (verdict.ok, verdict.first_bad) == (False, MANY)


async def test_a_whole_chain_that_was_made_anew_is_found(log: Log) -> None:
    """Somebody who can write all rows can make a chain that holds; he cannot sign the anchors of it."""

    def forge(tx: Connection) -> None:
        prev = chain.GENESIS
        rows: list[dict[str, Any]] = [dict(row) for row in tx.execute(select(audit).order_by(audit.c.seq)).mappings()]
        for row in rows:
            row.update(actor="b", prev_hash=prev)
            row["hash"] = prev = chain.link(row, prev)
        tx.execute(audit.delete())
        tx.execute(audit.insert(), rows)

    await log.store.write(forge)
    await log.journal.open()
    assert (await log.verify()).first_bad == EVERY  # the first row that was anchored


async def test_anchors_that_were_changed_are_found_and_cut_off_ones_are_no_forgery(log: Log) -> None:
    file = log.state / "audit.anchors"
    assert file.stat().st_mode & 0o077 == 0
    good = file.read_bytes()
    file.write_bytes(good[:-20])  # as a crash leaves it
    assert (await log.verify()).ok
    file.write_bytes(good.replace(b'"seq":500,', b'"seq":501,'))
    verdict = await log.verify()
    assert (verdict.ok, verdict.first_bad, verdict.forged) == (False, None, 1)
    file.write_bytes(b"\x00\xff{}\n[]\n1\n" + b"x" * 5000 + b"\n" + good)
    assert (await log.verify()).ok


async def test_a_daemon_anchors_what_it_wrote_when_it_ends_and_says_so(tmp_path: Path) -> None:
    """POST /v1/audit/verify; nothing of the key is in the database."""
    settings = {"bundled": False, "sandbox__docker_host": NO_ENGINE}
    async with running(tmp_path / "state", **settings) as daemon:
        verdict = (await daemon.admin.post("/v1/audit/verify")).json
        assert (verdict["ok"], verdict["first_bad"], verdict["forged"]) == (True, None, 0)
        assert verdict["anchored"] == verdict["entries"] > 0
    found = Anchors(tmp_path / "state", FakeClock()).read().last
    assert found is not None
    async with running(tmp_path / "state", **settings) as daemon:
        delete = f"DELETE FROM audit WHERE seq >= {found.seq}"
        await daemon.daemon.rooms.store.write(lambda tx: tx.exec_driver_sql(delete) and None)
        cut = (await daemon.admin.post("/v1/audit/verify")).json
        assert (cut["ok"], cut["first_bad"]) == (False, found.seq)
