"""How an execution went, told by the plan's history and nothing else (R1-04 to R1-08). Pure.

What counts is the newest execution. It begins with how the steps stand then, since a plan that is tried again keeps
what completed, and it ends with how all of them ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import (
    MAX_STEPS,
    ExecutionMetadata,
    ExecutionResult,
    Number,
    PlanEvent,
    PlanStatus,
    StepResult,
    Text,
)

STATUS_OF: dict[str, PlanStatus] = {
    "execution_completed": "completed",
    "execution_failed": "failed",
    "execution_cancelled": "cancelled",
}
_MEMBERS = {field.alias for field in StepResult.model_fields.values()}
_ERROR: TypeAdapter[str | None] = TypeAdapter(Text | None)
_COST: TypeAdapter[float | None] = TypeAdapter(Number | None)


def newest(events: Sequence[PlanEvent]) -> Sequence[PlanEvent]:
    """The entries of the newest execution, from its start on; none where nothing was executed."""
    starts = [at for at, event in enumerate(events) if event.event == "execution_started"]
    return events[starts[-1] :] if starts else ()


def references(events: Sequence[PlanEvent]) -> dict[str, str]:
    """Where the outputs of the newest execution are kept: references to blobs, by step."""
    found = {}
    for step_id, told in _steps(newest(events)).items():
        reference = told.get("outputReference")
        if isinstance(reference, dict) and isinstance(reference.get("ref"), str):
            found[step_id] = reference["ref"]
    return found


def outcome(plan_id: str, events: Sequence[PlanEvent], outputs: Mapping[str, Any]) -> ExecutionResult | None:
    """The newest execution's result; None where nothing was executed.

    `outputs` has those that are at hand, by step. The plan's own output is that of the last step that completed.
    """
    run = newest(events)
    if not run:
        return None
    status, error, cost, ended = _end(run)
    steps = [_result(step_id, told, outputs) for step_id, told in _steps(run).items()]
    completed = [step for step in steps if step.status == "completed"]
    return ExecutionResult(
        plan_id=plan_id, status=status, steps=steps, output=completed[-1].output if completed else None, error=error,
        metadata=ExecutionMetadata(
            total_duration=_between(run[0].timestamp, ended or run[-1].timestamp), total_cost=cost,
            total_steps=len(steps), completed_steps=len(completed),
            failed_steps=sum(step.status == "failed" for step in steps),
        ),
        started_at=run[0].timestamp, completed_at=ended,
    )  # fmt: skip


def _end(run: Iterable[PlanEvent]) -> tuple[PlanStatus, str | None, float | None, str | None]:
    """The status, what ended it, what it cost in dollars, and when it ended."""
    for event in run:
        if event.event in STATUS_OF:
            told = event.data if isinstance(event.data, dict) else {}
            error, cost = _judged(_ERROR, told.get("error")), _judged(_COST, told.get("totalCost"))
            return STATUS_OF[event.event], error, cost, event.timestamp
    return "running", None, None, None


def _steps(run: Iterable[PlanEvent]) -> dict[str, JsonObject]:
    """How each step stands after these entries, in the order of the plan."""
    known: dict[str, JsonObject] = {}
    for event in run:
        data = event.data if isinstance(event.data, dict) else {}
        told = data.get("steps") if event.event.startswith("execution_") else [data]
        for one in told if isinstance(told, list) else []:
            if isinstance(one, dict) and isinstance(one.get("stepId"), str):
                before = known.get(one["stepId"], {})
                if before.get("status") != one.get("status"):  # what went wrong before has been put right, or not
                    before = {name: value for name, value in before.items() if name != "error"}
                known[one["stepId"]] = before | one
    return dict(islice(known.items(), MAX_STEPS))


def _result(step_id: str, told: JsonObject, outputs: Mapping[str, Any]) -> StepResult:
    """A step by what was told of it; of a history from elsewhere, what does not fit is left out."""
    members = {name: value for name, value in told.items() if name in _MEMBERS}
    if members.get("status") == "running":
        members.pop("error", None)  # of an attempt before
    known = {**members, "stepId": step_id, "output": outputs.get(step_id)}
    try:
        return StepResult.model_validate(known)
    except ValidationError as fault:
        wrong = {str(error["loc"][0]) for error in fault.errors()}
        return StepResult.model_validate({"status": "pending"} | {n: v for n, v in known.items() if n not in wrong})


def _judged(kind: TypeAdapter[Any], value: Any) -> Any:
    try:
        return kind.validate_python(value, strict=True)
    except ValidationError:
        return None


def _between(begin: str, end: str) -> float:
    took = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    return max(0.0, took / timedelta(milliseconds=1))
