"""Commands as clients see them: seed 004's objects, and what CONTRACT 5 adds to them (R4-21, R4-22)."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, StringConstraints

from orchestrator.contracts.costs import Bound, Tokens, Usd
from orchestrator.contracts.model import JsonObject, View
from orchestrator.contracts.plans import Camel
from orchestrator.contracts.plugins import Effects
from orchestrator.contracts.values import Object

Sphere = Literal[
    "personal", "business", "government", "creative_studio", "community", "social_media", "entertainment", "my_team"
]
ApprovalMode = Literal["plan", "step"]
Notes = Annotated[str, StringConstraints(max_length=2000)]
MAX_DURATION_MS = 7 * 86_400_000


class Constraints(Camel):
    """What a command must keep to."""

    max_budget: Usd | None = Field(None, description="US dollars.")
    max_duration: Annotated[int, Field(ge=1, le=MAX_DURATION_MS)] | None = Field(None, description="Milliseconds.")
    required_approvals: bool = Field(
        True, description="False: steps that a standing grant covers need nobody's approval; each takes a use of it."
    )


class MaxBudget(Camel):
    """The most that a command may cost."""

    usd: Usd | None = None
    tokens: Tokens | None = None


class CreateCommand(Camel):
    """CreateCommandDto."""

    intent: Annotated[str, StringConstraints(min_length=1, max_length=32_768, pattern=r"\S")] = Field(
        description='What is wanted: a sentence, or a JSON object `{"capability", "params"}`.'
    )
    target_sphere: Sphere | None = Field(None, description="The active context's sphere if absent.")
    constraints: Constraints | None = None
    max_budget: MaxBudget | None = None
    approval_mode: ApprovalMode = Field(
        "plan",
        validation_alias=AliasChoices("approval_mode", "approvalMode"),
        serialization_alias="approval_mode",
        description="`step`: a person approves each step before it runs.",
    )

    def bound(self) -> Bound:
        """The most that it may cost, by whichever of the two budgets is the smaller (X-15)."""
        most = self.max_budget or MaxBudget()
        usd = [one for one in (most.usd, self.constraints and self.constraints.max_budget) if isinstance(one, Decimal)]
        return Bound(usd=min(usd, default=None), tokens=most.tokens)


class Modifications(Camel):
    """What an approver wants otherwise."""

    step_index: Annotated[int, Field(ge=0)] | None = None
    new_tool: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    new_constraints: Object | None = None


class ApproveCommand(Camel):
    """ApproveCommandDto. `digest` is for who wants to be sure to approve what he has read."""

    approved: bool
    notes: Notes | None = None
    modifications: Modifications | None = None
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class RejectCommand(Camel):
    """Why not, if one wants to say."""

    notes: Notes | None = None


class DecideOutput(Camel):
    """What a person says of an output. `version` is for who wants to be sure to decide of what he has read."""

    notes: Notes | None = None
    version: Annotated[int, Field(ge=1)] | None = None


class RollBack(Camel):
    """Where to go back to; nowhere named, no version is in force any more."""

    version: Annotated[int, Field(ge=1)] | None = None
    notes: Notes | None = None


class OutputView(View):
    """One version of a step's output. `effect` is what became of what the step did to the world, if it did anything."""

    step_index: int
    step_id: str
    version: int
    state: Literal["proposed", "active", "rejected", "superseded"]
    plan_version: int
    effects: Effects
    effect: str | None
    output_reference: JsonObject
    output: Any = Field(None, description="Of the newest version and of the one in force.")
    rolled_back_to: int | None
    created_at: str
    decided_by: str | None
    decided_at: str | None
    notes: str | None


class StepOutputs(View):
    """All versions of one step's output, oldest first."""

    command_id: str
    step_index: int
    versions: list[OutputView]


Action = Literal["retry", "modify", "discard"]


class Decision(Camel):
    """What becomes of a command that failed."""

    action: Action


class ExecutionStarted(View):
    """What was begun."""

    execution_id: str


class CommandStatusView(View):
    """Where a command is."""

    id: str
    status: str
    decision: str | None
    resolution: str | None
    open: bool
    execution_id: str | None
    failure: Any = None


class CommandView(View):
    """One command: the row of seed 004, and what is known beside it."""

    id: str
    identity_id: str
    context_id: str
    sphere: str
    intent: str
    status: str
    estimated_cost: JsonObject
    created_at: str
    updated_at: str
    approval_mode: ApprovalMode
    plan_version: int
    execution_id: str | None
    decision: str | None
    resolution: str | None
    failure: Any = None
    open: bool = Field(description="Whether it awaits a person.")
    results: list[OutputView] | None = Field(None, description="Of one command alone: what its steps put out.")


class StepView(View):
    """One row of `execution_plans`, with what the step depends on and what it does to the world."""

    id: str
    command_id: str
    step_index: int
    agent_id: str
    skill: str
    tool: str
    estimated_tokens: int
    estimated_cost: JsonObject
    requires_approval: bool
    status: str
    created_at: str
    step_id: str
    type: str
    effects: Effects
    dependencies: list[str]
    params: JsonObject
    error: str | None
    category: str | None = Field(None, description="Of a step that failed: one of R4-48's six.")
    request: Any = Field(None, description="Of a query, execution or session that waits: what it asks for.")
    grant_id: str | None = Field(None, description="The grant of which it took a use, if it did.")
    output_reference: JsonObject | None = None
    output: Any = None


class PlanView(View):
    """A plan as it is approved: `digest` is what an approval is bound to."""

    command_id: str
    plan_version: int
    digest: str
    steps: list[StepView]
    estimated_cost: JsonObject
    expires_at: str | None
