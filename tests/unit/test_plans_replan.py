"""A plan without the step that failed (R1-31, seed 001's Pattern 4)."""

from typing import Any

import pytest

from orchestrator.contracts.plans import Plan
from orchestrator.plans.replan import Replanned, replan
from orchestrator.plans.validation import faults
from tests.unit.plan_cases import CAPABILITIES, conditional, plan, results, step

LATER = "2025-11-02T10:00:00Z"


def without(one: Plan, failed: str, new_id: str = "plan_2", **statuses: str) -> Replanned:
    known = results(**({failed: "failed"} | statuses))
    return replan(one, failed, known, new_id=new_id, created_at=LATER)


def dependencies(one: Plan | None) -> dict[str, list[str] | None]:
    assert one is not None
    return {s.id: s.dependencies for s in one.steps}


def test_a_new_plan_has_a_new_id_and_the_same_goal_and_lacks_the_failed_step() -> None:
    """R1-31."""
    old = plan(
        step("a"), step("b", "a"), step("c", "a"), estimated_cost=1, estimated_duration=5, parallel_execution=True
    )
    new = without(old, "b", a="completed").plan
    assert new is not None
    assert (new.id, new.goal_id, new.created_at, new.parallel_execution) == ("plan_2", old.goal_id, LATER, True)
    assert [s.id for s in new.steps] == ["a", "c"]
    assert (new.estimated_cost, new.estimated_duration) == (None, None), "they were of another plan"
    assert [s.id for s in old.steps] == ["a", "b", "c"]


def test_dependents_depend_on_what_the_failed_step_depended_on() -> None:
    """R1-31: dangling dependencies are repaired, in place and without doubles."""
    old = plan(step("a"), step("b"), step("x", "a", "b"), step("c", "b", "x"), step("d", "x"), step("e", "d"))
    found = without(old, "x", a="completed", b="completed")
    assert dependencies(found.plan) == {"a": [], "b": [], "c": ["b", "a"], "d": ["a", "b"], "e": ["d"]}
    assert found.rewired == ("c", "d")
    assert found.plan is not None
    assert faults(found.plan, CAPABILITIES) == []


def test_absent_dependencies_are_written_out_first() -> None:
    """CONTRACT 9: else the step behind the failed one would silently get another meaning."""
    old = plan(step("a", absent=True), step("b", absent=True), step("c", absent=True))
    assert dependencies(without(old, "b", a="completed").plan) == {"a": [], "c": ["a"]}


def test_a_template_that_reached_through_the_failed_step_still_reaches() -> None:
    """R1-10, R1-31."""
    old = plan(step("a"), step("x", "a"), step("c", "x", params={"v": "{{a.output.id}}"}))
    new = without(old, "x", a="completed").plan
    assert dependencies(new) == {"a": [], "c": ["a"]}
    assert new is not None
    assert faults(new, CAPABILITIES) == []


def test_a_plan_that_needs_the_failed_steps_output_is_refused_with_every_place() -> None:
    """R1-31."""
    old = plan(
        step("x"),
        step("a", "x", params={"v": ["{{x.output.id}}", "{{x.output}} and text"]}),
        step("b", "a"),
        conditional("c", "b", condition="{{x.output.n}} > 1", y="{{b.output}}"),
    )
    found = without(old, "x")
    assert found.plan is None
    assert [(f.loc, f.code) for f in found.faults] == [
        (("steps", 1, "params", "v", 0), "output_needed"),
        (("steps", 1, "params", "v", 1), "output_needed"),
        (("steps", 3, "params", "condition"), "output_needed"),
    ]
    assert found.faults[0].message == "'a' uses x.output.id, which the failed step did not leave"


@pytest.mark.parametrize(
    ("failed", "statuses", "new_id", "code"),
    [("zzz", {}, "plan_2", "unknown_step"), ("a", {"a": "completed"}, "plan_2", "not_failed"), ("a", {}, "plan_1", "same_id"),
     ("a", {"a": "pending"}, "plan_2", "not_failed")],
)  # fmt: skip
def test_what_is_no_recovery_is_refused(failed: str, statuses: Any, new_id: str, code: str) -> None:
    found = without(plan(step("a"), step("b")), failed, new_id, **statuses)
    assert (found.plan, [f.code for f in found.faults]) == (None, [code])


def test_a_text_that_cannot_be_read_may_need_the_failed_step_and_is_refused() -> None:
    old = plan(step("a"), step("b", params={"x": "{{a.output"}))
    assert [f.code for f in without(old, "a").faults] == ["bad_template"]


def test_a_plan_of_the_failed_step_alone_leaves_nothing() -> None:
    assert [f.code for f in without(plan(step("a")), "a").faults] == ["nothing_left"]


def test_a_step_that_nobody_ran_did_not_fail() -> None:
    found = replan(plan(step("a"), step("b")), "a", {}, new_id="plan_2", created_at=LATER)
    assert [f.code for f in found.faults] == ["not_failed"]


def test_completed_results_are_reusable_where_the_step_and_all_before_it_are_the_same() -> None:
    """R1-31."""
    old = plan(
        step("a"), step("b", "a"), step("x", "a"), step("c", "x"), step("d", "b"), step("e"), stop_on_error=False
    )
    found = without(old, "x", a="completed", b="completed", c="skipped:dependency_failed", d="running", e="completed")
    assert found.reusable == ("a", "b", "e")
    # A result that cannot be, of a step behind the failed one, is not believed.
    assert "c" not in without(old, "x", a="completed", c="completed").reusable
    # Nor one whose own dependency has to run again.
    assert without(old, "x", a="pending", b="completed").reusable == ()


def test_a_new_plan_can_be_made_without_its_failed_step_again() -> None:
    old = plan(step("a"), step("b", "a"), step("c", "b"), step("d", "c"))
    first = without(old, "b", a="completed").plan
    assert first is not None
    second = without(first, "c", "plan_3", a="completed").plan
    assert dependencies(second) == {"a": [], "d": ["a"]}
