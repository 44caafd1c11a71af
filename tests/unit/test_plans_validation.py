"""Every fault of a plan, told at once and before anything runs (R1-09 to R1-15)."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.plans import Plan
from orchestrator.plans import schemas, waits
from orchestrator.plans.graph import Graph, resolved
from orchestrator.plans.validation import Limits, capability_params, faults
from tests.unit.plan_cases import CAPABILITIES, TIME, Capability, branches, conditional, plan, step


def told(
    one: Plan, capabilities: Any = CAPABILITIES, limits: Limits | None = None
) -> list[tuple[tuple[str | int, ...], str]]:
    return [(fault.loc, fault.code) for fault in faults(one, capabilities, limits)]


def test_the_seeds_branches_are_valid() -> None:
    """R1-32."""
    capabilities = {name: Capability() for name in ("work", "sentiment_analysis")}
    assert told(branches(), capabilities) == []


def test_absent_dependencies_mean_the_previous_step_and_empty_ones_none() -> None:
    """R1-03 with CONTRACT 9."""
    one = plan(step("a", absent=True), step("b", absent=True), step("c"), step("d", "a"), step("e", absent=True))
    assert [s.dependencies for s in resolved(one).steps] == [[], ["a"], [], ["a"], ["d"]]
    assert resolved(resolved(one)) == resolved(one)
    assert one.steps[0].dependencies is None, "the plan that was posted stays as it was"


def test_all_faults_are_told_at_once_each_with_its_place_and_rule() -> None:
    """R1-12."""
    wrong = plan(
        step("a", "b"),
        step("b", "a", name="nobody"),
        step("b", params={"x": "{{a.output"}),
        step("d", "zzz", name="off", params={"x": "{{c.output}}", "y": ["{{a.output.id}}"]}),
        conditional("e", "d", condition="{{d.output}} == "),
        step("f", "d", type="conditional"),
        step("g", "d", type="wait", params={"duration": 1, "until": TIME}),
        step("h", "i", params={"x": "{{i.status}}"}),
        step("i"),
    )
    capabilities = CAPABILITIES | {"off": Capability(enabled=False)}
    assert told(wrong, capabilities, Limits(max_steps=8)) == [
        (("steps",), "too_many_steps"),
        (("steps", 0, "dependencies"), "cycle"),
        (("steps", 1, "name"), "unknown_capability"),
        (("steps", 2, "id"), "duplicate_id"),
        (("steps", 2, "params", "x"), "bad_template"),
        (("steps", 3, "dependencies", 0), "unknown_dependency"),
        (("steps", 3, "name"), "capability_disabled"),
        (("steps", 3, "params", "x"), "unknown_reference"),
        (("steps", 3, "params", "y", 0), "unreachable_reference"),
        (("steps", 4, "params", "condition"), "bad_condition"),
        (("steps", 5, "params"), "no_condition"),
        (("steps", 6, "params"), "bad_wait"),
        (("steps", 7, "dependencies", 0), "order"),
        (("steps", 7, "params", "x"), "not_an_output"),
    ]


def test_a_fault_is_served_as_problems_are() -> None:
    fault = faults(plan(step("a", name="x")), CAPABILITIES)[0]
    assert fault.as_json() == {
        "loc": ["steps", 0, "name"],
        "code": "unknown_capability",
        "msg": "no capability is named 'x'",
    }


def test_a_cycle_is_named_as_a_way() -> None:
    """R1-12."""
    one = plan(step("a", "c"), step("b", "a"), step("c", "b"), step("d", "d"), step("e", "a"))
    found = [f.message for f in faults(one, CAPABILITIES)]
    assert found == ["steps wait for each other: a -> c -> b -> a", "steps wait for each other: d -> d"]


def test_a_knot_of_cycles_is_told_by_one_of_them() -> None:
    one = plan(step("a", "b", "c"), step("b", "a"), step("c", "a"))
    assert [f.message for f in faults(one, CAPABILITIES)] == ["steps wait for each other: a -> b -> a"]


def test_a_step_stands_behind_what_it_depends_on() -> None:
    """X-02: the order of the steps is the order of execution."""
    assert told(plan(step("a", "b"), step("b"))) == [(("steps", 0, "dependencies", 0), "order")]


def test_a_template_refers_to_what_came_before_over_any_number_of_steps() -> None:
    """R1-10."""
    reach = {"params": {"x": "{{a.output.id}}"}}
    assert told(plan(step("a"), step("b", "a"), step("c", "b", **reach))) == []
    assert told(plan(step("a"), step("b"), step("c", "b", **reach))) == [
        (("steps", 2, "params", "x"), "unreachable_reference")
    ]
    assert told(plan(step("a", **reach))) == [(("steps", 0, "params", "x"), "unreachable_reference")]
    assert told(plan(step("a"), conditional("b", condition="{{a.output}} === 1"))) == [
        (("steps", 1, "params", "condition"), "unreachable_reference")
    ]


def test_names_of_members_are_no_templates() -> None:
    """R1-09."""
    assert told(plan(step("a", params={"{{b.output": 1}))) == []


def test_a_condition_is_one_only_in_a_conditional_step() -> None:
    """R1-33."""
    assert told(plan(step("a", params={"condition": "not ( a condition"}))) == []
    assert told(plan(conditional("a", condition="not ( a condition"))) == [
        (("steps", 0, "params", "condition"), "bad_condition")
    ]
    assert told(plan(step("a", type="conditional", params={"condition": 1}))) == [
        (("steps", 0, "params"), "no_condition")
    ]


def test_a_conditionals_capability_does_not_get_the_condition() -> None:
    """R1-33."""
    assert capability_params(conditional("a", condition="true", x=1)) == {"x": 1}
    assert capability_params(step("a", params={"condition": "text", "x": 1})) == {"condition": "text", "x": 1}
    strict = {
        "work": Capability(input_schema={"properties": {"x": {"type": "integer"}}, "additionalProperties": False})
    }
    assert told(plan(conditional("a", condition="true", x=1)), strict) == []


def test_a_disabled_capability_is_never_planned_and_a_model_that_is_not_there_is_a_disabled_one() -> None:
    """R1-15, CONTRACT 5."""
    assert told(plan(step("a", type="llm", name="writer"))) == [(("steps", 0, "name"), "capability_disabled")]
    off = {"work": Capability(enabled=False)}
    for type_ in ("tool", "agent", "llm"):
        assert told(plan(step("a", type=type_)), off) == [(("steps", 0, "name"), "capability_disabled")]
    assert told(plan(conditional("a", condition="true")), off) == [(("steps", 0, "name"), "capability_disabled")]


def test_a_wait_calls_nothing() -> None:
    """R1-34."""
    assert told(plan(step("a", type="wait", name="a_while", params={"duration": 1000})), {}) == []


@pytest.mark.parametrize(
    "params", [{"duration": 0}, {"duration": 2.5}, {"until": TIME}, {"until": "2026-01-02T03:04:05.678+02:00"}]
)
def test_a_wait_has_a_duration_or_an_end(params: dict[str, Any]) -> None:
    """R1-34."""
    assert told(plan(step("a", type="wait", params=params))) == []


@pytest.mark.parametrize(
    "params",
    [{}, {"duration": 1, "until": TIME}, {"duration": -1}, {"duration": "1000"}, {"duration": True}, {"duration": None},
     {"duration": waits.MAX_MS + 1}, {"until": "tomorrow"}, {"until": "2026-02-30T00:00:00Z"}, {"until": 5}],
)  # fmt: skip
def test_a_wait_with_neither_both_or_something_else_is_refused(params: dict[str, Any]) -> None:
    """R1-34."""
    assert [code for _, code in told(plan(step("a", type="wait", params=params)))] == ["bad_wait"]


def test_a_wait_may_take_its_duration_from_a_step() -> None:
    assert told(plan(step("a"), step("b", "a", type="wait", params={"duration": "{{a.output.ms}}"}))) == []


def test_a_wait_is_over_when_it_says() -> None:
    """R1-34: computed from when it began, so that a restart changes nothing."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    assert waits.due({"duration": 1500}, began) == datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert waits.due({"until": "2026-01-02T02:00:00+02:00"}, began) == datetime(2026, 1, 2, tzinfo=UTC)
    for params in ({}, {"duration": "x"}, {"until": "{{a}}"}):
        with pytest.raises(ValueError, match=r"duration|until"):
            waits.due(params, began)


