"""Conditions: every vector of REQUIREMENTS 4, its limits, and hostile sources (R1-32, R1-33)."""

import sys
from typing import Any

import pytest

from orchestrator.plans import conditions, tokens
from orchestrator.plans.conditions import Chain, Compare, Literal, Ref, as_json, parse
from orchestrator.plans.evaluation import MAX_STEPS, Steps, evaluate
from orchestrator.plans.faults import ConditionError
from orchestrator.plans.paths import Path

SCOPE: dict[str, Any] = {
    "step_1": {
        "output": {
            "sentiment": "positive", "n": 1, "x": 1.0, "yes": True, "none": None, "b-c": 2, "list": [1, {"a": [2.0]}],
            "empty": {}, "größe": 3, "template": "{{step_1.output.n}}",
        }
    }
}  # fmt: skip


def holds(source: str, scope: Any = SCOPE) -> bool:
    return evaluate(parse(source), scope)


def refusal(source: Any, scope: Any = SCOPE) -> str:
    with pytest.raises(ConditionError) as caught:
        evaluate(parse(source), scope)
    return str(caught.value)


def with_output(value: Any) -> dict[str, Any]:
    return {"a": {"output": value}}


def test_the_seeds_pair_is_true_once() -> None:
    """R1-32, R1-33."""
    assert holds('{{step_1.output.sentiment}} === "positive"')
    assert not holds('{{step_1.output.sentiment}} === "negative"')


@pytest.mark.parametrize(
    "output", ['x" == "x" or "1', 'x" === "x', "' || true || '", '" || true || "', "{{a.output}}", "true", "positive\\"]
)
def test_an_output_is_a_value_and_never_source(output: str) -> None:
    assert not holds('{{a.output}} === "positive"', with_output(output))


def test_a_template_inside_data_stays_text() -> None:
    assert holds('{{step_1.output.template}} === "{{step_1.output.n}}"')
    assert not holds("{{step_1.output.template}} === 1")


def test_quotes_round_a_reference_are_literal_text() -> None:
    assert holds("\"{{step_1.output.n}}\" === '{{step_1.output.n}}'")
    assert not holds('"{{step_1.output.n}}" === 1')


@pytest.mark.parametrize(
    "source",
    [
        "1 === 1.0", "1 == 1e0", "-0 === 0", "true !== 1", "0 !== false", '"1" !== 1', "null !== false", "null === null",
        '"" !== null', "[] === []", "[1, [2.0]] === [1.0, [2]]", "[1, 2] !== [2, 1]", "[] !== {{step_1.output.empty}}",
        "{{step_1.output.n}} === {{step_1.output.x}}", "{{step_1.output.list}} == [1, {{step_1.output.list[1]}}]",
        "{{step_1.output.list[1].a[0]}} === 2", "{{step_1.output.b-c}} === 2", "{{ step_1.output.n }} === 1",
        "{{step_1.output.größe}} === 3", "1 < 2", "2 <= 2.0", '"a" < "b"', '"b" >= "a"', "2 > 1", "1 in [3, 2, 1.0]",
        "!(1 in [])", "!(true in [1])", "[1] in [[1]]", "{{step_1.output.n}} in {{step_1.output.list}}", "!false",
        "!!true", "true && true || false", "false && true || true", "true || false && false", "!(true && false)",
        "(((true)))", "'it\\'s' === \"it's\"", '\'a"b\' === "a\\"b"', '"\\u0041\\n" === "A\\n"', '"\\ud83d\\ude00" === "😀"',
        "1<2&&2<3", "\t1\n<\r2 ", "{{step_1.output.none}} === null", "{{step_1.output.yes}}", "9999999999999999 > 1",
    ],
)  # fmt: skip
def test_what_is_true(source: str) -> None:
    assert holds(source) is True


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "not empty"), ("   ", "not empty"), ("true true", "an operator, or the end"), ("1 < 2 < 3", "an operator"),
        ("1", "a condition is true or false, not number"), ('"x"', "not string"), ("null", "not null"), ("[]", "not object"),
        ("!1", "what ! takes is true or false"), ("1 && true", "what && takes"), ("true && 1", "what && takes"),
        ('false || "x"', r"what \|\| takes"), ('1 < "2"', "two numbers or two texts, not number and string"),
        ("true < 2", "not bool and number"), ("null <= null", "not null and null"), ("[1] < [2]", "not object and object"),
        ('"a" in "abc"', "a list at its right, not string"), ('"n" in {{step_1.output}}', "not object"),
        ("{{step_1.output.missing}} === 1", "has no member 'missing'"), ("{{step_1.output.missing}}", "has no member"),
        ("{{step_2.output}} === 1", "nothing of step 'step_2'"), ("{{step_1.output.list[2]}} === 1", "no item 2"),
        ("{{step_1.output.list.length}} === 2", "no member 'length'"), ("{{step_1.output.n.a}} === 2", "no member 'a'"),
        ("{{step_1.output[0]}} === 2", "no item 0"), ("{{step_1.output.sentiment[0]}} === 'p'", "no item 0"),
        ("{{step_1.output.__class__}} === 1", "no member '__class__'"), ("{{step_1.__class__}} === 1", "no member"),
        ("{{__builtins__}} === 1", "nothing of step"), ("9**9 === 1", r"begins with '\*'"), ("1 + 1 === 2", r"begins with '\+'"),
        ("1-1 === 0", "an operator"), ("a === 1", "begins with 'a'"), ("len(1)", "begins with 'l'"), ("True", "begins with 'T'"),
        ("undefined === 1", "begins with 'u'"), ("NaN === NaN", "begins with 'N'"), ("Infinity > 1", "begins with 'I'"),
        ("-Infinity < 1", "begins with '-'"), ("nulls === 1", "begins with 'n'"), ("01 === 1", "begins with '0'"),
        ("1. === 1", "begins with '1'"), (".5 < 1", r"begins with '\.'"), ("0x10 === 16", "begins with '0'"),
        ("1 in1", "begins with 'i'"), ("1 = 1", "begins with '='"), ("true & true", "begins with '&'"), ("true;", "begins with ';'"),
        ("{} === {}", "begins with '{'"), ("`a` === `a`", "begins with '`'"), ('{{step_1.output.n}} === "b', "begins with '\"'"),
        ("{{a}} === 'b", "begins with \"'\""), ('"\\x41" === "A"', "an escape"), ('"\\\'" === "x"', "an escape"),
        ('"a\nb" === "x"', "begins with"), ('"\\ud800" === "x"', "lone surrogate"), ("'\\udc00' === 'x'", "lone surrogate"),
        ('"\ud800" === "x"', "lone surrogate"), ("{{step_1", "does not close"), ("{{}} === 1", "name of a step"),
        ("{{step_1.}} === 1", "goes on with"), ("{{step_1..a}} === 1", "goes on with"), ("{{step_1[-1]}} === 1", "goes on with"),
        ("{{step_1[01]}} === 1", "goes on with"), ("{{step_1['a']}} === 1", "goes on with"), ("{{step_1.a?}} === 1", "goes on with"),
        ("{{step_1 .a}} === 1", "goes on with"), ("{{ {{step_1}} }} === 1", "name of a step"), ("(true", r"a \) was expected"),
        ("true)", "an operator, or the end"), ("[1", r"a \] was expected"), ("[1,]", "a value was expected"), ("()", "a value"),
        ("&& true", "a value"), ("true &&", "a value"), ("=== 1", "a value"), ("in [1]", "a value"), ("!", "a value"),
        ("1e999 > 1", "too large"), ("12345678901234567 > 1", "at most 16 digits"), ("0.12345678901234567 < 1", "16 digits"),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(source: str, why: str) -> None:
    with pytest.raises(ConditionError, match=why):
        evaluate(parse(source), SCOPE)


