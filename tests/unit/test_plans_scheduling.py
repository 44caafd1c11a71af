"""What to do next with a plan: which steps start, which are skipped and why, how it ends (R1-07, R1-11, R1-29, R1-32, R1-37)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.plans import Plan, StepResult
from orchestrator.plans.scheduling import Decision, decide
from tests.unit.plan_cases import branches, conditional, plan, results, step


def decided(one: Plan, outputs: dict[str, Any] | None = None, cancelled: bool = False, **statuses: str) -> Decision:
    return decide(one, results(**statuses), outputs or {}, cancelled=cancelled)


def skipped(decision: Decision) -> dict[str, str]:
    return {skip.step_id: skip.reason for skip in decision.skip}


def test_one_step_at_a_time_in_the_order_of_the_plan() -> None:
    """R1-29, X-02: also where two could run beside each other."""
    one = plan(step("a"), step("b"), step("c", "a", "b"))
    assert decided(one) == Decision("running", start=("a",))
    assert decided(one, a="running") == Decision("running")
    assert decided(one, a="completed") == Decision("running", start=("b",))
    assert decided(one, a="completed", b="completed") == Decision("running", start=("c",))
    assert decided(one, a="completed", b="completed", c="completed") == Decision("completed")


def test_a_plan_that_says_so_runs_all_steps_that_can_start() -> None:
    """R1-29."""
    one = plan(step("a"), step("b"), step("c", "a", "b"), step("d", "a"), parallel_execution=True)
    assert decided(one).start == ("a", "b")
    assert decided(one, a="completed", b="running").start == ("d",)
    assert decided(one, a="completed", b="completed", d="running").start == ("c",)


def test_absent_dependencies_mean_the_previous_step() -> None:
    """R1-03 with CONTRACT 9: so a plan that says nothing runs one after the other, whatever its width."""
    one = plan(step("a", absent=True), step("b", absent=True), parallel_execution=True)
    assert decided(one).start == ("a",)
    assert decided(one, a="completed").start == ("b",)


def test_dependents_of_a_failed_step_are_skipped_with_the_reason_and_never_run() -> None:
    """R1-11, R1-37: and with `stopOnError` nothing else runs either."""
    one = plan(step("a"), step("b", "a"), step("c", "b"), step("d"))
    decision = decided(one, a="failed")
    assert decision == Decision("failed", skip=decision.skip)
    assert skipped(decision) == {"b": "dependency_failed", "c": "dependency_failed", "d": "stopped"}
    assert decision.skip[0].message == "it depends on 'a', which did not complete"


def test_without_stop_on_error_what_does_not_depend_on_the_failure_still_runs() -> None:
    """R1-11, R1-37, X-07: the plan has failed all the same."""
    one = plan(step("a"), step("b", "a"), step("c", "b"), step("d"), stop_on_error=False)
    decision = decided(one, a="failed")
    assert (decision.status, decision.start) == ("running", ("d",))
    assert skipped(decision) == {"b": "dependency_failed", "c": "dependency_failed"}
    after = decided(one, a="failed", b="skipped:dependency_failed", c="skipped:dependency_failed", d="completed")
    assert after == Decision("failed")


def test_what_runs_beside_a_failure_is_to_be_ended() -> None:
    """R4-34: stop at once; the plan is done when what ran has ended."""
    one = plan(step("a"), step("b"), step("c", "b"), parallel_execution=True)
    decision = decided(one, a="failed", b="running")
    assert (decision.status, decision.cancel, decision.done) == ("running", ("b",), False)
    assert skipped(decision) == {"c": "stopped"}
    assert decided(one, a="failed", b="failed", c="skipped:stopped") == Decision("failed")


@pytest.mark.parametrize(
    ("sentiment", "runs", "not_run"), [("positive", "positive", "negative"), ("negative", "negative", "positive")]
)
def test_exactly_one_of_two_branches_runs_and_the_plan_completes(sentiment: str, runs: str, not_run: str) -> None:
    """R1-32, R1-33, X-05."""
    outputs = {"step_1": {"sentiment": sentiment}}
    known = {"step_1": "completed"}
    started: list[str] = []
    while True:
        decision = decided(branches(), outputs, **known)
        known |= {skip.step_id: f"skipped:{skip.reason}" for skip in decision.skip}
        if decision.done:
            break
        started += decision.start
        known |= dict.fromkeys(decision.start, "completed")
    assert started == [f"step_2_{runs}"]
    assert known[f"step_2_{not_run}"] == "skipped:condition_false"
    assert decision.status == "completed"


def test_neither_branch_runs_and_the_plan_completes_too() -> None:
    """R1-32."""
    decision = decided(branches(), {"step_1": {"sentiment": "neutral"}}, step_1="completed")
    assert (decision.status, skipped(decision)) == (
        "completed", {"step_2_positive": "condition_false", "step_2_negative": "condition_false"},
    )  # fmt: skip


def test_what_depends_on_a_step_with_a_false_condition_is_skipped_and_that_is_no_failure() -> None:
    """R1-11, R1-32: a step starts on completed dependencies alone, and its templates would find nothing."""
    one = plan(conditional("a", condition="false"), step("b", "a"), step("c", "b"), step("d"))
    decision = decided(one)
    assert skipped(decision) == {"a": "condition_false", "b": "dependency_skipped", "c": "dependency_skipped"}
    assert decision.start == ("d",)
    rest = {"a": "skipped:condition_false", "b": "skipped:dependency_skipped", "c": "skipped:dependency_skipped"}
    assert decided(one, **rest, d="completed") == Decision("completed")


def test_a_failed_dependency_weighs_more_than_a_skipped_one() -> None:
    one = plan(conditional("a", condition="false"), step("b"), step("c", "a", "b"), stop_on_error=False)
    assert skipped(decided(one, a="skipped:condition_false", b="failed")) == {"c": "dependency_failed"}


@pytest.mark.parametrize(
    ("condition", "output", "why"),
    [("{{a.output.x}} === 1", {}, "has no member 'x'"), ("{{a.output}}", 1, "true or false, not number"), ("{{a.output}} < 2", "1", "two numbers")],
)  # fmt: skip
def test_a_condition_without_a_value_fails_its_step(condition: str, output: Any, why: str) -> None:
    """R1-33, REQUIREMENTS 4: what is missing is an error, and the step is not tried again."""
    one = plan(step("a"), conditional("b", "a", condition=condition), step("c", "b"))
    decision = decided(one, {"a": output}, a="completed")
    assert [name for name, _ in decision.fail] == ["b"]
    assert why in decision.fail[0][1]
    assert (decision.status, skipped(decision)) == ("failed", {"c": "dependency_failed"})


def test_an_output_that_is_not_kept_inline_is_missing_for_a_condition() -> None:
    one = plan(step("a"), conditional("b", "a", condition="{{a.output}} === 1"))
    assert "nothing of step 'a'" in decided(one, {}, a="completed").fail[0][1]


def test_nothing_starts_in_the_decision_in_which_a_condition_fails() -> None:
    """R1-37: whatever the order in which the two stand."""
    one = plan(step("a"), step("b", "a"), conditional("c", "a", condition="{{a.output.x}}"), parallel_execution=True)
    decision = decided(one, {"a": {}}, a="completed")
    assert (decision.start, decision.status, skipped(decision)) == ((), "failed", {"b": "stopped"})


@pytest.mark.parametrize("stop_on_error", [True, False])
def test_a_denial_by_a_policy_stops_the_plan_as_failed(stop_on_error: bool) -> None:
    """R1-19, X-05: the step is skipped, and the plan stops whatever it says of errors."""
    one = plan(step("a"), step("b", "a"), step("c"), stop_on_error=stop_on_error)
    decision = decided(one, a="skipped:policy_denied")
    assert (decision.status, skipped(decision)) == ("failed", {"b": "dependency_failed", "c": "stopped"})


def test_a_cancelled_plan_starts_nothing_more() -> None:
    """R1-07."""
    one = plan(step("a"), step("b", "a"), step("c"))
    decision = decided(one, cancelled=True, a="running")
    assert (decision.status, decision.cancel, skipped(decision)) == (
        "running",
        ("a",),
        {"b": "cancelled", "c": "cancelled"},
    )
    assert decided(one, cancelled=True, a="failed", b="skipped:cancelled", c="skipped:cancelled") == Decision(
        "cancelled"
    )
    assert decided(one, cancelled=True).status == "cancelled"


def test_a_plan_whose_last_step_completed_is_not_cancelled_afterwards() -> None:
    assert decided(plan(step("a")), cancelled=True, a="completed") == Decision("completed")


def test_steps_that_wait_for_each_other_are_told_and_not_waited_for() -> None:
    with pytest.raises(ValueError, match="wait for each other"):
        decided(plan(step("a", "b"), step("b", "a")))


PLANS = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.tuples(*[st.sets(st.integers(0, max(0, at - 1)), max_size=3) if at else st.just(set()) for at in range(n)]),
        st.lists(st.sampled_from(["ok", "ok", "ok", "fail", "false", "broken", "deny"]), min_size=n, max_size=n),
        st.booleans(),
        st.booleans(),
        st.lists(st.integers(0, 7), min_size=n, max_size=n),
    )
)


@given(PLANS)
def test_a_plan_ends_and_no_step_runs_before_its_dependencies_completed(drawn: Any) -> None:
    """R1-11, R1-29: whatever fails, is false or denied, and in whatever order running steps end."""
    edges, fates, parallel, stop, order = drawn
    conditions = {"false": "false", "broken": "1"}
    steps = [
        conditional(f"s{n}", *(f"s{m}" for m in sorted(e)), condition=conditions[fate])
        if fate in conditions
        else step(f"s{n}", *(f"s{m}" for m in sorted(e)))
        for n, (e, fate) in enumerate(zip(edges, fates, strict=True))
    ]
    one = plan(*steps, parallel_execution=parallel, stop_on_error=stop)
    fate_of = {f"s{n}": fate for n, fate in enumerate(fates)}
    known: dict[str, StepResult] = {}
    started: list[str] = []
    for turn in range(4 * len(steps) + 4):
        decision = decide(one, known, {})
        known |= {
            s.step_id: StepResult(step_id=s.step_id, status="skipped", skip_reason=s.reason) for s in decision.skip
        }
        known |= {name: StepResult(step_id=name, status="failed", error=why) for name, why in decision.fail}
        for name in decision.start:
            needed = next(s for s in steps if s.id == name).dependencies or []
            assert all(known[other].status == "completed" for other in needed)
            assert name not in started
            started.append(name)
            known[name] = StepResult(step_id=name, status="running")
        running = [name for name, result in known.items() if result.status == "running"]
        assert parallel or len(running) <= 1
        if decision.done:
            break
        ends = running[order[turn % len(order)] % len(running)]
        status = {"ok": "completed", "fail": "failed", "deny": "skipped"}[fate_of[ends]]
        reason = "policy_denied" if status == "skipped" else None
        known[ends] = StepResult(step_id=ends, status=status, skip_reason=reason)
    assert decision.done
    assert set(known) == set(fate_of)
    assert not running
    assert parallel or started == sorted(started)
    bad = [n for n, r in known.items() if r.status == "failed" or r.skip_reason == "policy_denied"]
    assert decision.status == ("failed" if bad else "completed")
    assert decide(one, known, {}) == Decision(decision.status), "asked again, it says the same and does nothing"
