"""`Executor`: takes a plan in, has it approved, and does it (R1-28 to R1-32)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from orchestrator.api import bodies
from orchestrator.contracts.errors import Conflict, NotFound, OrchestratorError
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plan_acts import GivenPlan, PlanDetail
from orchestrator.contracts.plans import Camel, ExecutionResult, Plan
from orchestrator.plans.graph import resolved
from orchestrator.sdk.policies import PolicyHook
from orchestrator.workflows.registry import CapabilityRegistry
from orchestrator.workflows.replay import PlanReplay
from orchestrator.workflows.workspace import Workspace

_WAITS = ("awaiting_approval", "approved", "planned")
Given = Plan | Mapping[str, Any]
_FIRST_S, _LONGEST_S = 0.01, 0.5


class ApprovalRequired(OrchestratorError):
    """A person has to approve the plan first: `plan_id`, `command_id` and the `digest` that an approval is bound to."""

    default_code = "awaiting_approval"

    def __init__(self, plan: PlanDetail) -> None:
        super().__init__(f"the plan {plan.id} needs an approval: orchestrator plans approve {plan.id}")
        self.plan_id, self.command_id, self.digest = plan.id, plan.command_id, plan.digest


class Options(Camel):
    """How an executor executes, in either spelling."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    parallel_execution: bool | None = Field(None, description="Instead of what the plan says.")
    policy_hooks: Sequence[Any] = ()
    approve_with: str | None = Field(None, description="A person's own key: whoever gives it approves by it.")
    wait_for_approval_s: float = Field(0.0, ge=0, description="How long to wait until somebody approves.")


class Executor:
    """Executes plans; histories of what it executed go into its `PlanReplay`."""

    def __init__(
        self, registry: CapabilityRegistry | None = None, replay: PlanReplay | None = None,
        options: Mapping[str, Any] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        self.workspace = Workspace.of() if registry is None else registry.workspace
        self._replay = replay
        try:
            self._options = Options.model_validate({**(options or {}), **more})
        except ValidationError as fault:
            raise bodies.invalid(fault) from None
        self._hooks = [_hook(one) for one in self._options.policy_hooks]

    async def execute(
        self, plan: Plan | Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> ExecutionResult:
        """Do a plan, and answer how it went; `context` is what policy hooks are told.

        A plan that is not known, has changed, or has ended already is taken in (again). Raises `ApprovalRequired` where
        nobody approved it, `Conflict` where it was refused, and what `POST /v1/plans` answers.
        """
        async with self.workspace as opened:
            taken = await self._taken_in(plan)
            command_id = str(taken.command_id)
            if self._hooks:
                opened.here.rooms.plans.policies.give(command_id, self._hooks)
            try:
                ended = await self._done(taken, dict(context or {}))
            finally:
                if self._hooks and opened.daemon is not None:
                    opened.daemon.rooms.plans.policies.take_back(command_id)
            if self._replay is not None:
                await self._replay.load(ended.id)
            if ended.execution is None:
                raise Conflict(f"the plan {ended.id} was refused", extra={"state": ended.status})
            return ended.execution

    async def _taken_in(self, plan: Given) -> PlanDetail:
        wanted = self._wanted(plan)
        if wanted.id is not None:
            try:
                known = await self._get(self.workspace.taken_in.get(wanted.id, wanted.id))
            except NotFound:
                return await self._post(wanted)
            if known.status in (*_WAITS, "executing") and _same(known, wanted):
                return known
            if known.status in _WAITS:  # it has changed: what was asked for is not wanted any more
                await self.workspace.ask("POST", f"/v1/commands/{known.command_id}/cancel")
        return await self._post(wanted.model_copy(update={"id": None}), wanted.id)

    def _wanted(self, plan: Given) -> GivenPlan:
        told = plan if isinstance(plan, Mapping) else plan.model_dump(mode="json", include=set(Plan.model_fields))
        try:
            wanted = GivenPlan.model_validate(dict(told))
        except ValidationError as fault:
            raise bodies.invalid(fault, "plan_invalid") from None
        parallel = self._options.parallel_execution
        return wanted if parallel is None else wanted.model_copy(update={"parallel_execution": parallel})

    async def _post(self, wanted: GivenPlan, known_as: str | None = None) -> PlanDetail:
        body = wanted.model_dump(mode="json", exclude_none=True)
        made = PlanDetail.model_validate(await self.workspace.ask("POST", "/v1/plans", body))
        if known_as is not None:
            self.workspace.taken_in[known_as] = made.id
        return made

    async def _done(self, plan: PlanDetail, context: JsonObject) -> PlanDetail:
        """Approve, begin, wait; in step mode again for each step. Answers the plan as it ended."""
        wait_s, waited_s = _FIRST_S, 0.0
        begun = False
        while True:
            if plan.status == "awaiting_approval":
                if self._options.approve_with is not None:
                    asked = {"approved": True, "digest": plan.digest}
                    path = f"/v1/plans/{plan.id}/approve"
                    plan = PlanDetail.model_validate(
                        await self.workspace.ask("POST", path, asked, self._options.approve_with)
                    )
                    continue
                if waited_s >= self._options.wait_for_approval_s:
                    raise ApprovalRequired(plan)
                waited_s += wait_s
            elif plan.status in ("approved", "planned") and not begun:
                await self._begin(plan, context)
                begun = True
            elif plan.status not in ("executing", "approved", "planned"):
                return plan
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _LONGEST_S)
            plan = await self._get(plan.id)

    async def _begin(self, plan: PlanDetail, context: JsonObject) -> None:
        path = f"/v1/plans/{plan.id}/execute"
        if self.workspace.daemon is None or not self._hooks:
            await self.workspace.ask("POST", path, {"context": context})
            return
        rooms = self.workspace.here.rooms
        caller, acting = await self.workspace.acting()
        await rooms.plans.execute(plan.id, context, acting, caller, self._hooks)

    async def _get(self, plan_id: str) -> PlanDetail:
        return PlanDetail.model_validate(await self.workspace.ask("GET", f"/v1/plans/{plan_id}"))


def _same(known: Plan, wanted: GivenPlan) -> bool:
    """Whether the same would be done; estimates and times do not count."""
    other = resolved(known.model_copy(update={"steps": wanted.steps}))
    said = (known.parallel_execution, known.stop_on_error, known.goal_id)
    return resolved(known).steps == other.steps and said == (
        wanted.parallel_execution, wanted.stop_on_error, wanted.goal_id or known.goal_id,
    )  # fmt: skip


def _hook(told: Any) -> PolicyHook:
    """A hook as seed 001 writes it: an object with a name and either function, in either spelling."""
    if isinstance(told, PolicyHook):
        return told
    if not isinstance(told, Mapping):
        raise TypeError("a policy hook is a PolicyHook, or an object with name, pre_execution, post_execution")
    pre = told.get("pre_execution") or told.get("preExecution")
    post = told.get("post_execution") or told.get("postExecution")
    return PolicyHook(str(told["name"]), pre, post)