def test_a_refusal_says_where() -> None:
    with pytest.raises(ConditionError) as caught:
        parse("true && {{step_1.output!}}")
    assert (caught.value.position, caught.value.sentence) == (23, "a path goes on with .key or [number]")


def test_what_is_not_reached_is_not_looked_at() -> None:
    assert holds("true || {{missing.output}} === 1")
    assert not holds("false && {{missing.output}} === 1")


@pytest.mark.parametrize("source", [None, 1, b"true", ["true"]])
def test_a_source_that_is_no_text_is_refused(source: Any) -> None:
    assert refusal(source).startswith("a condition is a text")


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), {1, 2}, object(), b"x", (1,), type("Odd", (dict,), {})(), {1: 2}],
)
def test_data_that_is_not_json_is_refused_where_it_is_met(value: Any) -> None:
    scope = {"a": {"output": value}, "b": {"output": {"x": 1} if isinstance(value, dict) else value}}
    assert refusal("{{a.output}} === {{b.output}}", scope)


def test_data_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    assert "nested deeper than 64" in refusal(
        "{{a.output}} === {{b.output}}", {"a": {"output": value}, "b": {"output": [value]}}
    )


# The limits, each at its edge.


def test_2000_characters_are_read_and_one_more_is_not() -> None:
    source = "true" + " " * (tokens.MAX_SOURCE - 4)
    assert holds(source)
    assert "at most 2,000 characters" in refusal(source + " ")


def test_256_words_are_read_and_one_more_is_not() -> None:
    source = "!" + "&&".join(["true"] * 128)
    assert len(tokens.tokens(source)) == tokens.MAX_TOKENS + 1
    assert not holds(source)
    assert "at most 256 words" in refusal("!" + source)


@pytest.mark.parametrize(("opens", "closes"), [("(", ")"), ("!", ""), ("[", "]")])
def test_32_levels_are_read_and_one_more_is_not(opens: str, closes: str) -> None:
    parse(opens * conditions.MAX_DEPTH + "true" + closes * conditions.MAX_DEPTH)
    with pytest.raises(ConditionError, match="at most 32 deep"):
        parse(opens * (conditions.MAX_DEPTH + 1) + "true" + closes * (conditions.MAX_DEPTH + 1))


