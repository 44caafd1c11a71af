"""Which outputs a step refers to, in its templates and its condition, and whether it may (R1-10)."""

from collections.abc import Iterator

from orchestrator.contracts.plans import Plan, PlanStep
from orchestrator.plans import conditions, templates
from orchestrator.plans.faults import ConditionError, Fault, Loc, TemplateError
from orchestrator.plans.graph import Graph
from orchestrator.plans.paths import Path


def faults(plan: Plan, graph: Graph, at: int) -> Iterator[Fault]:
    """What is wrong with the references of one step of a resolved plan, in its templates and its condition (R1-10)."""
    before = graph.before(at)
    for loc, read in paths_of(plan.steps[at], ("steps", at, "params")):
        if isinstance(read, Fault):
            yield read
        elif read.step not in graph.place:
            yield Fault(loc, "unknown_reference", f"{read} refers to {read.step!r}, which no step is named")
        elif not before >> graph.place[read.step] & 1:
            told = f"{read} refers to a step that {plan.steps[at].id!r} does not depend on"
            yield Fault(loc, "unreachable_reference", told)
        elif read.parts[:1] != ("output",):
            told = f"{read}: of a step only its output can be referred to, {{{{{read.step}.output}}}}"
            yield Fault(loc, "not_an_output", told)


def paths_of(step: PlanStep, loc: Loc = ()) -> Iterator[tuple[Loc, Path | Fault]]:
    """Every path that a step's params name, with its place; in place of a text that cannot be read, its fault."""
    for where, text in templates.texts(step.params, loc):
        if step.type == "conditional" and where == (*loc, "condition"):
            yield from _paths_of_condition(text, where)
            continue
        try:
            yield from ((where, piece) for piece in templates.pieces(text) if isinstance(piece, Path))
        except TemplateError as fault:
            yield where, Fault(where, "bad_template", str(fault))


def _paths_of_condition(source: str, loc: Loc) -> Iterator[tuple[Loc, Path | Fault]]:
    try:
        yield from ((loc, ref.path) for ref in conditions.refs(conditions.parse(source)))
    except ConditionError as fault:
        yield loc, Fault(loc, "bad_condition", str(fault))
