"""What to do next with a plan: which steps to start, which to skip and why, whether it is done. Pure (R1-11, X-02).

Asked after every change, it answers from the plan and what is known of its steps, so that a daemon which was killed
goes on where it was. What holds:

- One step at a time, in the order of the plan; with `parallelExecution`, every step that can start (R1-29).
- A step starts when all that it depends on has *completed*. One that failed, was denied or was stopped skips it.
- A false condition skips its own step, and the plan may still complete (R1-32, X-05). What depends on that step is
  skipped as well, and that is no failure either: R1-11 lets a step start on completed dependencies alone, and what it
  may refer to would not be there. A step that shall run after either branch depends on what came before both.
- A condition that cannot be evaluated fails its step, without another attempt.
- After a failure nothing more starts, unless the plan says `stopOnError: false`: then only its dependents are skipped.
  A denial by a policy stops the plan always, and the plan has failed (X-05).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.plans import Plan, PlanStatus, PlanStep, SkipReason, StepResult
from orchestrator.plans import conditions, evaluation
from orchestrator.plans.faults import ConditionError
from orchestrator.plans.graph import needed, resolved
from orchestrator.plans.paths import Scope


@dataclass(frozen=True, slots=True)
class Skip:
    """A step that never runs, why, and why in words."""

    step_id: str
    reason: SkipReason
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and the plan's status once it is done.

    `fail` names steps whose condition has no value, each with the reason. `cancel` names steps that run and shall not
    go on, since the plan stops (R4-34). A terminal `status` comes with nothing to start and nothing running.
    """

    status: PlanStatus
    start: tuple[str, ...] = ()
    skip: tuple[Skip, ...] = ()
    fail: tuple[tuple[str, str], ...] = ()
    cancel: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")


def scope_of(outputs: Mapping[str, Any]) -> Scope:
    """The names that templates and conditions may use: outputs of completed steps, by step."""
    return {step: {"output": output} for step, output in outputs.items()}


def decide(
    plan: Plan, results: Mapping[str, StepResult], outputs: Mapping[str, Any], *, cancelled: bool = False
) -> Decision:
    """What to do next with a valid plan.

    `results` has what is known of steps by id, and a step that it lacks is pending. `outputs` has the outputs of
    completed steps that are small enough to be kept inline; what a condition looks for elsewhere is missing.
    `cancelled`: a person wants no more of it. Raises `ValueError` where steps wait for each other.
    """
    return _Pass(resolved(plan), results, outputs, cancelled).decision()


_HARMLESS = ("condition_false", "dependency_skipped")
"""Why a step may be skipped in a plan that completes."""


class _Pass:
    """One walk over the steps in their order, which is topological: what is skipped is known before its dependents."""

    def __init__(
        self, plan: Plan, results: Mapping[str, StepResult], outputs: Mapping[str, Any], cancelled: bool
    ) -> None:
        self._plan = plan
        self._scope = scope_of(outputs)
        self._cancelled = cancelled
        self._status = {step.id: results[step.id].status if step.id in results else "pending" for step in plan.steps}
        self._running = tuple(id_ for id_, status in self._status.items() if status == "running")
        self._reason = {id_: result.skip_reason for id_, result in results.items()}
        self._start: list[str] = []
        self._skip: list[Skip] = []
        self._fail: list[tuple[str, str]] = []

    def decision(self) -> Decision:
        for step in self._plan.steps:
            if self._status[step.id] == "pending":
                self._consider(step)
            if not self._plan.parallel_execution and (self._start or self._status[step.id] == "running"):
                break  # its turn is not over
        stops = self._stops()
        if stops:
            self._skip_the_rest()
        cancel = self._running if stops else ()
        return Decision(self._plan_status(), tuple(self._start), tuple(self._skip), tuple(self._fail), cancel)

    def _consider(self, step: PlanStep) -> None:
        """Start, skip or fail a pending step, once all that it depends on has ended."""
        if any(self._status[name] in ("pending", "running") for name in needed(step)):
            return
        if self._skipped_for_dependency(step) or self._stops():
            return
        if step.type == "conditional" and not self._condition_holds(step):
            return
        self._start.append(step.id)

    def _skipped_for_dependency(self, step: PlanStep) -> bool:
        for name in needed(step):
            if self._broken(name):
                self._end(step, "dependency_failed", f"it depends on {name!r}, which did not complete")
                return True
        for name in needed(step):
            if self._status[name] == "skipped":
                self._end(step, "dependency_skipped", f"it depends on {name!r}, which was skipped")
                return True
        return False

    def _condition_holds(self, step: PlanStep) -> bool:
        try:
            if evaluation.evaluate(conditions.parse(step.params.get("condition", "")), self._scope):
                return True
        except ConditionError as fault:
            self._status[step.id] = "failed"
            self._fail.append((step.id, f"its condition has no value: {fault}"))
            return False
        self._end(step, "condition_false", "its condition is false")
        return False

    def _skip_the_rest(self) -> None:
        self._start.clear()
        for step in self._plan.steps:
            if self._status[step.id] != "pending":
                continue
            if self._cancelled:
                self._end(step, "cancelled", "the plan was cancelled")
            elif not self._skipped_for_dependency(step):
                self._end(step, "stopped", "the plan stopped before its turn")

    def _end(self, step: PlanStep, reason: SkipReason, message: str) -> None:
        self._status[step.id] = "skipped"
        self._reason[step.id] = reason
        self._skip.append(Skip(step.id, reason, message))

    def _broken(self, name: str) -> bool:
        """Whether a step ended in a way that lets no plan complete."""
        status = self._status[name]
        return status == "failed" or (status == "skipped" and self._reason[name] not in _HARMLESS)

    def _stops(self) -> bool:
        denied = any(self._reason.get(name) == "policy_denied" for name in self._status)
        failed = self._plan.stop_on_error and any(status == "failed" for status in self._status.values())
        return self._cancelled or denied or failed

    def _plan_status(self) -> PlanStatus:
        if self._start or self._running:
            return "running"
        if "pending" in self._status.values():
            raise ValueError("steps of the plan wait for each other: it is not valid")
        if not any(self._broken(name) for name in self._status):
            return "completed"
        return "cancelled" if self._cancelled else "failed"
