"""How `universal_developer` chooses, renames, compares and refuses; nothing generated runs here (CONTRACT 2, R2-06)."""

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.errors import Unavailable
from orchestrator.sdk import Record, Refused, Request

FILE = Path(__file__).parents[2] / "plugins" / "universal_developer.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("universal_developer_under_test", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


developer = load()
PROGRAMS = {program.entry_point: program for program in developer.library.programs}


class Sandbox:
    """Remembers what it was asked to run, and answers as a driver would that saw `outputs` come out of each program."""

    def __init__(self, outputs: dict[str, list[Any]] | None = None, **record: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.outputs = outputs or {}
        self.record = record

    async def run(self, code: str, **fields: Any) -> Record:
        self.asked.append({"code": code, **fields})
        record = {"status": "ok", "reason": "", "stdout": "", "stdout_truncated": False, **self.record}
        if "stdin" in fields and not self.record:
            task = json.loads(fields["stdin"])
            none: list[Any] = [None] * len(task["inputs"])
            told = [self.outputs.get(p["entry_point"], none) for p in task["programs"]]
            outcomes = [[{"output": value} for value in values] for values in told]
            record["stdout"] = "noise\n" + task["nonce"] + json.dumps(outcomes)
        return Record(record)


async def ask(sandbox: Sandbox, text: str, intent: str | None = "generate_code", **params: Any) -> Any:
    developer.init(SimpleNamespace(sandbox=sandbox))
    return await developer.handle(Request(text=text, intent=intent, params=params))


def example(*arguments: Any, output: Any) -> dict[str, Any]:
    return {"input": list(arguments), "output": output}


# The library's shape


def test_the_library_has_forty_programs_and_begins_with_the_reversed_string() -> None:
    """R2-01: everyday programs, "reverse a string" first."""
    assert len(PROGRAMS) >= 40
    assert developer.clear_winner(developer.library.rank("reverse a string")) is PROGRAMS["reverse_string"]


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_has_the_shape_of_the_library(program: Any) -> None:
    tree = ast.parse(program.code)
    entry = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == program.entry_point)
    assert ast.get_docstring(entry)
    assert entry.returns is not None
    assert all(argument.annotation is not None for argument in entry.args.args)
    assert program.signature.startswith(f"{program.entry_point}(")
    assert program.signature.endswith(f"-> {ast.unparse(entry.returns)}")
    assert len(program.phrases) >= 3
    assert len(program.checks) >= 4
    assert program.takes(program.checks)
    assert max(map(len, program.code.splitlines())) <= 120
    assert program.variant_of in ("", *PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_every_phrase_of_a_program_finds_it(program: Any) -> None:
    for phrase in program.phrases:
        assert developer.clear_winner(developer.library.rank(phrase)) is program, phrase


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_renaming_changes_the_name_where_it_is_meant_and_nothing_else(program: Any) -> None:
    """Each use of the name in the tokens is a use in the syntax tree, and the rest of the tree stays the same."""
    source = developer.renamed(program, "zebra")
    before, after = ast.dump(ast.parse(program.code)), ast.dump(ast.parse(source))
    assert after == before.replace(f"'{program.entry_point}'", "'zebra'")
    assert after != before
    assert program.entry_point not in {token.string for token in developer.names_in(source)}


def test_a_file_that_is_no_program_stops_the_plugin_and_is_named(tmp_path: Path) -> None:
    for content in ["", "title = 1", 'title = "x"\ncode = "def ("', "no = toml ="]:
        file = tmp_path / "broken.toml"
        file.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=r"broken\.toml is no library program"):
            developer.load(file)


# Ranking


@pytest.mark.parametrize(
    ("text", "entry_point"),
    [
        ("Write a Python function that takes a string and returns it reversed!", "reverse_string"),
        ("please show me how to check whether a number is prime or not", "is_prime"),
        ("convert fahrenheit to celsius", "fahrenheit_to_celsius"),
        ("fahrenheit from celsius", "celsius_to_fahrenheit"),
        ("roman numeral to integer", "from_roman"),
        ("convert 1994 to roman numerals", "to_roman"),
        ("sort a list using merge sort", "merge_sort"),
        ("merge two sorted arrays", "merge_sorted_lists"),
        ("find the second largest number in a list", "second_largest"),
        ("binary search algorithm", "binary_search"),
    ],
)
def test_words_find_the_program(text: str, entry_point: str) -> None:
    winner = developer.clear_winner(developer.library.rank(text))
    assert winner is PROGRAMS[entry_point]


@pytest.mark.parametrize(
    "text",
    [
        "reverse a linked list", "don't reverse a string", "check if a word is not a palindrome", "reverse", "string",
        "sudoku solver", "", "…", "the a an", "x" * 32_768, "to " * 10_000,
        "reverse a string and upload it to a server",
    ],
)  # fmt: skip
def test_what_is_not_clear_is_no_guess(text: str) -> None:
    assert developer.clear_winner(developer.library.rank(text)) is None


