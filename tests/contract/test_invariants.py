"""Each invariant is seen to be broken, on each store, when somebody plants what must not be (REQUIREMENTS 3.3)."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from orchestrator.audit import chain
from orchestrator.audit.anchors import Anchor, Anchored
from orchestrator.cli.invariants import findings
from orchestrator.contracts.errors import StartRefused
from orchestrator.governance.invariants.findings import Finding
from orchestrator.storage import schema
from orchestrator.storage.looking import look_into
from orchestrator.storage.port import Store, Tx
from tests.contract.stores import Ground

T0, T1, T2 = (f"2026-01-01T00:00:0{n}.000Z" for n in range(3))
NOTHING = Anchored({}, None, 0)


def add(tx: Tx, table: Any, **row: Any) -> None:
    tx.execute(insert(table), row)


def event(tx: Tx, seq: int, status: str, **data: Any) -> None:
    add(tx, schema.events, seq=seq, id=str(seq), topic="command.x", name="x", time=T0, source="daemon", subject="a",
        data={"status": status, **data})  # fmt: skip


def good(tx: Tx) -> None:
    """A command of two steps that has run as it should."""
    add(tx, schema.identities, id="p", kind="person", name="operator", created_at=T0)
    add(tx, schema.identities, id="r", kind="service", name="robot", created_at=T0)
    add(tx, schema.grants, id="g", kind="default", capabilities=[], granted_by="p", created_at=T0)
    add(tx, schema.commands, id="a", identity_id="p", context_id="c", sphere="personal", intent="i", status="completed",
        estimated_cost={}, created_at=T0, asked={}, approval_mode="plan", plan_version=1, updated_at=T0)  # fmt: skip
    add(tx, schema.plan_versions, command_id="a", version=1, digest="d", plan_ref="x", estimated_cost={}, created_at=T0)
    add(tx, schema.approvals, id="ap", command_id="a", plan_version=1, digest="d", state="consumed", requested_by="p",
        created_at=T0, expires_at=T2, decided_by="p", decided_at=T0)  # fmt: skip
    for at, (name, needs) in enumerate((("one", []), ("two", ["one"]))):
        add(tx, schema.execution_plans, id=name, command_id="a", step_index=at, agent_id="x", skill="s", tool="t",
            estimated_tokens=1, estimated_cost={}, requires_approval=True, status="completed", created_at=T0,
            step_id=name, type="tool", effects="pure", dependencies=needs)  # fmt: skip
        add(tx, schema.attempts, command_id="a", plan_version=1, step_index=at, attempt=1, fence=1,
            started_at=(T0, T1)[at], ended_at=(T1, T2)[at], outcome="completed")  # fmt: skip
    add(tx, schema.budgets, scope="context:c", cap_micros=10, cap_tokens=10, reserved_micros=0, reserved_tokens=0,
        spent_micros=2, spent_tokens=2)  # fmt: skip
    add(tx, schema.fences, scope="context:c", last=1)
    add(tx, schema.blobs, sha256="b", size=3, created_at=T0, data=b"{}!")
    reference = {"ref": "b", "sha256": "b", "size": 3, "type": "application/json"}
    add(tx, schema.execution_results, id="res", plan_step_id="one", agent_type="tool", output_reference=reference,
        token_usage=1, cost={}, created_at=T0, plan_version=1, state="proposed")  # fmt: skip
    for seq, status in enumerate(("created", "awaiting_approval", "approved", "executing", "completed"), 1):
        event(tx, seq, status)
    prev = chain.GENESIS
    for seq in (1, 2):
        row = {"seq": seq, "time": T0, "actor": "p", "action": "query.completed", "subject": "q", "outcome": "ok",
               "approval_id": "g", "data": "{}", "prev_hash": prev}  # fmt: skip
        row["hash"] = prev = chain.link(row, str(prev))
        add(tx, schema.audit, **row)


def change(table: Any, *where: Any, **values: Any) -> Callable[[Tx], None]:
    return lambda tx: tx.execute(update(table).where(*where).values(**values)) and None


def put(table: Any, **row: Any) -> Callable[[Tx], None]:
    return lambda tx: add(tx, table, **row)


a, e, t = schema.approvals.c, schema.execution_plans.c, schema.attempts.c
LOCK = {"scope": "context:c", "mode": "exclusive", "lease_until": T2}
HELD = {"reserved_tokens": 9}
PLANTED: list[tuple[str, Callable[[Tx], None]]] = [
    ("I1", change(schema.approvals, state="approved")),
    ("I1", change(schema.approvals, digest="another")),
    ("I1", change(schema.approvals, decided_by="r")),
    ("I1", change(schema.grants, granted_by="r")),
    ("I2", change(schema.budgets, **HELD)),
    ("I2", change(schema.budgets, spent_tokens=-1)),
    ("I2", put(schema.reservations, command_id="a", scope="context:c", micros=0, tokens=3)),
    ("I2", put(schema.reservations, command_id="a", scope="context:d", micros=0, tokens=3)),
    ("I3", lambda tx: [add(tx, schema.scope_locks, **LOCK, holder=one, token=n) for n, one in enumerate("xy")] and None),
    ("I3", put(schema.scope_locks, **LOCK, holder="x", token=2)),
    ("I4", change(schema.attempts, t.step_index == 0, outcome=None)),
    ("I4", change(schema.attempts, t.step_index == 0, outcome=None, ended_at=None)),
    ("I4", put(schema.attempts, command_id="a", plan_version=1, step_index=1, attempt=2, fence=1, started_at=T2,
               ended_at=T2, outcome="completed")),
    ("I5", change(schema.attempts, t.step_index == 1, started_at=T0)),
    ("I5", change(schema.execution_plans, e.step_id == "one", status="failed")),
    ("I6", put(schema.scope_locks, **LOCK, holder="a", token=1)),
    ("I6", put(schema.reservations, command_id="a", scope="context:c", micros=0, tokens=0)),
    ("I6", change(schema.execution_plans, e.step_id == "two", status="running")),
    ("I7", change(schema.commands, status="failed")),
    ("I7", change(schema.events, subject="b")),
    ("I8", change(schema.audit, schema.audit.c.seq == 2, actor="somebody")),
    ("I9", change(schema.execution_results, output_reference={"output": "the raw thing"})),
    ("I9", change(schema.execution_results, output_reference={"ref": "no", "sha256": "no", "size": 3, "type": "t"})),
    ("I9", lambda tx: event(tx, 6, "completed", stdout="the raw thing")),
    ("I10", lambda tx: event(tx, 6, "approved")),
    ("I10", change(schema.events, schema.events.c.seq == 1, data={"status": "executing"})),
]  # fmt: skip


async def checked(store: Store, known: Anchored = NOTHING) -> dict[str, Finding]:
    return {one.name: one for one in await store.read(lambda tx: findings(tx, known))}


async def test_an_empty_store_breaks_nothing(store: Store) -> None:
    assert [one.name for one in (await checked(store)).values() if one.holds is False] == []


async def test_what_has_run_as_it_should_breaks_nothing_and_all_of_it_is_counted(store: Store) -> None:
    """R4-41; what has no room yet says so."""
    await store.write(good)
    found = await checked(store)
    assert {name: one.broken for name, one in found.items() if one.broken} == {}
    assert list(found) == [f"I{n}" for n in range(1, 13)]
    assert [name for name, one in found.items() if one.holds is None] == ["I11", "I12"]
    assert found["I1"].counted == "1 runs of plans, 2 executions and queries"
    assert (found["I4"].counted, found["I10"].counted) == ("2 attempts", "4 moves")


async def test_whatever_is_planted_is_found_by_the_invariant_that_it_breaks(store: Store) -> None:
    """Each in turn, and taken back before the next."""
    await store.write(good)

    def work(tx: Tx) -> list[Finding]:
        found = []
        for name, plant in PLANTED:
            planted = tx.begin_nested()
            plant(tx)
            found.append({one.name: one for one in findings(tx, NOTHING)}[name])
            planted.rollback()
        return found

    found = await store.write(work)
    assert [(n, one.name) for n, one in enumerate(found) if one.holds is not False] == []
    assert all(one.broken[0] in one.detail for one in found)
    assert {name: one.broken for name, one in (await checked(store)).items() if one.broken} == {}


async def test_a_chain_that_was_cut_off_or_is_not_the_anchored_one_is_found(store: Store) -> None:
    """I8: to the last anchor."""
    await store.write(good)
    for known in (
        Anchored({}, Anchor(3, "x", T0), 0),
        Anchored({2: "another"}, Anchor(2, "another", T0), 0),
        Anchored({}, None, 1),
    ):
        assert (await checked(store, known))["I8"].holds is False


async def test_a_store_in_use_is_looked_into_and_cannot_be_written_that_way(store: Store, ground: Ground) -> None:
    """`doctor --invariants` beside a running daemon: one snapshot, read only."""
    await store.write(good)
    path, blobs = getattr(ground, "files", (Path("unused"), Path("unused")))

    def look(work: Callable[[Tx], Any]) -> Any:
        return look_into(ground.settings, path, blobs, work)

    found = await asyncio.to_thread(look, lambda tx: findings(tx, NOTHING))
    assert [one.name for one in found if one.holds] == [f"I{n}" for n in range(1, 11)]
    with pytest.raises(StartRefused, match=r"readonly|read-only"):
        await asyncio.to_thread(look, change(schema.commands, intent="another"))
    await store.write(change(schema.commands, intent="still writable"))
