"""Random conditions against a reference that was written another way, and what evaluating one never does.

`THOROUGH=1` makes ten times as many (20,000).
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.plans.conditions import as_json, parse
from orchestrator.plans.evaluation import MAX_STEPS, Steps, evaluate
from orchestrator.plans.faults import ConditionError

EXAMPLES = 20_000 if os.environ.get("THOROUGH") else 2_000


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


SCOPE: dict[str, Any] = {
    "a": {
        "output": {"s": "x", "n": 1, "f": 1.0, "t": True, "z": None, "l": [1, "x", [True]], "o": {"k": 0, "b-c": False}}
    },
    "b": {"output": [0, "", {"s": 'x" === "x'}]},
}
PATHS = [
    "a.output.s", "a.output.n", "a.output.f", "a.output.t", "a.output.z", "a.output.l", "a.output.l[2][0]", "a.output.o",
    "a.output.o.b-c", "b.output", "b.output[0]", "b.output[2].s", "b.output[3]", "a.output.q", "c.output", "a.output.s.x",
]  # fmt: skip

# A tree is ("value", JSON), ("path", text), ("!", tree), ("list", [trees]) or (operator, left, right).
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 1e3, "", "x", "y", "é'\"\\\n", "😀"])
)
LEAVES = st.tuples(st.just("value"), SCALARS) | st.tuples(st.just("path"), st.sampled_from(PATHS))
OPERATORS = ["===", "!==", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"]
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(st.just("!"), inner)
        | st.tuples(st.just("list"), st.lists(inner, max_size=3))
        | st.tuples(st.sampled_from(OPERATORS), inner, inner)
    ),
    max_leaves=8,
)
# Most of `ANY` is refused, so here are also trees that have the types right more often than not.
SIMPLE = st.tuples(st.just("value"), st.booleans()) | st.tuples(st.sampled_from(["===", "!==", "==", "!="]), ANY, ANY)
ORDERED = st.tuples(
    st.sampled_from(["<", "<=", ">", ">="]),
    *[st.tuples(st.just("value"), st.integers(-3, 3) | st.integers(-300, 300).map(lambda n: n / 100))] * 2,
)
MEMBER = st.tuples(st.just("in"), LEAVES, st.tuples(st.just("list"), st.lists(LEAVES, max_size=3)))
BOOLS = st.recursive(
    SIMPLE | ORDERED | MEMBER,
    lambda inner: st.tuples(st.just("!"), inner) | st.tuples(st.sampled_from(["&&", "||"]), inner, inner),
    max_leaves=6,
)
TREES = BOOLS | ANY


class Wrong(Exception):
    """The reference's one fault."""


def reference(tree: Any) -> Any:
    """What the tree means, said as shortly as Python can: equality is that of normalised JSON text."""
    match tree:
        case ("value", value):
            return value
        case ("path", path):
            try:
                value = SCOPE
                for part in path.replace("]", "").replace("[", ".#").split("."):
                    value = value[int(part[1:])] if part[0] == "#" else value[part]
            except (KeyError, IndexError, TypeError):
                raise Wrong from None
            return value
        case ("!", inner):
            return not truth(reference(inner))
        case ("list", items):
            return [reference(item) for item in items]
        case ("&&", left, right):
            return truth(reference(left)) and truth(reference(right))
        case ("||", left, right):
            return truth(reference(left)) or truth(reference(right))
        case (op, left, right):
            return compared(op, reference(left), reference(right))


def truth(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise Wrong


def compared(op: str, left: Any, right: Any) -> bool:
    if op in ("===", "=="):
        return normal(left) == normal(right)
    if op in ("!==", "!="):
        return normal(left) != normal(right)
    if op == "in":
        if not isinstance(right, list):
            raise Wrong
        return normal(left) in [normal(item) for item in right]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (left, right))
    if not numbers and not (isinstance(left, str) and isinstance(right, str)):
        raise Wrong
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op]


def normal(value: Any) -> str:
    floats = json.loads(json.dumps(value), parse_int=float)
    return json.dumps(floats, sort_keys=True)


