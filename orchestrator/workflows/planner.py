"""`Planner`: from a goal to a plan, and from a plan that failed to one without its failed step (R1-28, R1-31)."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.api import bodies
from orchestrator.contracts.plan_acts import PlanDetail
from orchestrator.contracts.plans import Goal, Plan
from orchestrator.workflows.registry import CapabilityRegistry
from orchestrator.workflows.workspace import Workspace


class Planner:
    """Plans with what is registered here and with what plugins can do. A plan that it makes awaits an approval."""

    def __init__(self, registry: CapabilityRegistry | None = None) -> None:
        self.workspace = Workspace.of() if registry is None else registry.workspace

    async def plan(self, goal: Goal | Mapping[str, Any]) -> PlanDetail:
        """A plan for a goal: a capability for each success criterion. Raises what `POST /v1/goals/plan` answers."""
        try:
            wanted = goal if isinstance(goal, Goal) else Goal.model_validate(dict(goal))
        except ValidationError as fault:
            raise bodies.invalid(fault) from None
        async with self.workspace as opened:
            made = await opened.ask("POST", "/v1/goals/plan", wanted.model_dump(mode="json"))
        return PlanDetail.model_validate(made)

    async def replan(self, plan: Plan | str, failed_step_id: str, error: str = "") -> PlanDetail:
        """A new plan without the step that failed: another id, the same goal, an approval of its own (X-07)."""
        plan_id = plan if isinstance(plan, str) else plan.id
        async with self.workspace as opened:
            told = {"stepId": failed_step_id, **({"error": error[:4000]} if error else {})}
            path = f"/v1/plans/{opened.taken_in.get(plan_id, plan_id)}/replan"
            made = await opened.ask("POST", path, told)
        return PlanDetail.model_validate(made)