def test_16_parts_of_a_path_are_read_and_one_more_is_not() -> None:
    parse("{{a" + ".b" * 15 + "}}")
    with pytest.raises(ConditionError, match="at most 16 parts"):
        parse("{{a" + ".b" * 16 + "}}")


def test_16_digits_are_read_and_one_more_is_not() -> None:
    assert holds("9007199254740991 === 9007199254740991")
    assert "16 digits" in refusal("90071992547409910 === 1")


def test_data_is_compared_64_deep_and_no_deeper() -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    scope = {"a": {"output": nested(64)}, "b": {"output": nested(64)}}
    assert holds("{{a.output}} === {{b.output}}", scope)
    scope = {"a": {"output": nested(65)}, "b": {"output": nested(65)}}
    assert "nested deeper" in refusal("{{a.output}} === {{b.output}}", scope)


def test_an_evaluation_ends_after_so_many_steps() -> None:
    big = list(range(MAX_STEPS))
    assert "at most 4,000 steps" in refusal(
        "{{a.output}} === {{b.output}}", {"a": {"output": big}, "b": {"output": [*big]}}
    )
    assert "steps" in refusal("-1 in {{a.output}}", with_output(big))
    assert "steps" in refusal("[] in {{a.output}}", with_output([[0]] * (MAX_STEPS // 2)))
    text = "x" * 2**20
    many = " && ".join(["{{a.output}} === {{b.output}}"] * 20)
    assert "steps" in refusal(many, {"a": {"output": text}, "b": {"output": text + ""}})
    named = {"x" * 2**20: 1}
    many = " && ".join(["{{a.output}} === {{b.output}}"] * 5)
    assert "steps" in refusal(many, {"a": {"output": named}, "b": {"output": dict(named)}})
    wide = {str(n): n for n in range(MAX_STEPS)}
    assert "steps" in refusal("{{a.output}} === {{b.output}}", {"a": {"output": wide}, "b": {"output": dict(wide)}})


HOSTILE = {
    "brackets": "(" * 5000,
    "brackets within the length": "(" * 2000,
    "brackets that close": "(" * 127 + "true" + ")" * 127,
    "negations": "!" * 20_000,
    "negations within the length": "!" * 2000,
    "lists": "[" * 2000,
    "list items": "[" + "1," * 900 + "1] === []",
    "power": "9**9**9**9",
    "long number": "9" * 2000,
    "exponent": "1e" + "9" * 1000,
    "escapes that do not close": '"' + "\\\\" * 990 + "\\",
    "quotes": "'\"" * 1000,
    "references that do not close": "{{" * 1000,
    "long path": "{{a" + ".b" * 900 + "}}",
    "long key": "{{" + "a" * 1990 + "}}",
    "blanks": " " * 1999 + "x",
    "import": "__import__('os').system('true')",
    "attribute": "{{step_1.output.__class__.__mro__[1].__subclasses__}} === 1",
    "format": "{{step_1.output.sentiment!r:{{step_1}}}} === 1",
    "chain of equals": "1" + " === 1" * 200,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_source_is_refused_in_few_steps(source: str) -> None:
    """Counted in calls of functions: reading is linear in what the limits let through."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        with pytest.raises(ConditionError):
            evaluate(parse(source), SCOPE)
    finally:
        sys.setprofile(None)
    assert calls < 20_000


# The tree, as it goes into a plan's digest.


def test_the_tree_is_plain_data() -> None:
    tree = parse('{{a.output[0].x}} === "p" && !(1 in [true, null])')
    assert as_json(tree) == [
        "&&",
        ["===", ["ref", "a", "output", 0, "x"], ["literal", "p"]],
        ["!", ["in", ["number", "1"], ["list", ["literal", True], ["literal", None]]]],
    ]
    assert isinstance(tree, Chain)
    first = tree.operands[0]
    assert first == Compare("===", Ref(Path("a", ("output", 0, "x"))), Literal("p"))


def test_spellings_of_one_meaning_are_one_tree() -> None:
    assert parse('{{a.output}}=="x"') == parse("( {{ a.output }} === 'x' )")
    assert as_json(parse("1 != 2")) == as_json(parse("1!==2"))


def test_a_number_in_the_tree_is_text_because_a_digest_must_hold_it() -> None:
    assert as_json(parse("9999999999999999 > 1"))[1] == ["number", "9999999999999999"]


def test_the_references_of_a_tree_are_known_before_it_is_evaluated() -> None:
    tree = parse("{{a.output}} in [{{b.output.x}}, 1] || !({{a.output}} < {{c.output}})")
    assert [str(ref.path) for ref in conditions.refs(tree)] == ["a.output", "b.output.x", "a.output", "c.output"]


def test_steps_are_counted() -> None:
    steps = Steps()
    evaluate(parse("{{step_1.output.n}} === 1"), SCOPE, steps)
    assert steps.used == 1 + (1 + 1 + 2) + 1 + 1  # the comparison, the reference and its way, the literal, one pair
