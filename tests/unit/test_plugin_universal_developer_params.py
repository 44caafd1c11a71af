"""What `universal_developer` does with examples, and what it refuses (CONTRACT 2)."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from orchestrator.sdk import Record, Refused, Request

FILE = Path(__file__).parents[2] / "plugins" / "universal_developer.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("universal_developer_params", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


developer = load()
PROGRAMS = {program.entry_point: program for program in developer.library.programs}


class Sandbox:
    """Answers as a driver would to whom the named programs gave `outputs`, and all others null; counts its runs."""

    def __init__(self, **outputs: list[Any]) -> None:
        self.outputs = outputs
        self.asked: list[dict[str, Any]] = []

    async def run(self, code: str, **fields: Any) -> Record:
        self.asked.append({"code": code, **fields})
        task = json.loads(fields["stdin"]) if "stdin" in fields else {"programs": [], "inputs": [], "nonce": ""}
        none: list[Any] = [None] * len(task["inputs"])
        told = [self.outputs.get(program["entry_point"], none) for program in task["programs"]]
        report = json.dumps([[{"output": value} for value in values] for values in told])
        return Record(status="ok", reason="", stdout=f"\n{task['nonce']}{report}", stdout_truncated=False)


async def ask(sandbox: Sandbox, text: str, intent: str = "generate_code", **params: Any) -> Any:
    developer.init(SimpleNamespace(sandbox=sandbox))
    return await developer.handle(Request(text=text, intent=intent, params=params))


async def refusal(text: str, intent: str = "generate_code", sandbox: Sandbox | None = None, **params: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        await ask(sandbox or Sandbox(), text, intent, **params)
    return refused.value


def example(*arguments: Any, output: Any) -> dict[str, Any]:
    return {"input": list(arguments), "output": output}


async def test_examples_alone_find_a_program_in_one_run() -> None:
    sandbox = Sandbox(factorial=[120, 6])
    answer = await ask(sandbox, "qwerty", examples=[example(5, output=120), example(3, output=6)])
    assert (answer["entry_point"], answer["verified"]) == ("factorial", True)
    assert len(sandbox.asked) == 1
    tried = {program["entry_point"] for program in json.loads(sandbox.asked[0]["stdin"])["programs"]}
    assert "levenshtein_distance" not in tried  # takes two arguments


async def test_examples_outweigh_words() -> None:
    sandbox = Sandbox(reverse_string=["dlrow olleh"], reverse_words=["world hello"])
    answer = await ask(sandbox, "reverse a string", examples=[example("hello world", output="world hello")])
    assert (answer["entry_point"], answer["verified"]) == ("reverse_words", True)


async def test_words_decide_where_several_programs_satisfy_the_examples() -> None:
    everywhere = {name: ["x"] for name in PROGRAMS}
    answer = await ask(Sandbox(**everywhere), "slugify", examples=[example("x", output="x")])
    assert answer["entry_point"] == "slugify"


async def test_several_programs_and_no_word_are_refused_with_their_names() -> None:
    refused = await refusal(
        "qwerty", sandbox=Sandbox(slugify=["x"], title_case=["x"]), examples=[example("x", output="x")]
    )
    assert refused.code == "cannot_generate"
    assert sorted(refused.members["suggestions"]) == ["Slugify a title", "Title case"]
    assert refused.members["help"]


async def test_the_usual_program_wins_over_its_special_kinds() -> None:
    done = {name: [[1, 2]] for name in ("sort_list", "merge_sort", "quick_sort", "bubble_sort")}
    assert (await ask(Sandbox(**done), "qwerty", examples=[example([2, 1], output=[1, 2])]))[
        "entry_point"
    ] == "sort_list"


@pytest.mark.parametrize("output", [True, None, 1, ""])
async def test_one_answer_that_could_be_chance_finds_nothing(output: Any) -> None:
    sandbox = Sandbox(is_leap_year=[output])
    assert (await refusal("qwerty", sandbox=sandbox, examples=[example(4, output=output)])).code == "cannot_generate"


async def test_words_that_are_clear_answer_though_the_examples_disagree() -> None:
    answer = await ask(Sandbox(reverse_string=["cba"]), "reverse a string", examples=[example("abc", output="xyz")])
    assert (answer["entry_point"], answer["verified"]) == ("reverse_string", False)


async def test_examples_that_nothing_satisfies_are_refused() -> None:
    assert (await refusal("qwerty", examples=[example("x", output="nine")])).code == "cannot_generate"
    assert (await refusal("qwerty", examples=[example(*range(9), output=1)])).code == "cannot_generate"


DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "params",
    [
        {"nmae": "x"}, {"\ud800": 1}, {"k" * 100_000: 1}, {f"k{i}": i for i in range(10_000)},
        {"examples": "abc"}, {"examples": [{"input": ["abc"]}]},
        {"examples": [{"input": "abc", "output": 1}]}, {"examples": [{"input": ["abc"], "output": 1, "extra": 2}]},
        {"examples": [example(DEEP, output=1)]}, {"examples": [example(float("nan"), output=1)]},
        {"examples": [example("\ud800", output=1)]}, {"examples": [example("x" * 2**18, output=1)]},
        {"examples": [example("x", output="x")] * 33}, {"language": 3}, {"language": None}, {"name": 3}, {"name": ""},
        {"name": "not a name"}, {"name": "1st"}, {"name": "class"}, {"name": "match"}, {"name": "print"},
        {"name": "__builtins__"}, {"name": "n" * 65}, {"name": "ﬁ"}, {"name": "x\ny"}, {"name": "text"},
    ],
    ids=lambda params: ascii(params)[:40],
)  # fmt: skip
async def test_wrong_params_are_refused_before_anything_runs(params: dict[str, Any]) -> None:
    sandbox = Sandbox()
    refused = await refusal("reverse a string", sandbox=sandbox, **params)
    assert refused.code == "invalid"
    assert refused.detail.startswith("params")
    assert len(json.dumps([refused.detail, refused.members], ensure_ascii=False).encode()) < 10_000
    assert sandbox.asked == []


async def test_a_name_that_some_candidates_use_inside_leaves_the_others() -> None:
    answer = await ask(
        Sandbox(text=[120, 6]), "qwerty factorial", name="text", examples=[example(5, output=120), example(3, output=6)]
    )
    assert answer["code"] == PROGRAMS["factorial"].code.replace("factorial(", "text(")


@pytest.mark.parametrize("language", ["python", "Python", "PYTHON3", "py"])
async def test_python_may_be_written_as_people_do(language: str) -> None:
    assert (await ask(Sandbox(), "reverse a string", language=language))["language"] == "python"


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("reverse a string", {"language": "cobol"}), ("reverse a string in JavaScript", {}),
        ("in C++ reverse a string", {}), ("reverse a string using rust", {"language": "python"}),
    ],
)  # fmt: skip
async def test_other_languages_are_refused_with_what_would_help(text: str, params: dict[str, Any]) -> None:
    refused = await refusal(text, **params)
    assert (refused.code, bool(refused.members["help"])) == ("cannot_generate", True)


async def test_what_cannot_be_generated_suggests_the_nearest() -> None:
    refused = await refusal("write a program that reverses a linked list")
    assert refused.code == "cannot_generate"
    assert "Reverse a list" in refused.members["suggestions"]
    assert "examples" in refused.members["help"]


@pytest.mark.parametrize("text", ["evolve this function", "improve the code", "Evolving scripts"])
async def test_a_wish_to_evolve_has_no_route_yet(text: str) -> None:
    """R2-07 at M1: there is no evolution engine; code-building words beside the wish change nothing."""
    assert (await refusal(text)).code == "no_route"


async def test_run_code_hands_all_members_to_the_sandbox_and_answers_with_its_record() -> None:
    sandbox = Sandbox()
    answer = await ask(sandbox, "run", "run_code", code="print(1)", args=["a"], limits={"wall_ms": 5}, unknown=1)
    assert sandbox.asked == [{"code": "print(1)", "args": ["a"], "limits": {"wall_ms": 5}, "unknown": 1}]
    assert answer["status"] == "ok"


@pytest.mark.parametrize("params", [{}, {"language": "python"}, {"code": "1", "self": 2}])
async def test_run_code_without_code_is_refused(params: dict[str, Any]) -> None:
    assert (await refusal("run", "run_code", **params)).code == "invalid"


async def test_an_intent_that_is_not_its_own_is_refused() -> None:
    assert (await refusal("reverse a string", "make_coffee")).code == "invalid"
