"""I1 to I6: who may run, on what money, under which lock, once each, in order, and what is let go of at the end."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import RowMapping, and_, func, select

from orchestrator.governance.commands.machine import TERMINAL
from orchestrator.governance.invariants.findings import Finding, judged
from orchestrator.storage import schema
from orchestrator.storage.port import Tx

_PERMITTED = ("sandbox.started", "query.completed")


def permission(tx: Tx) -> Finding:
    """I1: what ran was approved by a person for just this plan, or covered by a person's grant."""
    persons = set(tx.execute(select(schema.identities.c.id).where(schema.identities.c.kind == "person")).scalars())
    by_grant = set(tx.execute(select(schema.grants.c.id).where(schema.grants.c.granted_by.in_(persons))).scalars())
    a, v, t = schema.approvals.c, schema.plan_versions.c, schema.attempts.c
    joined = schema.approvals.join(
        schema.plan_versions, and_(v.command_id == a.command_id, v.version == a.plan_version, v.digest == a.digest)
    )
    consumed = select(a.command_id, a.plan_version, a.decided_by).select_from(joined).where(a.state == "consumed")
    good = {(row[0], row[1]) for row in tx.execute(consumed) if row[2] in persons}
    ran = {(row[0], row[1]) for row in tx.execute(select(t.command_id, t.plan_version).distinct())}
    free = _without_approval(tx)
    audit = schema.audit.c
    named = tx.execute(
        select(audit.seq, audit.action, audit.approval_id)
        .where(audit.action.in_(_PERMITTED), audit.outcome.in_(("ok", "started")))
    ).all()  # fmt: skip
    approved = set(tx.execute(select(a.id).where(a.decided_by.in_(persons))).scalars())
    broken = [f"plan {version} of the command {one} ran without a consumed approval of its digest by a person"
              for one, version in sorted(ran - good) if one not in free]  # fmt: skip
    broken += [f"audit row {row.seq}: {row.action} names no approval or grant of a person"
               for row in named if row.approval_id not in by_grant and row.approval_id not in approved]  # fmt: skip
    says = "every execution rests on a person's approval of its digest, or a person's grant"
    return judged("I1", says, f"{len(ran)} runs of plans, {len(named)} executions and queries", broken)


def _without_approval(tx: Tx) -> set[str]:
    """Commands of which no step needs an approval, since a grant covers each."""
    c = schema.execution_plans.c
    needs = set(tx.execute(select(c.command_id).where(c.requires_approval).distinct()).scalars())
    return set(tx.execute(select(c.command_id).distinct()).scalars()) - needs


def money(tx: Tx) -> Finding:
    """I2: no more is held than may be spent, and what budgets hold is what commands hold.

    What a step used past its estimate is booked, so that a budget may be past its cap with nothing held.
    """
    held: dict[str, tuple[int, int]] = {}
    r = schema.reservations.c
    for scope, micros, tokens in tx.execute(
        select(r.scope, func.sum(r.micros), func.sum(r.tokens)).group_by(r.scope)
    ):  # fmt: skip
        held[scope] = (int(micros), int(tokens))
    rows = tx.execute(select(schema.budgets)).mappings().all()
    broken = [told for row in rows for told in _overdrawn(row, held.pop(row["scope"], (0, 0)))]
    broken += [f"{scope} is held from, and is no budget" for scope in held]
    return judged("I2", "reserved and spent stay within every cap", f"{len(rows)} budgets", broken)


def _overdrawn(row: RowMapping, held: tuple[int, int]) -> Iterator[str]:
    for kind, by_commands in zip(("micros", "tokens"), held, strict=True):
        cap, reserved, spent = row[f"cap_{kind}"], row[f"reserved_{kind}"], row[f"spent_{kind}"]
        if reserved != by_commands:
            yield f"{row['scope']} has {reserved} {kind} reserved, and commands hold {by_commands}"
        if min(reserved, spent) < 0 or (cap is not None and reserved > 0 and reserved + spent > cap):
            yield f"{row['scope']} has {reserved} + {spent} {kind} reserved and spent of {cap}"


