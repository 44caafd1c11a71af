"""Canonical JSON as RFC 8785 has it, and what of a plan a digest covers (R1-12, REQUIREMENTS 3.1)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.plans import Plan
from orchestrator.plans import content
from orchestrator.plans.canonical import canonical, digest
from tests.unit.plan_cases import branches, conditional, plan, step

# The examples of RFC 8785: 3.2.2, 3.2.3 and some of appendix B.
SECTION_3_2_2 = {
    "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
    "literals": [None, True, False],
}
NUMBERS = {
    -0.0: "0", 1.0: "1", 1e21: "1e+21", 1e20: "100000000000000000000", 1e-6: "0.000001", 1e-7: "1e-7",
    9007199254740992.0: "9007199254740992", 295147905179352830000.0: "295147905179352830000",
    5e-324: "5e-324", 1.7976931348623157e308: "1.7976931348623157e+308", 333333333.3333332: "333333333.3333332",
}  # fmt: skip


def test_the_example_of_the_rfc() -> None:
    assert canonical(SECTION_3_2_2).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@pytest.mark.parametrize(("number", "text"), NUMBERS.items())
def test_numbers_are_written_as_javascript_writes_them(number: float, text: str) -> None:
    assert canonical(number).decode() == text


def test_members_are_ordered_by_utf_16() -> None:
    """RFC 8785 3.2.3: a surrogate pair comes before U+FB33."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(canonical(dict.fromkeys(keys)))) == [
        "\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", 2**53, {1: 1}, {1, 2}, object()])
def test_what_is_not_i_json_has_no_digest(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        digest(value)


def test_a_nesting_that_ends_the_stack_has_none_either() -> None:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deep"):
        digest(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_is_read_again_is_written_the_same(value: Any) -> None:
    text = canonical(value)
    again = json.loads(text, parse_int=lambda digits: int(digits) if abs(int(digits)) < 2**53 else float(digits))
    assert canonical(again) == text


BASE = plan(
    step("a", params={"x": 1}),
    conditional("b", "a", condition="{{a.output.n}} > 1", y="{{a.output}}"),
    step("c", absent=True),
)


def changed(**more: Any) -> Plan:
    return BASE.model_copy(update=more)


def test_each_word_that_decides_what_runs_changes_the_digest() -> None:
    """R1-33, X-02: the reading of a condition and the width are in it."""
    a, b, c = BASE.steps
    variants = [
        changed(parallel_execution=True),
        changed(stop_on_error=False),
        changed(id="plan_2"),
        changed(steps=[b, a, c]),
        changed(steps=[a.model_copy(update={"params": {"x": 2}}), b, c]),
        changed(steps=[a.model_copy(update={"name": "other"}), b, c]),
        changed(steps=[a.model_copy(update={"timeout": 5}), b, c]),
        changed(steps=[a.model_copy(update={"retries": 1}), b, c]),
        changed(steps=[a, conditional("b", "a", condition="{{a.output.n}} >= 1", y="{{a.output}}"), c]),
        changed(steps=[a, b, step("c", "a")]),
    ]
    digests = {content.digest(one) for one in [BASE, *variants]}
    assert len(digests) == 1 + len(variants)


def test_what_means_the_same_has_the_same_digest() -> None:
    a, b, _ = BASE.steps
    assert content.digest(BASE) == content.digest(changed(steps=[a, b, step("c", "b")]))
    assert content.digest(BASE) == content.digest(Plan.model_validate_json(BASE.model_dump_json()))
    one = a.model_copy(update={"params": {"x": 1.0}})
    assert content.digest(BASE) == content.digest(changed(steps=[one, *BASE.steps[1:]]))


def test_the_content_holds_how_conditions_were_read() -> None:
    trees = content.content(branches())["conditions"]
    assert trees["step_2_positive"] == ["===", ["ref", "step_1", "output", "sentiment"], ["literal", "positive"]]
