"""Templates in params, and the paths in them (R1-09, R1-10)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.values import MAX_BYTES
from orchestrator.plans import paths, templates
from orchestrator.plans.faults import PathError, TemplateError
from orchestrator.plans.paths import Path
from orchestrator.plans.templates import bind, pieces

OUTPUT = {
    "id": 7,
    "f": 1.0,
    "s": "x",
    "t": True,
    "z": None,
    "a": [{"b-c": [1, 2]}],
    "o": {"b": 2, "a": "é"},
    "big": 1e21,
}
SCOPE = {"step": {"output": OUTPUT}, "other": {"output": "plain"}}


def bound(value: Any) -> Any:
    return bind({"x": value}, SCOPE)["x"]


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{step.output.id}}", 7), ("{{step.output.f}}", 1.0), ("{{step.output.s}}", "x"), ("{{step.output.t}}", True),
        ("{{step.output.z}}", None), ("{{step.output.a[0].b-c}}", [1, 2]), ("{{step.output.a[0].b-c[1]}}", 2),
        ("{{step.output.o}}", {"b": 2, "a": "é"}), ("{{ step.output.id }}", 7), ("{{other.output}}", "plain"),
    ],
)  # fmt: skip
def test_a_template_that_is_the_whole_text_keeps_the_type(template: str, value: Any) -> None:
    """R1-09."""
    assert bound(template) == value
    assert type(bound(template)) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id {{step.output.id}}!", "id 7!"), ("{{step.output.s}}{{step.output.s}}", "xx"), (" {{step.output.id}}", " 7"),
        ("-{{step.output.f}}", "-1"), ("-{{step.output.t}}", "-true"), ("-{{step.output.z}}", "-null"),
        ("-{{step.output.o}}", '-{"a":"é","b":2}'), ("-{{step.output.a}}", '-[{"b-c":[1,2]}]'), ("-{{step.output.big}}", "-1e+21"),
        ("a }} b", "a }} b"), ("{ {{step.output.id}} }", "{ 7 }"), ("{a}", "{a}"), ("", ""), ("plain", "plain"),
    ],
)  # fmt: skip
def test_a_template_within_a_text_becomes_text(text: str, told: str) -> None:
    """R1-09: text as it is, anything else as canonical JSON."""
    assert bound(text) == told


def test_all_texts_are_bound_however_deep_and_nothing_else_is_touched() -> None:
    params = {"a": [{"b": "{{step.output.id}}"}, 1, None, True], "{{step.output.id}}": "{{step.output.s}}"}
    assert bind(params, SCOPE) == {"a": [{"b": 7}, 1, None, True], "{{step.output.id}}": "x"}
    assert params["a"][0] == {"b": "{{step.output.id}}"}, "the plan's own params stay as they were approved"


def test_there_is_one_pass() -> None:
    """R1-09: what came out of a step is never read as a template."""
    scope = {"a": {"output": "{{b.output}}"}, "b": {"output": "secret"}}
    assert bind({"x": "{{a.output}}", "y": "-{{a.output}}"}, scope) == {"x": "{{b.output}}", "y": "-{{b.output}}"}
    halves = {"a": {"output": "{"}, "b": {"output": "secret"}}
    assert bind({"x": "{{a.output}}{{a.output}}b.output}}"}, halves) == {"x": "{{b.output}}"}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{step.output.missing}}", "step.output has no member 'missing'"), ("{{none.output}}", "nothing of step 'none'"),
        ("{{step.output.a[1]}}", "step.output.a has no item 1"), ("{{step.output.a.length}}", "no member 'length'"),
        ("{{step.output.s.upper}}", "no member 'upper'"), ("{{step.output.__class__}}", "no member '__class__'"),
        ("{{step.output.id.real}}", "no member 'real'"), ("{{step.output.o[0]}}", "no item 0"),
    ],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_a_fault_and_never_null(template: str, why: str) -> None:
    """R1-09: members of objects and places of lists alone, never attributes."""
    for text in (template, f"-{template}"):
        with pytest.raises(TemplateError, match=why.replace("[", r"\[")):
            bound(text)


@pytest.mark.parametrize(
    ("text", "why", "where"),
    [
        ("ab {{step.output", "does not close", 3), ("{{}}", "name of a step", 2), ("{{ }}", "name of a step", 3),
        ("{{step.}}", "goes on with", 6), ("{{step..a}}", "goes on with", 6), ("{{step[a]}}", "goes on with", 6),
        ("{{step[-1]}}", "goes on with", 6), ("{{step[01]}}", "goes on with", 6), ("{{step[9999999999]}}", "goes on", 6),
        ("{{{step.output}}}", "name of a step", 2), ("{{step output}}", "goes on with", 6), ("{{'a'.b}}", "name of a step", 2),
        ("{{a.b|upper}}", "goes on with", 5), ("{{a()}}", "goes on with", 3), ("{{a?}}", "goes on with", 3),
        ("{{a}} {{b", "does not close", 6), ("{{a" + ".b" * 16 + "}}", "at most 16 parts", 33),
        ("{{" + "a" * 2001 + "}}", "at most 2,000 characters", 2), ("{{a}}" * 257, "at most 256 templates", 1280),
    ],
)  # fmt: skip
def test_what_is_no_path_is_a_fault_with_its_place(text: str, why: str, where: int) -> None:
    with pytest.raises(TemplateError, match=why) as caught:
        pieces(text)
    assert caught.value.position == where


def test_16_parts_are_read() -> None:
    assert pieces("{{a" + ".b" * 14 + "[0]}}") == [Path("a", ("b",) * 14 + (0,))]


def test_a_path_is_written_as_it_was_read() -> None:
    for text in ("a", "a.output", "step_1.output.a[0].b-c", "1.x[10][2]"):
        assert str(paths.parse(text)) == text
    with pytest.raises(PathError, match="name of a step"):
        paths.parse("")


def test_outputs_cannot_be_multiplied_into_more_than_params_may_hold() -> None:
    """A text of 256 templates, each worth a megabyte, is refused before it is made."""
    scope = {"a": {"output": "x" * (MAX_BYTES - 10)}}
    assert len(bind({"x": "{{a.output}}"}, scope)["x"]) == MAX_BYTES - 10
    for params in (
        {"x": "{{a.output}}" * 256},
        {"x": ["{{a.output}}"] * 1000},
        {"x": "{{a.output}}", "y": "{{a.output}}"},
    ):
        with pytest.raises(TemplateError, match="too large for params"):
            bind(params, scope)


def test_depth_is_bounded_after_binding_too() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    scope = {"a": {"output": deep}}
    assert bind({"x": "{{a.output}}"}, scope)["x"] is deep
    with pytest.raises(TemplateError, match="nested deeper than 64"):
        bind({"x": [[[["{{a.output}}"]]]]}, scope)


def test_an_output_that_is_not_json_is_refused() -> None:
    for output in (float("nan"), "\ud800", 2**53, object()):
        with pytest.raises(TemplateError, match=r"a\.output"):
            bind({"x": "{{a.output}}"}, {"a": {"output": output}})


@given(st.text(alphabet="{}ab. [0]-_") | st.text())
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    try:
        found = pieces(text)
    except TemplateError:
        return
    again = "".join(piece if isinstance(piece, str) else f"{{{{{piece}}}}}" for piece in found)
    assert again.replace(" ", "") == text.replace(" ", "")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-99, 99) | st.text(),
        lambda i: st.lists(i) | st.dictionaries(st.text(), i),
    )
)
def test_any_output_arrives_as_it_is(output: Any) -> None:
    scope = {"a": {"output": output}}
    assert bind({"x": "{{a.output}}"}, scope) == {"x": output}
    within = bind({"x": "{{a.output}}."}, scope)["x"][:-1]
    assert within == output if isinstance(output, str) else json.loads(within) == output


def test_the_texts_of_params_are_found_with_their_places() -> None:
    found = list(templates.texts({"a": ["x", {"b": "y"}], "c": 1}, ("params",)))
    assert found == [(("params", "a", 0), "x"), (("params", "a", 1, "b"), "y")]