@given(st.text(max_size=200))
def test_any_text_can_be_ranked(text: str) -> None:
    scores = [score for score, _ in developer.library.rank(text)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 + 1e-9 for score in scores)
    assert len(developer.nearest(developer.library.rank(text), text)) in (1, 2, 3)


# Comparing


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1, True), (1, True, False), (0, False, False), (1, 1.0, True), (1.0, True, False), ("1", 1, False),
        (None, None, True), (None, 0, False), (None, False, False), ("", None, False), ([], {}, False),
        ([1], [1, 2], False),
        (0.1 + 0.2, 0.3, True), (0.0, 1e-13, True), (0.3, 0.3001, False), (2**53, 2**53 + 1, False),
        (10**400, 1.0, False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True), ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([[1, [2]]], [[1, [2]]], True), ("é", "e\u0301", False),
    ],
)  # fmt: skip
def test_json_values_agree_by_kind_and_value(one: Any, other: Any, same: bool) -> None:
    assert developer.agree(one, other) is same
    assert developer.agree(other, one) is same


# Answering


async def test_the_answer_has_the_contracts_members_and_only_inputs_go_into_the_sandbox() -> None:
    """CONTRACT 2: the host compares; what is expected never enters the container."""
    sandbox = Sandbox({"reverse_string": ["SECRET-olleh", "y"]})
    examples = [example("hello", output="SECRET-olleh"), example("x", output="EXPECTED-z")]
    answer = await ask(sandbox, "reverse a string", examples=examples)
    assert answer["checks"] == [
        {"input": ["hello"], "expected": "SECRET-olleh", "output": "SECRET-olleh", "ok": True},
        {"input": ["x"], "expected": "EXPECTED-z", "output": "y", "ok": False},
    ]
    assert answer["verified"] is False
    assert (answer["language"], answer["entry_point"], answer["source"]) == ("python", "reverse_string", "library")
    assert answer["code"] == PROGRAMS["reverse_string"].code
    assert answer["execution"]["status"] == "ok"
    assert answer["tokens"]["saved"] == answer["tokens"]["estimated"] - answer["tokens"]["actual"] > 0
    assert len(sandbox.asked) == 1
    assert "SECRET" not in json.dumps(sandbox.asked)
    assert "EXPECTED" not in json.dumps(sandbox.asked)


async def test_the_librarys_own_checks_verify_where_no_examples_are_given() -> None:
    outputs = [check.output for check in PROGRAMS["reverse_string"].checks]
    answer = await ask(Sandbox({"reverse_string": outputs}), "reverse a string", intent=None)
    assert answer["verified"] is True
    assert [check["ok"] for check in answer["checks"]] == [True] * len(outputs)


async def test_the_entry_point_is_renamed_before_it_runs() -> None:
    sandbox = Sandbox({"product": [120]})
    answer = await ask(sandbox, "factorial", name="product", examples=[example(5, output=120)])
    sent = json.loads(sandbox.asked[0]["stdin"])["programs"][0]
    assert sent == {"source": answer["code"], "entry_point": "product"}
    assert "number * product(number - 1)" in answer["code"]
    assert "factorial(" not in answer["code"]
    assert answer["verified"] is True


@pytest.mark.parametrize(
    "record",
    [
        {"status": "timeout", "reason": "wall_ms"}, {"status": "oom"}, {"stdout": ""}, {"stdout_truncated": True},
        {"stdout": "\n" + "0" * 32 + '[[{"output": "olleh"}]]'},
    ],
)  # fmt: skip
async def test_a_run_that_did_not_report_verifies_nothing(record: dict[str, Any]) -> None:
    """Also a forged report, whose nonce is a guess."""
    answer = await ask(Sandbox(**record), "reverse a string", examples=[example("hello", output=None)])
    assert answer["verified"] is False
    assert [(check["ok"], check["output"]) for check in answer["checks"]] == [(False, None)]
    assert answer["checks"][0]["error"]


async def test_that_programs_could_not_be_tried_is_not_told_as_their_failure() -> None:
    sandbox = Sandbox(status="timeout", reason="It ran longer than 10,000 ms.")
    with pytest.raises(Refused, match="could not be tried to the end, timeout: It ran longer"):
        await ask(sandbox, "this one", examples=[example(5, output=120)])


async def test_the_sandboxs_faults_go_through() -> None:
    class Gone:
        async def run(self, code: str, **fields: Any) -> Record:
            raise Unavailable("no engine")

    developer.init(SimpleNamespace(sandbox=Gone()))
    with pytest.raises(Unavailable):
        await developer.handle(Request(text="reverse a string", intent="generate_code", params={}))
