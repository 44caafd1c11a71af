"""All that is wrong with a plan, told at once, before anything runs (R1-09 to R1-15, CONTRACT 5).

The model has refused what has the wrong shape; here are the rules between a plan's parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Plan, PlanStep
from orchestrator.contracts.values import count_of
from orchestrator.plans import references, schemas, waits
from orchestrator.plans.faults import Fault
from orchestrator.plans.graph import Graph, needed, resolved

MAX_TOLD = 1000
"""Faults of one plan."""


class Capability(Protocol):
    """What a plan's validation asks of a capability."""

    @property
    def enabled(self) -> bool: ...

    @property
    def input_schema(self) -> JsonObject:
        """JSON Schema of its params."""
        ...


class Capabilities(Protocol):
    """Where capabilities are found; a mapping from name to capability is one."""

    def get(self, name: str, /) -> Capability | None:
        """The capability of this name, enabled or not."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan may have at the most."""

    max_steps: int = 100
    max_values: int = 20_000
    """In all params together: what checking a plan costs grows with them."""


def faults(plan: Plan, capabilities: Capabilities, limits: Limits | None = None) -> list[Fault]:
    """All faults of a plan, of a hostile one the first `MAX_TOLD`; none at all means that it is valid."""
    return list(islice(_all(resolved(plan), capabilities, limits or Limits()), MAX_TOLD))


def _all(plan: Plan, capabilities: Capabilities, limits: Limits) -> Iterator[Fault]:
    if len(plan.steps) > limits.max_steps:
        yield Fault(("steps",), "too_many_steps", f"{len(plan.steps)} steps; {limits.max_steps} are allowed")
    values = sum(count_of(step.params) for step in plan.steps)
    if values > limits.max_values:
        told = f"the params consist of {values:,} values; {limits.max_values:,} are allowed (no more was looked at)"
        yield Fault(("steps",), "too_large", told)
        return
    graph = Graph(plan)
    for circle in graph.cycles():
        told = "steps wait for each other: " + " -> ".join(plan.steps[at].id for at in circle)
        yield Fault(("steps", circle[0], "dependencies"), "cycle", told)
    for at, step in enumerate(plan.steps):
        yield from _place(step, at, graph)
        yield from _capability(step, at, capabilities)
        yield from _own_params(step, at)
        yield from references.faults(plan, graph, at)


def _place(step: PlanStep, at: int, graph: Graph) -> Iterator[Fault]:
    first = graph.place[step.id]
    if first != at:
        yield Fault(("steps", at, "id"), "duplicate_id", f"step {first} is named {step.id!r} already")
    for n, name in enumerate(needed(step)):
        loc = ("steps", at, "dependencies", n)
        if name not in graph.place:
            yield Fault(loc, "unknown_dependency", f"no step is named {name!r}")
        elif graph.place[name] > at and not graph.before(graph.place[name]) >> at & 1:  # else it is a cycle, told above
            yield Fault(loc, "order", f"{step.id!r} stands before {name!r}, which it depends on")


def _capability(step: PlanStep, at: int, capabilities: Capabilities) -> list[Fault]:
    """A wait calls nothing; everything else calls what it is named for."""
    if step.type == "wait":
        return []
    capability = capabilities.get(step.name)
    loc = ("steps", at, "name")
    if capability is None and step.type == "llm":
        return [Fault(loc, "capability_disabled", f"no model serves {step.name!r}")]
    if capability is None:
        return [Fault(loc, "unknown_capability", f"no capability is named {step.name!r}")]
    if not capability.enabled:
        return [Fault(loc, "capability_disabled", f"the capability {step.name!r} is disabled")]
    schema = capability.input_schema
    try:
        wrong = schemas.certain_faults(schema, schemas.filled(schema, capability_params(step)))
    except schemas.BadSchema as fault:
        return [Fault(loc, "bad_schema", f"the input schema of {step.name!r}: {fault}")]
    return [Fault(("steps", at, "params", *where), "bad_params", told) for where, told in wrong]


def capability_params(step: PlanStep) -> JsonObject:
    """The params that reach the capability: a conditional's `condition` stays with the executor (R1-33)."""
    own = ("condition",) if step.type == "conditional" else ()
    return {name: value for name, value in step.params.items() if name not in own}


def _own_params(step: PlanStep, at: int) -> list[Fault]:
    """The params that are for the executor (R1-33, R1-34)."""
    loc = ("steps", at, "params")
    if step.type == "conditional" and not isinstance(step.params.get("condition"), str):
        return [Fault(loc, "no_condition", "a conditional step has a text `condition` in its params")]
    if step.type != "wait":
        return []
    given = [name for name in waits.NAMES if name in step.params]
    if len(given) != 1:
        return [Fault(loc, "bad_wait", "a wait has either `duration` (ms) or `until` (a time) in its params")]
    value = step.params[given[0]]
    wrong = None if schemas.is_open(value) else waits.fault_of(given[0], value)
    return [Fault((*loc, given[0]), "bad_wait", wrong)] if wrong else []