def written(tree: Any, chance: Random) -> str:
    """The tree as source, with brackets wherever the grammar or chance wants them."""
    match tree:
        case ("value", str() as text):
            return (
                json.dumps(text, ensure_ascii=chance.random() < 0.5) if chance.random() < 0.5 else single_quoted(text)
            )
        case ("value", value):
            return json.dumps(value)
        case ("path", path):
            return f"{{{{{path}}}}}"
        case ("!", inner):
            return "!" + operand(inner, chance)
        case ("list", items):
            return "[" + ", ".join(written(item, chance) for item in items) + "]"
        case (op, left, right):
            blank = " " if op == "in" else chance.choice(["", " ", "\n\t"])
            return f"{operand(left, chance)}{blank}{op}{blank}{operand(right, chance)}"


def operand(tree: Any, chance: Random) -> str:
    source = written(tree, chance)
    return source if tree[0] in ("value", "path", "list", "!") and chance.random() < 0.8 else f"({source})"


def single_quoted(text: str) -> str:
    return "'" + json.dumps(text)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def outcome(of: Callable[[], Any]) -> Any:
    try:
        return of()
    except (ConditionError, Wrong):
        return "refused"


@pytest.mark.slow
@examples(EXAMPLES)
@given(TREES, st.integers(0, 2**32))
def test_a_random_condition_means_what_the_reference_says(tree: Any, seed: int) -> None:
    """R1-33: the oracle is the tree itself, evaluated over Python values before any source was written."""
    source = written(tree, Random(seed))
    steps = Steps()
    ours = outcome(lambda: evaluate(parse(source), SCOPE, steps))
    assert ours == outcome(lambda: truth(reference(tree))), source
    assert steps.used <= MAX_STEPS


WORDS = [
    "===", "!==", "==", "!=", "<", "<=", ">", ">=", " in ", "&&", "||", "!", "(", ")", "[", "]", ",", "{{", "}}", "{{a.output}}",
    "{{b.output[0]}}", ".", "a", "b-c", "__class__", "true", "false", "null", "0", "1.5", "-1", "1e9", '"x"', "'x'", '"', "'", "\\",
    "\\u", " ", "\n", "NaN", "**", "?", "\ud800", "\x00", "é",
]  # fmt: skip


@pytest.mark.slow
@examples(EXAMPLES // 4)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_at_all_is_a_bool_or_a_condition_error(source: str) -> None:
    steps = Steps()
    assert outcome(lambda: evaluate(parse(source), SCOPE, steps)) in (True, False, "refused")
    assert steps.used <= MAX_STEPS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=15,
)


@given(JSON, JSON)
def test_any_data_compares_or_is_refused(one: Any, other: Any) -> None:
    scope = {"a": {"output": one}, "b": {"output": other}}
    same = outcome(lambda: evaluate(parse("{{a.output}} === {{b.output}}"), scope))
    assert same in (True, False, "refused")
    if same != "refused":
        assert same == outcome(lambda: evaluate(parse("{{b.output}} === {{a.output}}"), scope))


@given(TREES, st.integers(0, 2**32))
def test_the_tree_does_not_depend_on_how_it_was_written(tree: Any, seed: int) -> None:
    def told(chance: Random) -> Any:
        return outcome(lambda: as_json(parse(written(tree, chance))))

    one, other = told(Random(seed)), told(Random(seed + 1))
    assert one == other or "refused" in (one, other)  # more brackets can be too many


_watched: list[str] | None = None
_hooked = False


@contextmanager
def audited() -> Iterator[list[str]]:
    """What the interpreter tells of this thread meanwhile. A hook stays for good, so there is one, mostly silent."""
    global _watched, _hooked
    me, seen = threading.get_ident(), []

    def hook(event: str, _: Any) -> None:
        if _watched is not None and threading.get_ident() == me:
            _watched.append(event)

    if not _hooked:
        sys.addaudithook(hook)
        _hooked = True
    _watched = seen
    try:
        yield seen
    finally:
        _watched = None


def test_evaluating_imports_opens_and_executes_nothing() -> None:
    sources = [
        "{{a.output.l}} === [1, 'x', [true]] && !({{b.output[2].s}} in {{a.output.l}}) || 1e3 < 2",
        "__import__('os')", "{{a.__class__}} === 1", "open('x') === 1", "exec('1')", '"\\ud800" === "x"', "{{a.output.q}}",
    ]  # fmt: skip
    with audited() as seen:
        for source in sources:
            outcome(lambda source=source: evaluate(parse(source), SCOPE))
    assert seen == []


def test_the_watch_itself_sees_an_import_and_an_open() -> None:
    with audited() as seen, open(__file__):
        exec("import this_module_is_not_there" if False else "1")
    assert {"open", "exec"} <= set(seen)
