"""Versions of what steps put out: proposed until a person accepts, kept as history when not (R4-13, R4-14, R4-50).

Within the caller's transaction. Rows are added and decided, never replaced: going back is a new version, too.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import RowMapping, func, insert, select, update

from orchestrator.contracts.model import JsonObject
from orchestrator.governance.commands.drafts import DraftStep
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import execution_plans, execution_results, outputs


def propose(tx: Tx, row: RowMapping, step: DraftStep, reference: JsonObject, now: str) -> None:
    """Add what a step has put out as its next version. A wait puts nothing out that anybody could want."""
    if step.capability is not None:
        made = {"step_id": step.step.id, "plan_version": row["plan_version"], "effects": step.effects}
        _add(tx, row["id"], step.index, reference, now, **made, state="proposed")


def all_of(tx: Tx, command_id: str) -> Sequence[RowMapping]:
    """All versions of all steps, by step and version."""
    c = outputs.c
    query = select(outputs).where(c.command_id == command_id).order_by(c.step_index, c.version)
    return tx.execute(query).mappings().all()


def of_step(tx: Tx, command_id: str, step_index: int) -> list[RowMapping]:
    """The versions of one step, oldest first."""
    return [row for row in all_of(tx, command_id) if row["step_index"] == step_index]


def decide(tx: Tx, output: RowMapping, state: str, person: str, now: str, notes: str | None = None) -> None:
    """Write what a person decided of a version. One that becomes active takes the place of the one that was."""
    if state == "active":
        _supersede(tx, output)
    values = {"state": state, "decided_by": person, "decided_at": now, "notes": notes}
    tx.execute(update(outputs).where(*_this(output)).values(**values))
    c, of = execution_results.c, execution_plans.c
    here = (of.command_id == output["command_id"], of.step_index == output["step_index"])
    same = (c.plan_step_id.in_(select(of.id).where(*here)), c.plan_version == output["plan_version"])
    tx.execute(update(execution_results).where(*same).values(state=state))


def roll_back(tx: Tx, active: RowMapping, to: RowMapping, person: str, now: str, notes: str | None) -> int:
    """Make what an earlier version says the newest one, in force at once; its number."""
    _supersede(tx, active)
    names = ("step_id", "plan_version", "effects")
    more = {"rolled_back_to": to["version"], "decided_by": person, "decided_at": now, "notes": notes}
    same = {name: to[name] for name in names}
    return _add(
        tx, to["command_id"], to["step_index"], to["output_reference"], now, **same, **more, state="active"
    )  # fmt: skip


def abandon(tx: Tx, command_id: str, keep: Collection[str], state: str, now: str) -> None:
    """What was proposed by steps that are not kept is not wanted any more: it stays as history alone."""
    c = outputs.c
    over = (c.command_id == command_id, c.state == "proposed", c.step_id.not_in(keep))
    tx.execute(update(outputs).where(*over).values(state=state, decided_at=now))
    r, of = execution_results.c, execution_plans.c
    steps = select(of.id).where(of.command_id == command_id, of.step_id.not_in(keep))
    same = (r.plan_step_id.in_(steps), r.state == "proposed")
    tx.execute(update(execution_results).where(*same).values(state=state))


def _add(tx: Tx, command_id: str, step_index: int, reference: JsonObject, now: str, **more: Any) -> int:
    c = outputs.c
    last = select(func.max(c.version)).where(c.command_id == command_id, c.step_index == step_index)
    version = 1 + int(tx.execute(last).scalar() or 0)
    row = {
        "command_id": command_id, "step_index": step_index, "version": version, "output_reference": reference,
        "created_at": now, "rolled_back_to": None, "decided_by": None, "decided_at": None, "notes": None, **more,
    }  # fmt: skip
    tx.execute(insert(outputs), row)
    return version


def _supersede(tx: Tx, output: RowMapping) -> None:
    c = outputs.c
    before = (c.command_id == output["command_id"], c.step_index == output["step_index"], c.state == "active")
    tx.execute(update(outputs).where(*before).values(state="superseded"))


def _this(output: RowMapping) -> tuple[Any, ...]:
    c = outputs.c
    return (
        c.command_id == output["command_id"], c.step_index == output["step_index"], c.version == output["version"]
    )  # fmt: skip
