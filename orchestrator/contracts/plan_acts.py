"""What clients send to the doors of goals and plans, and what they get (seed 001, CONTRACT 5)."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, StringConstraints

from orchestrator.contracts.commands import ApprovalMode, Constraints, CreateCommand, MaxBudget
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import (
    MAX_STEPS,
    Camel,
    ExecutionResult,
    Id,
    Number,
    Plan,
    PlanEvent,
    PlanStep,
    StepId,
    Time,
)
from orchestrator.contracts.values import Object


class GivenPlan(Camel):
    """Seed 001's plan as it is posted. What it does not say is filled in; what follows the plan bounds its command."""

    id: Id | None = Field(None, description="Of the client's choice, once for each identity; one is made if absent.")
    goal_id: Id | None = None
    steps: Annotated[list[PlanStep], Field(min_length=1, max_length=MAX_STEPS)]
    estimated_duration: Number | None = Field(None, description="Milliseconds.")
    estimated_cost: Number | None = Field(None, description="US dollars.")
    created_at: Time | None = None
    parallel_execution: bool = Field(False, description="Start all steps that can start, not one at a time (X-02).")
    stop_on_error: bool = Field(True, description="Start nothing more once a step failed (R1-37).")
    constraints: Constraints | None = None
    max_budget: MaxBudget | None = None
    approval_mode: ApprovalMode = Field(
        "plan", validation_alias=AliasChoices("approval_mode", "approvalMode"), serialization_alias="approval_mode"
    )

    def plan(self, plan_id: str, now: datetime) -> Plan:
        """The plan with everything said."""
        said = self.model_dump(exclude={"constraints", "max_budget", "approval_mode"}, exclude_none=True)
        made = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Plan.model_validate({"id": plan_id, "goalId": f"goal_{plan_id[:120]}", "createdAt": made} | said)

    def command(self, plan: Plan, intent: str | None = None) -> CreateCommand:
        """The command that does it."""
        return CreateCommand(
            intent=intent or f"the plan {plan.id} for the goal {plan.goal_id}", constraints=self.constraints,
            max_budget=self.max_budget, approval_mode=self.approval_mode,
        )  # fmt: skip


class ExecutePlan(Camel):
    """What policy hooks are told beside the step: seed 001's `{userId, consentGiven}` and whatever else they know."""

    context: Object | None = None


class Replan(Camel):
    """Which step is left out: the one that failed, if nothing is said."""

    step_id: StepId | None = Field(None, validation_alias=AliasChoices("stepId", "step_id", "failedStepId"))
    error: Annotated[str, StringConstraints(max_length=4000)] | None = Field(None, description="What went wrong.")


PlanState = Literal[
    "created", "planned", "awaiting_approval", "approved", "executing", "completed", "failed", "cancelled",
    "superseded", "imported",
]  # fmt: skip


class PlanDetail(Plan):
    """A plan, where it is, and how its execution goes. `digest` is what an approval is bound to."""

    model_config = ConfigDict(extra="ignore")

    uuid: str = Field(description="Its own id, by which its events are keyed; it is found by either.")
    status: PlanState = Field(description="Its command's; `superseded` once another plan has taken its place.")
    open: bool = Field(description="Whether it awaits a person.")
    command_id: str | None = None
    digest: str | None = None
    estimate: Cost | None = None
    expires_at: str | None = Field(None, description="When the approval that is asked for, or was given, ends.")
    replaces: str | None = None
    superseded_by: str | None = None
    execution: ExecutionResult | None = None


class PlanExecutionStarted(Camel):
    """What was begun, in either spelling."""

    execution_id: str = Field(serialization_alias="execution_id")


class MomentView(Camel):
    """An entry of a timeline; `duration` in milliseconds is that of what ended with it."""

    timestamp: str
    event: str
    duration: float


class Timeline(Camel):
    """A plan's history with durations (R1-25)."""

    plan_id: str
    items: list[MomentView]


class Replay(Camel):
    """A plan's history in the order in which it was recorded (R1-24). Reading it executes nothing."""

    plan_id: str
    items: list[PlanEvent]


class StatsView(Camel):
    """Sums over a plan's history; durations in milliseconds (R1-26)."""

    total_duration: float
    average_step_duration: float
    event_counts: dict[str, int]
    total_events: int


class History(Camel):
    """An exported history, as `GET …/export` answers it and `POST /v1/plans/import` takes it (R1-27)."""

    version: int
    plan_id: Id
    events: list[Any]


def as_answer(detail: PlanDetail) -> JsonObject:
    """The wire's form: what is not there is left out."""
    return detail.model_dump(mode="json", exclude_none=True)
