"""Reading and writing commands within a transaction, and what of them is told as events and in the audit."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.contracts.commands import CreateCommand
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import NotFound
from orchestrator.contracts.model import JsonObject
from orchestrator.governance import incidents
from orchestrator.governance.commands import approvals, journal
from orchestrator.governance.commands.machine import Act, Status, lead
from orchestrator.governance.identities import Context
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import admissions, commands, execution_plans, execution_results, plan_versions

NAMES = {
    "command.created": "COMMAND.CREATED",
    "command.planned": "COMMAND.PLANNED",
    "command.approved": "COMMAND.APPROVED",
    "command.execution_started": "COMMAND.EXECUTION.STARTED",
    "command.step_completed": "COMMAND.STEP.COMPLETED",
    "command.execution_completed": "COMMAND.EXECUTION.COMPLETED",
    "command.execution_failed": "COMMAND.EXECUTION.FAILED",
    "command.cancelled": "COMMAND.CANCELLED",
}
"""Seed 004's names of events, by topic (R4-23 to R4-30)."""


def new_row(asked: CreateCommand, context: Context, now: str) -> JsonObject:
    """The row of a command that is taken in: nothing is planned yet."""
    return {
        "id": new_id(), "identity_id": context.identity_id, "context_id": context.id,
        "sphere": asked.target_sphere or context.sphere, "intent": asked.intent, "status": "created",
        "estimated_cost": Cost().model_dump(mode="json"), "created_at": now, "updated_at": now,
        "asked": asked.model_dump(mode="json", exclude={"intent"}), "approval_mode": asked.approval_mode,
        "plan_version": 0, "execution_id": None, "decision": None, "resolution": None, "failure": None,
    }  # fmt: skip


def load(tx: Tx, command_id: str, identity_id: str | None = None) -> RowMapping:
    """A command's row. Raises `NotFound` for one that there is not, and for another identity's."""
    row = tx.execute(select(commands).where(commands.c.id == command_id)).mappings().first()
    if row is None or identity_id not in (None, row["identity_id"]):
        raise NotFound("no such command")
    return row


def move(tx: Tx, row: RowMapping, act: Act, to: Status, now: str, **values: Any) -> RowMapping:
    """Take a command to its next state, in one update that holds only from the state that was read."""
    status = lead(act, row["status"], to, row["resolution"])
    here = (commands.c.id == row["id"], commands.c.status == row["status"])
    done = tx.execute(update(commands).where(*here).values(status=status, updated_at=now, **values))
    assert done.rowcount == 1, "the writer is alone: nobody changed it in between"
    return load(tx, row["id"])


def event(row: RowMapping, topic: str, actor: str, outcome: str = "ok", **data: Any) -> Entry:
    """What is told and audited of a command; `metadata` and `approval_id` as seed 004 and CONTRACT 1 have them."""
    approval_id = data.pop("approval_id", None)
    payload = {
        "commandId": row["id"], "identityId": row["identity_id"], "contextId": row["context_id"],
        "sphere": row["sphere"], "status": row["status"], "timestamp": row["updated_at"], **data,
    }  # fmt: skip
    return Entry(topic, row["id"], actor, outcome, payload, row["identity_id"], approval_id, NAMES.get(topic))


def violation(tx: Tx, row: RowMapping, kind: str, detail: str, now: str) -> Entry:
    """What is told of a command that was stopped hard: an incident, of which its identity hears, too (R4-33)."""
    return incidents.opened(tx, kind, row["id"], detail, now, row["identity_id"])


def replace_plan(
    tx: Tx, command_id: str, steps: Sequence[JsonObject], version: JsonObject, keep: Collection[str] = ()
) -> None:
    """Make this the plan of a command; its earlier ones stay on record in `plan_versions`.

    Steps whose ids are in `keep` are those of the plan before: their rows stay, with their outputs.
    """
    c = execution_plans.c
    tx.execute(delete(execution_plans).where(c.command_id == command_id, c.step_id.not_in(keep)))
    for at, step_id in sorted((step["step_index"], step["step_id"]) for step in steps if step["step_id"] in keep):
        here = (c.command_id == command_id, c.step_id == step_id)  # a step that was left out moves the others up
        tx.execute(update(execution_plans).where(*here).values(step_index=at))
    if new := [step for step in steps if step["step_id"] not in keep]:
        tx.execute(insert(execution_plans), new)
    tx.execute(insert(plan_versions), version)


def steps_of(tx: Tx, command_id: str) -> list[RowMapping]:
    """The steps of a command's plan in their order."""
    query = select(execution_plans).where(execution_plans.c.command_id == command_id)
    return list(tx.execute(query.order_by(execution_plans.c.step_index)).mappings())


def step_of(tx: Tx, command_id: str, index: int) -> RowMapping:
    """One step of a command's plan."""
    c = execution_plans.c
    return tx.execute(select(execution_plans).where(c.command_id == command_id, c.step_index == index)).mappings().one()


def results_of(tx: Tx, command_id: str) -> dict[str, RowMapping]:
    """The newest result of each step, by the step row's id."""
    query = (
        select(execution_results)
        .join(execution_plans, execution_plans.c.id == execution_results.c.plan_step_id)
        .where(execution_plans.c.command_id == command_id)
        .order_by(execution_results.c.id)
    )
    return {row["plan_step_id"]: row for row in tx.execute(query).mappings()}


def version_of(tx: Tx, command_id: str, version: int) -> RowMapping:
    """One version of a command's plan. Raises `NotFound` where it has none yet."""
    c = plan_versions.c
    query = select(plan_versions).where(c.command_id == command_id, c.version == version)
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFound("it has no plan yet")
    return row


def is_admission(tx: Tx, command_id: str) -> bool:
    """Whether a command is a query or an execution that waited for a person, so that it runs by itself."""
    query = select(admissions.c.id).where(admissions.c.command_id == command_id)
    return tx.execute(query).first() is not None


def stop_steps(tx: Tx, row: RowMapping, now: str, why: str) -> None:
    """Of a command that ends before its plan: what ran has failed, and what did not begin is skipped."""
    c = execution_plans.c
    here = c.command_id == row["id"]
    ended = {"status": "failed", "error": why, "category": "crash"}
    tx.execute(update(execution_plans).where(here, c.status == "running").values(**ended))
    left = {"status": "skipped", "error": why, "skip_reason": "cancelled"}
    tx.execute(update(execution_plans).where(here, c.status.in_(("pending", "approved"))).values(**left))
    for attempt in journal.under_way(tx, row["id"], row["plan_version"]):
        journal.end(tx, row["id"], row["plan_version"], attempt["step_index"], now, why)


_INSIDE = ("asked", "execution_context")


def view(row: RowMapping) -> JsonObject:
    """A command as clients see it."""
    told = {name: row[name] for name in row if name not in _INSIDE}
    awaits = row["status"] in ("awaiting_approval", "approved")
    undecided = row["status"] == "failed" and row["resolution"] is None
    return {**told, "open": awaits or undecided}


def status_view(row: RowMapping) -> JsonObject:
    """What `GET …/status` answers."""
    whole = view(row)
    return {name: whole[name] for name in ("id", "status", "decision", "resolution", "open", "execution_id", "failure")}


def expires_at(tx: Tx, command_id: str) -> str | None:
    """When the approval that is asked for, or was given and not used, ends."""
    found = approvals.current(tx, command_id)
    return None if found is None or found["state"] not in ("pending", "approved") else found["expires_at"]
