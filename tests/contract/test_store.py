"""What every store does, on each backend: durable, ordered, grouped, and each transaction alone in its fate (X-21)."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.contracts.errors import Invalid, NotFound, StartRefused, Unavailable
from orchestrator.kernel.clock import FakeClock
from orchestrator.storage import upgrading
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.bulk import insert_rows
from orchestrator.storage.migrate import migrate
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import METADATA, events, grants, identities
from orchestrator.storage.settings import StorageSettings
from tests.contract.stores import Ground

SETTINGS = StorageSettings()


def add(tx: Tx, name: str) -> str:
    tx.execute(insert(identities), {"id": name, "kind": "person", "name": name, "created_at": "now"})
    return name


async def names(store: Store) -> list[str]:
    return await store.read(lambda tx: [row.id for row in tx.execute(select(identities)).all()])


async def test_what_write_answered_is_there_for_another_program(store: Store, ground: Ground) -> None:
    assert await store.write(lambda tx: add(tx, "a")) == "a"
    assert await ground.rows("SELECT id FROM identities") == [("a",)]


async def test_what_is_read_next_is_what_was_written(store: Store) -> None:
    for n in range(20):
        await store.write(lambda tx, n=n: add(tx, f"n{n}"))
        assert len(await names(store)) == n + 1


async def test_transactions_are_run_in_the_order_in_which_they_came(store: Store) -> None:
    order: list[int] = []
    await asyncio.gather(*(store.write(lambda tx, n=n: order.append(n)) for n in range(50)))
    assert order == list(range(50))


async def test_in_one_commit_a_failing_transaction_takes_no_other_with_it(store: Store) -> None:
    await store.write(lambda tx: add(tx, "taken"))
    outcomes = await asyncio.gather(
        *(store.write(lambda tx, n=n: add(tx, "taken" if n % 3 == 0 else f"n{n}")) for n in range(30)),
        return_exceptions=True,
    )
    assert sum(isinstance(o, IntegrityError) for o in outcomes) == 10
    assert len(await names(store)) == 21


async def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    def half(tx: Tx) -> None:
        add(tx, "half")
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await store.write(half)
    assert await names(store) == []


async def test_after_is_called_in_commit_order_even_for_a_cancelled_caller(store: Store) -> None:
    told: list[str] = []
    writes = [store.submit(lambda tx, n=n: add(tx, n), after=lambda n=n: told.append(n)) for n in ("a", "b", "c")]
    writes[1].cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await store.write(lambda tx: None)
    assert told == ["a", "b", "c"]


async def test_parts_of_many_transactions_are_written_at_once_and_without_those_that_failed(store: Store) -> None:
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


async def test_a_bad_part_fails_its_own_transaction_alone(store: Store) -> None:
    def bulk(tx: Tx, items: list[str]) -> None:
        for item in items:
            add(tx, item)

    futures = [store.submit(None, (bulk, "same" if n in (3, 4) else f"n{n}")) for n in range(20)]
    await asyncio.gather(*futures, return_exceptions=True)
    failed = [n for n, f in enumerate(futures) if f.exception() is not None]
    assert failed == [4]
    assert len(await names(store)) == 19


async def test_writing_that_fails_as_it_must_not_fails_its_callers_and_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
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


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()
    with pytest.raises(Unavailable) as caught:
        await store.write(lambda tx: add(tx, "late"))
    assert caught.value.code == "store_unavailable"


async def test_what_was_asked_for_before_closing_is_written(store: Store, ground: Ground) -> None:
    writes = [store.submit(lambda tx, n=n: add(tx, f"n{n}")) for n in range(5)]
    await store.close()
    assert await asyncio.gather(*writes) == [f"n{n}" for n in range(5)]
    assert len(await ground.rows("SELECT id FROM identities")) == 5


async def test_a_listener_that_raises_keeps_nobody_waiting(store: Store) -> None:
    """R4-43: what was committed is told to everybody."""

    def broken() -> None:
        raise ValueError("on purpose")

    first = store.submit(lambda tx: add(tx, "a"), after=broken)
    assert await asyncio.wait_for(asyncio.gather(first, store.write(lambda tx: add(tx, "b"))), 5) == ["a", "b"]


async def test_of_many_at_once_none_takes_more_than_there_is(store: Store) -> None:
    """R4-43: the conditional update is the only guard that a budget needs."""
    row = {"id": "g", "kind": "k", "capabilities": [], "uses_left": 10, "granted_by": "p", "created_at": "now"}
    await store.write(lambda tx: tx.execute(insert(grants), row) and None)
    use = update(grants).where(grants.c.id == "g", grants.c.uses_left > 0).values(uses_left=grants.c.uses_left - 1)
    used = await asyncio.gather(*(store.write(lambda tx: tx.execute(use).rowcount) for _ in range(64)))
    assert sum(used) == 10
    assert await store.read(lambda tx: tx.execute(select(grants.c.uses_left)).scalar()) == 0


async def test_a_read_cannot_be_stopped_by_the_failure_of_another(store: Store) -> None:
    with pytest.raises(Unavailable) as caught:
        await store.read(lambda tx: tx.exec_driver_sql("SELECT nothing FROM nowhere"))
    assert caught.value.code == "store_unavailable"
    with pytest.raises(ValueError, match="on purpose"):
        await store.read(_raise)
    assert await names(store) == []


async def test_a_caller_who_leaves_while_reading_takes_nothing_along(store: Store) -> None:
    for _ in range(10):
        reads = [asyncio.get_running_loop().create_task(names(store)) for _ in range(5)]
        await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    assert await asyncio.gather(*(names(store) for _ in range(5))) == [[]] * 5


def _raise(_: Tx) -> None:
    raise ValueError("on purpose")


async def test_the_stores_time_is_its_own(store: Store, clock: FakeClock) -> None:
    """REQUIREMENTS 3.3: a fake in tests."""
    assert await store.write(store.now) == "2026-01-01T00:00:00.000Z"
    clock.advance(1.5)
    assert await store.read(store.now) == "2026-01-01T00:00:01.500Z"


VALUES: list[Any] = [
    {"text": "quote ' and \" and \\ and ; -- and % and ? and $1 and :x", "lines": "a\nb"},
    {"text": "ü 漢字 😀", "none": None, "yes": True, "big": 2**60, "tiny": 1.5e-9, "list": [1, [2, {}]]},
    {"nul": "a\x00b"},
    [],
    "a plain text",
]


@pytest.mark.parametrize("bulk", [True, False])
async def test_json_comes_back_as_it_went_in(store: Store, bulk: bool) -> None:
    rows = [event(seq, data=value) for seq, value in enumerate(VALUES, 1)]
    await store.write(lambda tx: insert_rows(tx, events, rows) if bulk else tx.execute(insert(events), rows) and None)
    found = await store.read(lambda tx: tx.execute(select(events.c.data).order_by(events.c.seq)).scalars().all())
    assert json.dumps(found) == json.dumps(VALUES)


async def test_texts_have_no_width_and_are_ordered_by_their_bytes(store: Store) -> None:
    ids = ["b", "B", "a-c", "ab", "ä", "x" * 5_000, ""]
    for name in ids:
        await store.write(lambda tx, name=name: add(tx, name))
    query = select(identities.c.id).order_by(identities.c.id)
    assert await store.read(lambda tx: tx.execute(query).scalars().all()) == sorted(ids, key=str.encode)


async def test_numbers_that_only_grow_have_64_bits(store: Store) -> None:
    """A busy daemon tells 2 ** 31 events in weeks."""
    await store.write(lambda tx: insert_rows(tx, events, [event(2**40)]))
    assert await store.read(lambda tx: tx.execute(select(events.c.seq)).scalar()) == 2**40


async def test_text_that_a_database_cannot_hold_is_the_callers_fault(store: Store) -> None:
    """CONTRACT 1: no input is answered with 5xx."""
    (outcome,) = await asyncio.gather(store.write(lambda tx: add(tx, "a\x00b")), return_exceptions=True)
    assert outcome == "a\x00b" or isinstance(outcome, Invalid)
    query = select(identities.c.id).where(identities.c.name == "a\x00b")
    (found,) = await asyncio.gather(store.read(lambda tx: tx.execute(query).first()), return_exceptions=True)
    assert isinstance(found, Invalid) == isinstance(outcome, Invalid)
    assert store.fault is None


async def test_many_rows_go_in_at_once_and_known_ones_are_passed_over(store: Store) -> None:
    rows = [event(seq) for seq in range(1, 8_001)]
    await store.write(lambda tx: insert_rows(tx, events, rows))
    await store.write(lambda tx: insert_rows(tx, events, [event(1, topic="other"), event(8_001)], ignore_known=True))
    found = await store.read(lambda tx: [tuple(row) for row in tx.execute(select(events.c.seq, events.c.topic))])
    assert (len(found), (1, "topic") in found) == (8_001, True)
    with pytest.raises(IntegrityError):
        await store.write(lambda tx: insert_rows(tx, events, [event(1)]))


def event(seq: int, **more: Any) -> dict[str, Any]:
    text = {name: name for name in ("id", "topic", "name", "time", "source")}
    return {"seq": seq, **text, "subject": None, "owner": None, "data": {}, **more}


async def test_migrations_build_exactly_the_tables(store: Store) -> None:
    assert await store.read(lambda tx: compare_metadata(MigrationContext.configure(tx), METADATA)) == []


async def test_migrations_go_both_ways(ground: Ground) -> None:
    """Up, down, up: nothing is left below, and the same is there above."""
    await ground.run(migrate)
    first = await ground.run(_described)
    assert {"events", "audit", "sessions", "blobs.blobs"} <= set(first)
    await ground.run(upgrading.downgrade)
    assert set(await ground.run(_described)) == {"alembic_version", "blobs.blobs"}
    await ground.run(migrate)
    assert await ground.run(_described) == first
    await ground.run(migrate)
    assert await ground.run(_described) == first


def _described(connection: Connection) -> dict[str, Any]:
    """All tables: their columns, keys and indexes, in words."""
    found, known = {}, inspect(connection)
    for schema in (None, "blobs"):
        for table in known.get_table_names(schema):
            columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in known.get_columns(table, schema)}
            indexes = sorted((str(i["name"]), *map(str, i["column_names"])) for i in known.get_indexes(table, schema))
            key = known.get_pk_constraint(table, schema)["constrained_columns"]
            found[f"{schema}.{table}" if schema else table] = (columns, indexes, key)
    return found


async def test_a_database_of_a_newer_version_is_left_alone(ground: Ground, clock: FakeClock) -> None:
    await ground.run(migrate)
    await ground.run(lambda tx: tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'") and None)
    with pytest.raises(StartRefused, match="newer version"):
        await ground.open(clock)


async def test_a_blob_is_found_by_its_content(store: Store) -> None:
    blobs = Blobs(store, SETTINGS, FakeClock())
    (one, two, again), part = blobs.part(b"one", b"two", b"one")
    await store.submit(None, part)
    assert one == again != two
    assert await blobs.get(two) == b"two"
    assert await blobs.put(b"one") == one
    with pytest.raises(NotFound):
        await blobs.get("0" * 64)


async def test_a_blob_past_the_bound_is_refused(store: Store) -> None:
    blobs = Blobs(store, StorageSettings(blob_max_bytes=2**20), FakeClock())
    with pytest.raises(Invalid):
        await blobs.put(b"x" * (2**20 + 1))
