"""Goals, plans and results: seed 001's shapes, both spellings, bounds on everything (R1-01 to R1-06)."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.contracts.plans import (
    ExecutionMetadata,
    ExecutionResult,
    Goal,
    Plan,
    PlanEvent,
    PlanStep,
    StepResult,
)
from orchestrator.contracts.values import MAX_BYTES, MAX_DEPTH, MAX_INTEGER, size_of
from tests.unit.plan_cases import TIME

GOAL = {
    "id": "campaign_launch_001",
    "description": "Create and launch email marketing campaign",
    "success_criteria": ["Content generated", "Campaign scheduled"],
    "context": {"productId": "prod_123", "launchDate": "2025-12-01"},
}
STEP: dict[str, Any] = {
    "id": "step_2",
    "type": "tool",
    "name": "design_renderer",
    "description": "Render email design",
    "params": {"contentId": "{{step_1.output.id}}", "theme": "modern"},
    "dependencies": [],
    "timeout": 30000,
    "retries": 2,
}
PLAN: dict[str, Any] = {
    "id": "plan_abc123",
    "goalId": "campaign_launch_001",
    "steps": [STEP],
    "estimatedDuration": 90000,
    "estimatedCost": 0.05,
    "createdAt": "2025-11-01T10:00:00Z",
}
RESULT: dict[str, Any] = {
    "stepId": "step_1",
    "status": "completed",
    "output": {"id": 1},
    "duration": 12.5,
    "startedAt": TIME,
}
EXECUTION: dict[str, Any] = {
    "planId": "plan_abc123",
    "status": "completed",
    "steps": [RESULT],
    "output": {"id": 1},
    "metadata": {"totalDuration": 12.5, "totalCost": 0.05, "totalSteps": 1, "completedSteps": 1, "failedSteps": 0},
    "startedAt": TIME,
    "completedAt": TIME,
}


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (Goal, GOAL),
        (PlanStep, STEP),
        (StepResult, RESULT),
        (ExecutionResult, EXECUTION),
        (ExecutionMetadata, EXECUTION["metadata"]),
    ],
)
def test_the_seeds_objects_are_read_and_served_as_they_are_written(model: Any, body: dict[str, Any]) -> None:
    """R1-01, R1-03, R1-04, R1-05, R1-06."""
    assert json.loads(model.model_validate_json(json.dumps(body)).model_dump_json()) == body


def test_a_plan_says_how_it_is_executed_where_the_seeds_does_not() -> None:
    """R1-02, R1-37: one at a time, and stop on an error."""
    served = Plan.model_validate(PLAN).model_dump()
    assert served == PLAN | {"parallelExecution": False, "stopOnError": True}


def test_both_spellings_are_understood() -> None:
    snake = {
        "id": "p",
        "goal_id": "g",
        "steps": [STEP],
        "created_at": TIME,
        "parallel_execution": True,
        "stop_on_error": False,
    }
    camel = {
        "id": "p",
        "goalId": "g",
        "steps": [STEP],
        "createdAt": TIME,
        "parallelExecution": True,
        "stopOnError": False,
    }
    assert Plan.model_validate(snake) == Plan.model_validate(camel)
    criteria = {"id": "g", "description": "d", "successCriteria": ["a"]}
    assert Goal.model_validate(criteria).model_dump() == {"id": "g", "description": "d", "success_criteria": ["a"]}


def test_the_same_thing_said_in_both_spellings_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Plan.model_validate(PLAN | {"goal_id": "another"})


def test_absent_dependencies_are_not_empty_ones() -> None:
    """R1-03 with CONTRACT 9: what absent means is for the graph to say."""
    bare = {k: v for k, v in STEP.items() if k != "dependencies"}
    assert PlanStep.model_validate(bare).dependencies is None
    assert "dependencies" not in PlanStep.model_validate(bare).model_dump()
    assert PlanStep.model_validate(STEP).dependencies == []


def test_every_status_of_the_seed_exists_and_no_other() -> None:
    """R1-04, R1-06."""
    for status in ("pending", "running", "completed", "failed", "skipped"):
        assert StepResult(step_id="s", status=status).status == status
    for status in ("pending", "running", "completed", "failed", "cancelled"):
        assert ExecutionResult.model_validate(EXECUTION | {"status": status}).status == status
    with pytest.raises(ValidationError):
        StepResult.model_validate(RESULT | {"status": "cancelled"})
    with pytest.raises(ValidationError):
        ExecutionResult.model_validate(EXECUTION | {"status": "skipped"})


def test_retries_are_extra_attempts_and_at_most_three_are_given() -> None:
    """R1-35, R4-39."""
    attempts = [PlanStep.model_validate(STEP | {"retries": n}).attempts for n in (0, 2, 3, 50)]
    assert attempts == [1, 3, 4, 4]
    assert PlanStep.model_validate({k: v for k, v in STEP.items() if k != "retries"}).attempts == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""}, {"id": "a.b"}, {"id": "a b"}, {"id": "x" * 65}, {"id": 1}, {"type": "shell"}, {"name": "../x"},
        {"name": ""}, {"description": "x" * 4001}, {"params": []}, {"params": None}, {"dependencies": "step_1"},
        {"dependencies": ["s"] * 257}, {"dependencies": [1]}, {"timeout": 0}, {"timeout": 86_400_001}, {"timeout": True},
        {"timeout": "60000"}, {"retries": -1}, {"retries": 1001}, {"retries": 1.5}, {"unknown": 1},
        {"params": {"x": float("nan")}}, {"params": {"x": "\ud800"}}, {"params": {"\ud800": 1}}, {"params": {1: 1}},
        {"params": {"x": MAX_INTEGER + 1}}, {"params": {"x": "x" * MAX_BYTES}}, {"params": {"x": {1}}},
    ],
)  # fmt: skip
def test_a_step_has_bounds_on_everything(wrong: dict[str, Any]) -> None:
    """R1-03."""
    with pytest.raises(ValidationError):
        PlanStep.model_validate(STEP | wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a/b"}, {"goalId": ""}, {"steps": []}, {"steps": [STEP] * 257}, {"estimatedDuration": -1}, {"estimatedCost": 1e13},
        {"estimatedCost": float("inf")}, {"estimatedCost": float("nan")}, {"estimatedCost": "1"}, {"estimatedCost": True},
        {"createdAt": "yesterday"}, {"createdAt": "2025-02-30T00:00:00Z"}, {"createdAt": "2025-11-01T10:00:00"},
        {"createdAt": 1}, {"parallelExecution": 1}, {"stopOnError": "no"}, {"extra": {}},
    ],
)  # fmt: skip
def test_a_plan_has_bounds_on_everything(wrong: dict[str, Any]) -> None:
    """R1-02."""
    with pytest.raises(ValidationError):
        Plan.model_validate(PLAN | wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"description": ""}, {"success_criteria": ["x"] * 101}, {"success_criteria": [""]}, {"success_criteria": ["x" * 2001]},
     {"success_criteria": "x"}, {"context": []}, {"constraints": {"x": float("inf")}}, {"else": 1}],
)  # fmt: skip
def test_a_goal_has_bounds_on_everything(wrong: dict[str, Any]) -> None:
    """R1-01."""
    with pytest.raises(ValidationError):
        Goal.model_validate(GOAL | wrong)


def test_an_entry_of_a_history_keeps_null_data_and_refuses_names_that_are_none() -> None:
    entry = {"id": "1", "planId": "p", "timestamp": TIME, "event": "step_started", "data": None}
    assert PlanEvent.model_validate(entry).model_dump() == entry
    for wrong in ({"event": "Step Started"}, {"planId": "a/b"}, {"timestamp": "now"}, {"data": float("nan")}):
        with pytest.raises(ValidationError):
            PlanEvent.model_validate(entry | wrong)


def test_a_value_is_as_deep_as_allowed_and_no_deeper() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    size_of(value)
    with pytest.raises(ValueError, match="nested deeper than 64"):
        size_of([value])


def test_a_value_that_holds_itself_is_too_deep_and_ends() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested deeper"):
        size_of(value)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Plan.model_validate(PLAN).id = "other"