def locks(tx: Tx) -> Finding:
    """I3: one holder of a scope, or many that share it; tokens only grow."""
    last = dict(tx.execute(select(schema.fences.c.scope, schema.fences.c.last)).all())
    by_scope: dict[str, list[RowMapping]] = defaultdict(list)
    for row in tx.execute(select(schema.scope_locks)).mappings():
        by_scope[row["scope"]].append(row)
    broken = []
    for scope, rows in by_scope.items():
        if len(rows) > 1 and any(row["mode"] == "exclusive" for row in rows):
            broken.append(f"{scope} has {len(rows)} holders, one of them alone")
        tokens = [row["token"] for row in rows]
        if len(set(tokens)) < len(tokens) or max(tokens) > last.get(scope, 0):
            broken.append(f"{scope} has the tokens {sorted(tokens)}, and the newest given out is {last.get(scope, 0)}")
    return judged("I3", "a scope has one holder, or sharing ones; tokens grow", f"{len(last)} scopes", broken)


def outcomes(tx: Tx) -> Finding:
    """I4: each attempt has one outcome, and nothing is tried again that completed."""
    rows = tx.execute(select(schema.attempts).order_by(schema.attempts.c.attempt)).mappings().all()
    live = set(tx.execute(select(schema.commands.c.id).where(schema.commands.c.status == "executing")).scalars())
    completed: set[tuple[Any, ...]] = set()
    broken = []
    for row in rows:
        step = (row["command_id"], row["plan_version"], row["step_index"])
        told = f"attempt {row['attempt']} at step {row['step_index']} of the command {row['command_id']}"
        if (row["ended_at"] is None) != (row["outcome"] is None):
            broken.append(f"{told} has half an end")
        if row["ended_at"] is None and row["command_id"] not in live:
            broken.append(f"{told} is under way, and its command is not")
        if step in completed:
            broken.append(f"{told} came after one that completed")
        if row["outcome"] == "completed":
            completed.add(step)
    return judged("I4", "one outcome an attempt, and nothing again that completed", f"{len(rows)} attempts", broken)


def order(tx: Tx) -> Finding:
    """I5: no step ran before those that it depends on had completed."""
    t = schema.attempts.c
    began: dict[tuple[str, int, int], str] = {}
    done: dict[tuple[str, int], str] = {}
    for row in tx.execute(select(schema.attempts).order_by(t.plan_version, t.attempt.desc())).mappings():
        began[row["command_id"], row["plan_version"], row["step_index"]] = row["started_at"]
        if row["outcome"] == "completed":
            done[row["command_id"], row["step_index"]] = row["ended_at"]
    steps = tx.execute(
        select(schema.execution_plans, schema.commands.c.plan_version)
        .join(schema.commands, schema.commands.c.id == schema.execution_plans.c.command_id)
    ).mappings().all()  # fmt: skip
    places = {(step["command_id"], step["step_id"]): step for step in steps}
    broken = []
    for step in steps:
        start = began.get((step["command_id"], step["plan_version"], step["step_index"]))
        for name in step["dependencies"] if start is not None else ():
            before = places.get((step["command_id"], name))
            end = None if before is None else done.get((step["command_id"], before["step_index"]))
            if before is None or before["status"] != "completed" or end is None or end > str(start):
                broken.append(f"step {step['step_id']} of the command {step['command_id']} ran before {name} completed")
    return judged("I5", "nothing ran before what it depends on", f"{len(steps)} steps", broken)


def released(tx: Tx) -> Finding:
    """I6: a command that has ended holds no lock, no money, and no step that seems to run."""
    ended = select(schema.commands.c.id).where(schema.commands.c.status.in_(TERMINAL))
    count = tx.execute(select(func.count()).select_from(ended.subquery())).scalar_one()
    held = (
        ("a lock", select(schema.scope_locks.c.holder).where(schema.scope_locks.c.holder.in_(ended))),
        ("a reservation", select(schema.reservations.c.command_id).where(schema.reservations.c.command_id.in_(ended))),
        (
            "a running step",
            select(schema.execution_plans.c.command_id)
            .where(schema.execution_plans.c.status == "running", schema.execution_plans.c.command_id.in_(ended)),
        ),
    )  # fmt: skip
    broken = [f"the command {one} has ended and holds {what}" for what, query in held
              for one in tx.execute(query.distinct()).scalars()]  # fmt: skip
    return judged("I6", "what has ended holds nothing", f"{count} ended commands; containers are `sandbox`'s", broken)


CHECKS = (permission, money, locks, outcomes, order, released)
