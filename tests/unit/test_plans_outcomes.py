"""An execution's result, folded from a plan's history (R1-04 to R1-08)."""

from orchestrator.plans import outcomes
from tests.unit.plan_cases import event, numbered


def started(second: float, **statuses: str):
    return event("execution_started", second, steps=[{"stepId": id_, "status": s} for id_, s in statuses.items()])


def ended(name: str, second: float, **statuses: str):
    steps = [{"stepId": id_, "status": s} for id_, s in statuses.items()]
    return event(f"execution_{name}", second, steps=steps, totalCost=0.5, error="why" if name == "failed" else None)


def test_a_plan_that_never_began_has_no_result() -> None:
    assert outcomes.outcome("plan_1", [event("plan_created"), event("plan_cancelled", 1)], {}) is None


def test_each_status_of_an_execution_comes_from_its_history() -> None:
    """R1-07: running, completed, failed, cancelled; pending is an execution that there is not yet."""
    for name in ("completed", "failed", "cancelled"):
        found = outcomes.outcome("plan_1", numbered(started(0, a="pending"), ended(name, 2.5, a="completed")), {})
        assert found is not None
        assert (found.status, found.metadata.total_duration, found.metadata.total_cost) == (name, 2500, 0.5)
        assert found.error == ("why" if name == "failed" else None)
    running = outcomes.outcome("plan_1", [started(0, a="pending")], {})
    assert running is not None
    assert (running.status, running.completed_at, running.steps[0].status) == ("running", None, "pending")


def test_a_step_is_what_was_told_of_it_last_in_the_order_of_the_plan() -> None:
    """R1-06: with its error, its times and its output; the plan's output is that of the last that completed."""
    log = numbered(
        started(0, a="pending", b="pending", c="pending"),
        event("step_started", 1, stepId="b", status="running", startedAt="2026-01-01T00:00:01.000Z"),
        event("step_retried", 2, stepId="b", status="running", error="once"),
        event("step_started", 3, stepId="b", status="running", startedAt="2026-01-01T00:00:03.000Z"),
        event("step_completed", 4, stepId="b", status="completed", duration=1000, outputReference={"ref": "r"}),
        event("step_failed", 5, stepId="a", status="failed", error="no"),
        ended("failed", 6, a="failed", b="completed", c="skipped"),
    )
    found = outcomes.outcome("plan_1", log, {"b": 42})
    assert found is not None
    assert [(one.step_id, one.status, one.error) for one in found.steps] == [
        ("a", "failed", "no"), ("b", "completed", None), ("c", "skipped", None),
    ]  # fmt: skip
    assert (found.steps[1].duration, found.steps[1].started_at, found.output) == (1000, "2026-01-01T00:00:03.000Z", 42)
    assert (found.metadata.failed_steps, found.metadata.completed_steps, found.metadata.total_steps) == (1, 1, 3)
    assert outcomes.references(log) == {"b": "r"}


def test_the_newest_execution_counts() -> None:
    log = numbered(started(0, a="pending"), ended("failed", 1, a="failed"), started(5, a="pending"))
    found = outcomes.outcome("plan_1", log, {})
    assert found is not None
    assert (found.status, found.steps[0].status, found.error) == ("running", "pending", None)


def test_a_history_from_elsewhere_may_hold_anything() -> None:
    """R1-27: what is no step and no sum is left out, and nothing raises."""
    log = numbered(
        event("execution_started", 0, steps="all"), event("step_started", 0, stepId=7), event("step_failed", 0, stepId="a"),
        event("step_started", 0, stepId="b", status="flying", duration="long", error=["x"], output=1),
        event("execution_failed", 1, steps=[1, {"stepId": None}], error={"a": 1}, totalCost="much"),
    )  # fmt: skip
    found = outcomes.outcome("plan_1", log, {})
    assert found is not None
    assert (found.status, found.error, found.metadata.total_cost) == ("failed", None, None)
    assert [(one.step_id, one.status) for one in found.steps] == [("a", "pending"), ("b", "pending")]
