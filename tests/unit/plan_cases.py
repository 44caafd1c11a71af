"""Plans for tests, in few words."""

from dataclasses import dataclass, field
from typing import Any

from orchestrator.contracts.plans import Plan, PlanEvent, PlanStep, StepResult

TIME = "2025-11-01T10:00:00Z"


@dataclass
class Capability:
    enabled: bool = True
    input_schema: dict[str, Any] = field(default_factory=dict)


CAPABILITIES = {"work": Capability()}


def step(
    id: str, *dependencies: str, type: str = "tool", name: str = "work", absent: bool = False, **more: Any
) -> PlanStep:
    """A step that depends on these; with `absent`, nothing is said of dependencies."""
    params = more.pop("params", {})
    known = {} if absent else {"dependencies": list(dependencies)}
    return PlanStep(id=id, type=type, name=name, description="", params=params, **known, **more)


def plan(*steps: PlanStep, **more: Any) -> Plan:
    return Plan(**{"id": "plan_1", "goal_id": "goal_1", "created_at": TIME, "steps": list(steps)} | more)


def conditional(id: str, *dependencies: str, condition: str, **params: Any) -> PlanStep:
    return step(id, *dependencies, type="conditional", params={"condition": condition, **params})


def branches() -> Plan:
    """Seed 001's Pattern 5."""
    return plan(
        step("step_1"),
        conditional("step_2_positive", "step_1", condition='{{step_1.output.sentiment}} === "positive"'),
        conditional("step_2_negative", "step_1", condition='{{step_1.output.sentiment}} === "negative"'),
    )


def results(**statuses: str) -> dict[str, StepResult]:
    """`completed`, `failed`, …, or `skipped:REASON`."""
    found = {}
    for id_, told in statuses.items():
        status, _, reason = told.partition(":")
        found[id_] = StepResult(step_id=id_, status=status, skip_reason=reason or None)
    return found


def event(name: str, second: float = 0, n: int = 0, plan_id: str = "plan_1", **data: Any) -> PlanEvent:
    whole, part = divmod(round(second * 1000), 1000)
    time = f"2026-01-01T00:{whole // 60:02}:{whole % 60:02}.{part:03}Z"
    return PlanEvent(id=f"e{n}", plan_id=plan_id, timestamp=time, event=name, data=data)


def numbered(*events: PlanEvent) -> list[PlanEvent]:
    """The same entries, each with an id of its own."""
    return [one.model_copy(update={"id": f"e{n}"}) for n, one in enumerate(events)]
