"""A new plan without the step that failed (R1-31, seed 001's Pattern 4). It is approved like any other plan (X-07)."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.contracts.plans import Plan, PlanStep, StepResult
from orchestrator.plans import references
from orchestrator.plans.faults import Fault
from orchestrator.plans.graph import Graph, needed, resolved

_NO_ESTIMATES = {"estimated_duration": None, "estimated_cost": None}


@dataclass(frozen=True, slots=True)
class Replanned:
    """The new plan, or why there is none.

    `rewired` names the steps whose dependencies were repaired, `reusable` the completed steps whose results hold in the
    new plan as they are: same step, and all that they depend on reusable too.
    """

    plan: Plan | None
    faults: tuple[Fault, ...] = ()
    rewired: tuple[str, ...] = ()
    reusable: tuple[str, ...] = ()


def replan(
    plan: Plan, failed_step_id: str, results: Mapping[str, StepResult], *, new_id: str, created_at: str
) -> Replanned:
    """A valid plan without the failed step of a valid one, under a new id, for the same goal.

    What depended on the failed step depends on that step's dependencies instead, where it uses nothing of its output.
    Where it does, nothing could stand in for that, and the plan is refused with every such place. Estimates are
    dropped: they were of another plan.
    """
    old = resolved(plan)
    graph = Graph(old)
    faults = _refusals(old, graph, failed_step_id, results, new_id)
    if faults:
        return Replanned(None, tuple(faults))
    failed = old.steps[graph.place[failed_step_id]]
    steps = [_rewired(step, failed) for step in old.steps if step is not failed]
    changed = {"id": new_id, "steps": steps, "created_at": created_at}
    new = Plan.model_validate(old.model_copy(update=changed | _NO_ESTIMATES).model_dump())
    rewired = tuple(step.id for step in old.steps if failed_step_id in needed(step))
    return Replanned(new, (), rewired, _reusable(old, new, results))


def _refusals(plan: Plan, graph: Graph, failed: str, results: Mapping[str, StepResult], new_id: str) -> list[Fault]:
    if failed not in graph.place:
        return [Fault(("steps",), "unknown_step", f"no step is named {failed!r}")]
    found = []
    if new_id == plan.id:
        found.append(Fault(("id",), "same_id", "a new plan has a new id"))
    if failed not in results or results[failed].status != "failed":
        found.append(Fault(("steps", graph.place[failed]), "not_failed", f"the step {failed!r} did not fail"))
    if len(plan.steps) == 1:
        found.append(Fault(("steps",), "nothing_left", "without the failed step there is nothing to do"))
    for at, step in enumerate(plan.steps):
        for loc, path in references.paths_of(step, ("steps", at, "params")):
            if isinstance(path, Fault):
                found.append(path)
            elif path.step == failed:
                told = f"{step.id!r} uses {path}, which the failed step did not leave"
                found.append(Fault(loc, "output_needed", told))
    return found


def _rewired(step: PlanStep, failed: PlanStep) -> PlanStep:
    """The step with the failed one's dependencies in the failed one's place."""
    if failed.id not in needed(step):
        return step
    names = [name for own in needed(step) for name in (needed(failed) if own == failed.id else [own])]
    return step.model_copy(update={"dependencies": list(dict.fromkeys(names))})


def _reusable(old: Plan, new: Plan, results: Mapping[str, StepResult]) -> tuple[str, ...]:
    before = {step.id: step for step in old.steps}
    found: dict[str, None] = {}
    for step in new.steps:
        done = step.id in results and results[step.id].status == "completed"
        if done and step == before[step.id] and all(name in found for name in needed(step)):
            found[step.id] = None
    return tuple(found)
