"""Goals, plans, and how an execution of a plan went: seed 001's objects (R1-01 to R1-06, CONTRACT 5 and 9).

Their names are camelCase on the wire, as the seed writes them, and snake_case here; both are understood, the wire's are
served. Durations are milliseconds, costs US dollars, times RFC 3339.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from orchestrator.contracts.model import Model, Name
from orchestrator.contracts.values import Json, Object

MAX_STEPS = 256
"""Of any plan; a setting may allow fewer."""
MAX_RETRIES = 3
"""Extra attempts that a step gets at the most, whatever it asks for (R1-35, R4-39)."""

StepType = Literal["tool", "agent", "llm", "wait", "conditional"]
PlanStatus = Literal["pending", "running", "completed", "failed", "cancelled"]
StepStatus = Literal["pending", "running", "completed", "failed", "skipped"]
SkipReason = Literal[
    "condition_false", "dependency_failed", "dependency_skipped", "policy_denied", "stopped", "cancelled"
]
"""Why a step never ran: its own condition, what it depends on, a policy, or the end of the whole plan."""


def _is_time(text: str) -> str:
    datetime.fromisoformat(text)  # the pattern has the form right; this knows the days of a month
    return text


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$")]
StepId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$")]
"""Without a dot, so that it can stand at the head of a path: `{{step_1.output.id}}`."""
Time = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"),
    AfterValidator(_is_time),
]  # fmt: skip
Text = Annotated[str, StringConstraints(max_length=4000)]
Criterion = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Number = Annotated[int | float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""Of milliseconds or dollars; JSON does not tell `1` from `1.0`."""
Timeout = Annotated[int, Field(ge=1, le=86_400_000)]
Retries = Annotated[int, Field(ge=0, le=1000)]
Count = Annotated[int, Field(ge=0, le=MAX_STEPS)]


def _optional(description: str) -> Any:
    """A member that is left out where there is nothing to say; null is the same as absent."""
    return Field(None, description=description, exclude_if=lambda value: value is None)


class Camel(Model):
    """camelCase on the wire, snake_case in Python, either on the way in."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )


class Goal(Camel):
    """What is wanted (R1-01). `success_criteria` is the seed's own spelling on the wire, too."""

    id: Id
    description: Annotated[Text, Field(min_length=1)]
    success_criteria: Annotated[list[Criterion], Field(max_length=100)] = Field(
        validation_alias=AliasChoices("success_criteria", "successCriteria"),
        serialization_alias="success_criteria",
        description="What must be so in the end; the planner looks for a capability for each.",
    )
    constraints: Object | None = _optional("What must be kept to.")
    context: Object | None = _optional("What is known.")


class PlanStep(Camel):
    """One step (R1-03)."""

    id: StepId
    type: StepType
    name: Name = Field(description="The capability that does it; of a wait, a name for people.")
    description: Text
    params: Object = Field(
        description="What the capability gets. Text in it may refer to outputs, `{{step.output.key}}`; a conditional "
        "step's `condition` and a wait's `duration` (ms) or `until` are for the executor."
    )
    dependencies: Annotated[list[StepId], Field(max_length=MAX_STEPS)] | None = _optional(
        "Steps that must have completed before. Absent means the previous step, and empty means none (CONTRACT 9)."
    )
    timeout: Timeout | None = _optional("Milliseconds after which the work is ended.")
    retries: Retries | None = _optional(f"Extra attempts after a passing fault; {MAX_RETRIES} are given at the most.")

    @property
    def attempts(self) -> int:
        """How often it may be tried in all."""
        return 1 + min(self.retries or 0, MAX_RETRIES)


class Plan(Camel):
    """Steps towards a goal (R1-02). The order of `steps` is the order of execution; dependencies constrain it."""

    id: Id
    goal_id: Id
    steps: Annotated[list[PlanStep], Field(min_length=1, max_length=MAX_STEPS)]
    estimated_duration: Number | None = _optional("Milliseconds.")
    estimated_cost: Number | None = _optional("US dollars.")
    created_at: Time
    parallel_execution: bool = Field(False, description="Start all steps that can start, not one at a time (X-02).")
    stop_on_error: bool = Field(True, description="Start nothing more once a step failed (R1-37).")


class StepResult(Camel):
    """How a step went so far (R1-06)."""

    step_id: StepId
    status: StepStatus
    output: Json = _optional("What it answered; absent also where that was null.")
    output_reference: Object | None = _optional("Where the output is kept (X-11).")
    error: Text | None = _optional("What went wrong, for a person.")
    duration: Number | None = _optional("Milliseconds.")
    started_at: Time | None = _optional("When its last attempt began.")
    completed_at: Time | None = _optional("When it ended.")
    skip_reason: SkipReason | None = _optional("Why it was skipped.")


class ExecutionMetadata(Camel):
    """Sums over an execution (R1-05)."""

    total_duration: Number = Field(description="Milliseconds.")
    total_cost: Number | None = _optional("US dollars.")
    total_steps: Count
    completed_steps: Count
    failed_steps: Count


class ExecutionResult(Camel):
    """How an execution of a plan went so far (R1-04)."""

    plan_id: Id
    status: PlanStatus
    steps: Annotated[list[StepResult], Field(max_length=MAX_STEPS)]
    output: Json = _optional("The plan's output.")
    error: Text | None = _optional("What ended it, for a person.")
    metadata: ExecutionMetadata
    started_at: Time
    completed_at: Time | None = _optional("When it ended.")


class PlanEvent(Camel):
    """One entry of a plan's history (R1-23, R1-24). Seven names are the seed's; others may stand between them."""

    id: Id
    plan_id: Id
    timestamp: Time
    event: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    data: Json
