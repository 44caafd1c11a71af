"""Bodies and problem documents: what is wrong is named, all of it, and a hostile one is told little (CONTRACT 1)."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api import bodies, problems
from orchestrator.api.problems import Refusal
from orchestrator.contracts.errors import Invalid, Malformed, OrchestratorError, TooMany
from orchestrator.contracts.executions import ExecutionRequest
from orchestrator.contracts.queries import QueryRequest


def faults(raw: bytes, model: type = QueryRequest) -> Invalid:
    with pytest.raises(Invalid) as caught:
        bodies.parse(model, raw)
    return caught.value


def test_all_faults_are_named_by_their_place() -> None:
    found = faults(b'{"text": 1, "params": [], "colour": "red"}')
    assert {tuple(e["loc"]) for e in found.errors} == {("text",), ("params",), ("colour",)}
    assert "and 2 more" in found.detail


def test_nested_places_are_paths() -> None:
    found = faults(b'{"code": "", "limits": {"wall_ms": "x"}}', ExecutionRequest)
    assert found.errors[0]["loc"] == ["limits", "wall_ms"]


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"text": "\\ud800"}', b'{"text": NaN}', b"[" * 10_000])
def test_what_is_not_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        bodies.parse(QueryRequest, raw)


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"x"', b"null"])
def test_json_that_is_no_object_is_invalid(raw: bytes) -> None:
    assert "object" in faults(raw).detail


def test_a_million_faults_are_a_few() -> None:
    many = json.dumps({"text": "x", **{f"m{n}": 0 for n in range(50_000)}}).encode()
    assert len(faults(many).errors) <= 50
    items = json.dumps({"code": "", "args": list(range(50_000))}).encode()
    assert len(faults(items, ExecutionRequest).errors) <= 50


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_named_fault(raw: bytes) -> None:
    with contextlib.suppress(Malformed, Invalid):
        bodies.parse(QueryRequest, raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
        max_leaves=20,
    )
)
def test_any_json_is_a_request_or_a_named_fault(value: object) -> None:
    with contextlib.suppress(Malformed, Invalid):
        bodies.parse(QueryRequest, json.dumps({"text": "x", "params": value}).encode())


def test_a_problem_document_keeps_its_members_against_those_added() -> None:
    fault = OrchestratorError(
        "why", code="c", extra={"status": 1, "nearest": ["x"]}, errors=[{"loc": ["a"], "msg": "m"}]
    )
    found = problems.document(fault, "r")
    assert (found["status"], found["code"], found["nearest"], found["errors"]) == (
        500,
        "c",
        ["x"],
        [{"loc": ["a"], "msg": "m"}],
    )
    assert list(found)[:6] == ["type", "title", "status", "detail", "code", "request_id"]


def test_an_answer_carries_the_faults_headers() -> None:
    answer = problems.answer(TooMany("later", retry_after_s=3.2), "r")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "4")  # no sooner than it helps
    assert problems.title(413) == "Content Too Large"
    assert problems.answer(Refusal(421, "host_denied", "no"), "r").status == 421
