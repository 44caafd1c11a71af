"""Rows and histories of plans, on each backend."""

import pytest
from sqlalchemy import insert, text

from orchestrator.contracts.errors import Conflict, NotFound
from orchestrator.governance.plans import records
from orchestrator.storage import schema
from orchestrator.storage.port import Store
from tests.contract.stores import Ground

T0 = "2026-01-01T00:00:00.000Z"


def row(id: str, external: str, identity: str = "i", command: str | None = None) -> dict[str, object]:
    return {
        "id": id, "identity_id": identity, "external_id": external, "goal_id": "g", "command_id": command,
        "plan_ref": "0" * 64, "history_ref": None, "replaces": None, "superseded_by": None, "created_at": T0,
    }  # fmt: skip


async def test_a_plan_is_found_by_either_id_and_by_its_identity_alone(store: Store) -> None:
    """X-16."""
    await store.write(lambda tx: records.add(tx, row("u1", "plan_1")))
    await store.write(lambda tx: records.add(tx, row("u2", "plan_1", identity="other")))
    for named in ("plan_1", "u1"):
        assert (await store.read(lambda tx, named=named: records.load(tx, named, "i")))["id"] == "u1"
    for named in ("u2", "plan_2", "\0"):
        with pytest.raises(NotFound):
            await store.read(lambda tx, named=named: records.load(tx, named, "i"))
    for taken in ("plan_1", "u1"):
        with pytest.raises(Conflict):
            await store.write(lambda tx, taken=taken: records.add(tx, row("u3", taken)))


async def test_one_plan_takes_the_place_of_another_once(store: Store) -> None:
    """X-07."""
    await store.write(lambda tx: records.add(tx, row("u1", "plan_1")))
    old = await store.read(lambda tx: records.load(tx, "u1", "i"))
    await store.write(lambda tx: records.supersede(tx, old, "u2"))
    with pytest.raises(Conflict):
        await store.write(lambda tx: records.supersede(tx, old, "u3"))
    assert (await store.read(lambda tx: records.load(tx, "u1", "i")))["superseded_by"] == "u2"


async def test_a_history_is_found_by_its_index_however_long_the_log_is(store: Store, ground: Ground) -> None:
    """R1-23: in the order of the log, and only what is told of plans."""
    told = ("plan.created", "command.created", "plan.step_started", "query.completed", "plan.completed")
    rows = [
        {"seq": at, "id": f"e{at}", "topic": topic, "name": topic, "time": T0, "source": "daemon",
         "subject": "u1" if at <= 5 else f"x{at}", "data": {}} for at in range(1, 2001) for topic in [told[(at - 1) % 5]]
    ]  # fmt: skip
    await store.write(lambda tx: tx.execute(insert(schema.events), rows) and None)
    found = await store.read(lambda tx: records.history(tx, "u1"))
    assert [one["seq"] for one in found] == [1, 3, 5]
    if store.__class__.__name__ == "SqliteStore":
        query = "EXPLAIN QUERY PLAN SELECT * FROM events WHERE subject = 'u1' AND " + schema.PLAN_EVENTS.text
        plan = await store.read(lambda tx: tx.execute(text(query)).all())
        assert "events_of_plans" in str(plan)