# Params against the capability's schema.

SCHEMA = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "format": "email"},
        "kind": {"enum": ["blog", "email", "social"]},
        "count": {"type": "integer", "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["to"],
    "additionalProperties": False,
}
MAIL = {"work": Capability(input_schema=SCHEMA)}


def wrong_params(**params: Any) -> list[tuple[str | int, ...]]:
    one = plan(step("a"), step("b", "a", params=params))
    return [
        f.loc[3:] for f in faults(one, {"work": MAIL["work"]}) if f.loc[:2] == ("steps", 1) and f.code == "bad_params"
    ]


def test_params_are_held_to_the_schema_before_anything_runs() -> None:
    """R1-14."""
    assert wrong_params(to="a@b.example", kind="blog", count=5, tags=["x"]) == []
    assert wrong_params(to="nobody", kind="fax", count="5", tags=[1]) == [("count",), ("kind",), ("tags", 0), ("to",)]
    assert wrong_params(kind="blog") == [()]
    assert wrong_params(to="a@b.example", extra=1) == [()]


def test_a_template_is_held_to_the_schema_when_it_has_a_value_and_not_before() -> None:
    """R1-09, R1-14."""
    assert (
        wrong_params(to="{{a.output.to}}", kind="{{a.output.kind}}", count="{{a.output.n}}", tags=["{{a.output.t}}"])
        == []
    )
    assert wrong_params(kind="{{a.output.kind}}") == [()], "what is missing stays missing"
    assert wrong_params(to="{{a.output.to}}", more="{{a.output.x}}") == [()], "and what is too much stays so"
    assert schemas.faults(SCHEMA, {"to": "{{a.output.to}}"}), "once bound, nothing is a template any more"


