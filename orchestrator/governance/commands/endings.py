"""How a step ends, within the caller's transaction: its row, its output, and what is told of it."""

from typing import Any

from sqlalchemy import RowMapping, insert, update

from orchestrator.audit.entries import Entry
from orchestrator.contracts.costs import Cost
from orchestrator.governance.commands import effects, failures, outputs, records
from orchestrator.governance.commands.drafts import DraftStep
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import execution_plans, execution_results


def keep_result(
    tx: Tx, row: RowMapping, step: DraftStep, reference: dict[str, Any], cost: Cost, now: str
) -> None:  # fmt: skip
    """A row of `execution_results`: a reference to the output, proposed until a person accepts it (R4-13, R4-50)."""
    kind = "hybrid" if step.step.type == "agent" else "tool"
    planned = records.step_of(tx, row["id"], step.index)
    result = {
        "id": new_id(), "plan_step_id": planned["id"], "agent_type": kind, "output_reference": reference,
        "token_usage": cost.tokens, "cost": cost.model_dump(mode="json"), "created_at": now,
        "plan_version": row["plan_version"], "state": "proposed",
    }  # fmt: skip
    tx.execute(insert(execution_results), result)
    outputs.propose(tx, row, step, reference, now)
    if step.effects in effects.KINDS:
        effects.answered(tx, row, step.index, reference["ref"])


def step_ended(
    tx: Tx, row: RowMapping, step: DraftStep, status: str, error: str | None, reason: str | None = None,
    cost: Cost | None = None, category: failures.Category = "crash",
) -> Entry:  # fmt: skip
    """Write how a step ended; the event and audit row that tell it, with what R4-32 wants in it."""
    here = (execution_plans.c.command_id == row["id"], execution_plans.c.step_index == step.index)
    why = category if status == "failed" else None
    values = {"status": status, "error": error and error[:4000], "skip_reason": reason, "category": why}
    tx.execute(update(execution_plans).where(*here).values(**values))
    used = cost or Cost()
    told: dict[str, Any] = {
        "metadata": {"stepIndex": step.index, "tokensUsed": used.tokens, "cost": used.model_dump(mode="json")},
        "agent_id": step.capability.agent_id if step.capability else None, "skill": step.step.name,
        "tool": step.capability.tool if step.capability else step.step.type, "error": error, "reason": reason,
        "category": why,
    }  # fmt: skip
    return records.event(row, f"command.step_{status}", "daemon", status, **told)


def alarm_of(row: RowMapping, step: DraftStep, told: dict[str, Any]) -> Entry:
    """An event for who watches: a limit is near."""
    return records.event(row, "command.alert", "daemon", told["limit"], metadata={"stepIndex": step.index}, **told)
