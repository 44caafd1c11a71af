"""What a step rests on: a person's approval of the plan, or a use of a grant that a person made (R4-08, X-01).

Within the caller's transaction, which is the one that begins the step.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import RowMapping, update

from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import Forbidden
from orchestrator.governance import grant_uses
from orchestrator.governance.commands import approvals, records
from orchestrator.governance.commands.drafts import Draft, DraftStep
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import execution_plans


@dataclass(frozen=True, slots=True)
class Basis:
    """An approval or a grant, and the person who gave it."""

    kind: Literal["approval", "grant"]
    id: str
    person: str


def granted(
    tx: Tx, row: Mapping[Any, Any], draft: Draft, done: Collection[str], now: str, *, four_eyes: bool
) -> frozenset[int]:
    """Steps that grants cover as they stand now, where a command says `requiredApprovals: false`; a wait needs none.

    Nothing is taken here: each step takes its use when it begins, and stops the command if there is none any more.
    """
    if (row["asked"].get("constraints") or {}).get("requiredApprovals") is not False:
        return frozenset()
    todo = [step for step in draft.steps if step.step.id not in done]
    wanted = [(step, step.use(row["identity_id"], four_eyes=four_eyes)) for step in todo]
    calls = [(step, use) for step, use in wanted if use is not None]
    found = grant_uses.allot(grant_uses.good(tx, now, row["identity_id"]), [use for _, use in calls])
    covered = {step.index for (step, _), grant_id in zip(calls, found, strict=True) if grant_id is not None}
    return frozenset(covered | {step.index for step, use in wanted if use is None})


def without_approval(steps: Sequence[RowMapping]) -> frozenset[int]:
    """Steps of a plan that nobody need approve."""
    return frozenset(step["step_index"] for step in steps if not step["requires_approval"])


def take(tx: Tx, row: RowMapping, step: DraftStep, now: str, *, four_eyes: bool) -> Basis | None:
    """What a step rests on that begins now; None for a wait that nobody had to approve.

    A use of a grant is taken once for all attempts at a step. Raises `Forbidden` (`no_grant`) where the grant that was
    counted on has been used up, has expired or was revoked.
    """
    planned = records.step_of(tx, row["id"], step.index)
    if planned["requires_approval"]:
        approval = approvals.current(tx, row["id"])
        assert approval is not None, "what executes was approved"
        return Basis("approval", approval["id"], approval["decided_by"])
    use = step.use(row["identity_id"], four_eyes=four_eyes)
    if use is None:
        return None
    taken = planned["grant_id"]
    grant = grant_uses.consume(tx, use, now) if taken is None else grant_uses.holds(tx, taken, now)
    if grant is None:
        raise Forbidden(
            f"the grant for {step.step.name} has been used up, has expired or was revoked since it was planned",
            code="no_grant",
        )
    tx.execute(update(execution_plans).where(execution_plans.c.id == planned["id"]).values(grant_id=grant["id"]))
    return Basis("grant", grant["id"], grant["granted_by"])


def settle(tx: Tx, row: RowMapping, step: DraftStep, cost: Cost, *, again: bool) -> None:
    """Book what an attempt cost on the grant that the step rests on; the last one in place of the estimate."""
    planned = records.step_of(tx, row["id"], step.index)
    if planned["grant_id"] is not None:
        grant_uses.settle(tx, planned["grant_id"], Cost() if again else step.estimate, cost)