def test_defaults_of_the_schema_hold_where_params_say_nothing() -> None:
    """R1-14: `maxResults` is 5; also where the schema requires what it has a default for."""
    search = {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "maxResults": {"type": "number", "default": 5},
            "page": {"properties": {"size": {"default": 10}}},
        },
        "required": ["query", "maxResults"],
    }
    assert schemas.filled(search, {"query": "x"}) == {"query": "x", "maxResults": 5}
    assert schemas.filled(search, {"maxResults": 2, "page": {}}) == {"maxResults": 2, "page": {"size": 10}}
    assert schemas.filled({}, [1]) == [1]
    assert told(plan(step("a", params={"query": "x"})), {"work": Capability(input_schema=search)}) == []
    assert len(told(plan(step("a")), {"work": Capability(input_schema=search)})) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "https://schemas.invalid/x.json"},
        {"$ref": "#/missing"},
        {"const": float("nan")},
        {"properties": {"x": {"pattern": "("}}},
    ],
)
def test_a_schema_that_cannot_be_followed_is_a_fault_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    found = told(plan(step("a", params={"x": "y"})), {"work": Capability(input_schema=schema)})
    assert found == [(("steps", 0, "name"), "bad_schema")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # with which jsonschema would read it all the same
def test_a_schema_is_not_read_from_elsewhere_though_it_is_there(tmp_path: Path) -> None:
    there = tmp_path / "schema.json"
    there.write_text("{}")
    found = told(plan(step("a")), {"work": Capability(input_schema={"$ref": there.as_uri()})})
    assert found == [(("steps", 0, "name"), "bad_schema")]


def test_a_hostile_plan_is_answered_with_a_bounded_list() -> None:
    many = {"params": {"x": ["{{"] * 2000}}
    assert len(faults(plan(*(step(f"s{n}", **many) for n in range(3))), CAPABILITIES)) == 1000


def test_a_plan_with_too_much_in_its_params_is_refused_before_the_rest_is_looked_at() -> None:
    wide = {"params": {"x": [1] * 10_000}, "name": "nobody"}
    assert told(plan(step("a", **wide), step("b", **wide))) == [(("steps",), "too_large")]


def test_the_largest_plan_is_checked() -> None:
    steps = [
        step(f"s{n}", *(f"s{m}" for m in range(256) if m != n), params={"x": f"{{{{s{(n + 1) % 256}.output}}}}"})
        for n in range(256)
    ]
    codes = {f.code for f in faults(plan(*steps), CAPABILITIES, Limits(max_steps=256))}
    assert codes == {"cycle"}


GRAPHS = st.integers(1, 7).flatmap(
    lambda n: st.lists(st.sets(st.integers(0, n - 1), max_size=3), min_size=n, max_size=n)
)


@given(GRAPHS)
def test_cycles_and_reach_are_what_walking_the_graph_shows(edges: list[set[int]]) -> None:
    """R1-10, R1-12, against plain closure by repetition."""
    closure = [set(e) for e in edges]
    for _ in edges:
        closure = [s | {far for near in s for far in closure[near]} for s in closure]
    graph = Graph(plan(*(step(f"s{n}", *(f"s{m}" for m in sorted(e))) for n, e in enumerate(edges))))
    assert [{m for m in range(len(edges)) if graph.before(n) >> m & 1} for n in range(len(edges))] == closure
    on_cycles = {n for n, reached in enumerate(closure) if n in reached}
    found = graph.cycles()
    for circle in found:
        assert circle[0] == circle[-1]
        assert all(b in edges[a] for a, b in pairwise(circle))
    knots = {frozenset(m for m in closure[n] if n in closure[m]) for n in on_cycles}
    assert {frozenset(m for m in closure[c[0]] if c[0] in closure[m]) for c in found} == knots
