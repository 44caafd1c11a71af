"""`generate_code` and `run_code` through a running daemon: every program of the library really runs (CONTRACT 2)."""

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.testing.daemons import Client

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    file.stem: tomllib.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "plugins" / "universal_developer_library" / "programs").glob("*.toml"))
}
pytestmark = pytest.mark.engine


async def generate(client: Client, text: str, **params: Any) -> tuple[int, Any]:
    answer = await client.post("/query", json={"text": text, "intent": "generate_code", "params": params})
    return answer.status, answer.json["response"] if answer.status == 200 else answer.json


def example(*arguments: Any, output: Any) -> dict[str, Any]:
    return {"input": list(arguments), "output": output}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_of_the_library_passes_its_own_checks(client: Client, name: str) -> None:
    """CONTRACT 2: checks that really run before it may say `verified`."""
    program = PROGRAMS[name]
    status, answer = await generate(client, program["title"])
    assert status == 200, answer
    assert answer["entry_point"] == program["entry_point"]
    assert [check for check in answer["checks"] if not check["ok"]] == []
    assert len(answer["checks"]) == len(program["checks"])
    assert answer["verified"] is True
    assert answer["execution"]["status"] == "ok"


async def test_reverse_a_string_is_answered_with_code_that_ran_without_a_network(client: Client) -> None:
    """The quickstart of seed 002 (R2-06), the response exactly as CONTRACT 2 has it."""
    status, answer = await generate(client, "reverse a string")
    assert status == 200
    assert (answer["source"], answer["language"], answer["verified"]) == ("library", "python", True)
    assert answer["execution"]["sandbox"]["network"] == "none"
    assert answer["execution"]["sandbox"]["isolation"] == "container"
    assert answer["tokens"] == {
        "estimated": answer["tokens"]["saved"], "actual": 0, "saved": answer["tokens"]["estimated"],
    }  # fmt: skip


async def test_the_callers_examples_are_the_checks(client: Client) -> None:
    status, answer = await generate(
        client, "reverse a string", examples=[example("abc", output="cba"), example("", output="")], name="turn_round"
    )
    assert status == 200
    assert answer["checks"] == [
        {"input": ["abc"], "expected": "cba", "output": "cba", "ok": True},
        {"input": [""], "expected": "", "output": "", "ok": True},
    ]
    assert (answer["verified"], answer["entry_point"]) == (True, "turn_round")
    assert "def turn_round(" in answer["code"]


async def test_a_wrong_example_is_told_and_nothing_is_verified(client: Client) -> None:
    status, answer = await generate(client, "reverse a string", examples=[example("abc", output="abc!")])
    assert (status, answer["verified"], answer["checks"][0]["output"]) == (200, False, "cba")
    assert answer["execution"]["status"] == "ok"


async def test_what_is_expected_never_reaches_the_execution(client: Client) -> None:
    status, answer = await generate(client, "reverse a string", examples=[example("abc", output="EXPECTED-MARK")])
    assert status == 200
    assert "EXPECTED-MARK" not in json.dumps(answer["execution"])


async def test_examples_alone_find_a_program(client: Client) -> None:
    status, answer = await generate(client, "qwerty", examples=[example(5, output=120), example(3, output=6)])
    assert (status, answer["entry_point"], answer["verified"]) == (200, "factorial", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "bad", "good", "output"),
    [
        ("fibonacci sequence", [10**9], [2], [0, 1]),
        ("run length decoding", ["999999999999a"], ["2a"], "aa"),
        ("factorial", [10**6], [5], 120),
        ("towers of hanoi", [40], [1], [["A", "C"]]),
        ("nth fibonacci number", [200_000], [10], 55),
        ("parse json", ["[" * 90 + "]" * 90, ""], ["1", ""], 1),
        ("parse json", ['"\\ud800"', ""], ["1", ""], 1),
        ("parse json", ["NaN", ""], ["1", ""], 1),
    ],
)
async def test_an_input_that_spins_floods_or_fails_hides_no_other(
    client: Client, text: str, bad: list[Any], good: list[Any], output: Any
) -> None:
    status, answer = await generate(client, text, examples=[example(*bad, output=0), example(*good, output=output)])
    assert status == 200, answer
    assert [check["ok"] for check in answer["checks"]] == [False, True]
    assert answer["checks"][0]["output"] is None
    assert answer["checks"][0]["error"]
    assert answer["verified"] is False
    assert answer["execution"]["status"] == "ok"


async def test_what_cannot_be_generated_says_what_would_help(client: Client) -> None:
    status, problem = await generate(client, "a program that plays chess")
    assert (status, problem["code"]) == (422, "cannot_generate")
    assert problem["help"]
    assert len(problem["suggestions"]) == 3


@pytest.mark.parametrize(
    "params",
    [{"nmae": 1}, {"examples": {}}, {"name": "class"}, {"language": 3}, {"k" * 70_000: 1}, {"examples": [[[]]] * 40}],
    ids=lambda params: str(params)[:30],
)
async def test_wrong_params_are_422(client: Client, params: dict[str, Any]) -> None:
    status, problem = await generate(client, "reverse a string", **params)
    assert (status, problem["code"]) == (422, "invalid")


@pytest.mark.slow
async def test_eight_callers_at_once_get_their_own_answers(client: Client) -> None:
    words = [f"word{number}" for number in range(8)]
    answers = await asyncio.gather(
        *(generate(client, "reverse a string", examples=[example(word, output=word[::-1])]) for word in words)
    )
    assert [(status, answer["verified"]) for status, answer in answers] == [(200, True)] * 8


async def run(client: Client, **params: Any) -> tuple[int, Any]:
    answer = await client.post("/query", json={"text": "run it", "intent": "run_code", "params": params})
    return answer.status, answer.json


async def test_run_code_answers_with_the_execution(admin: Client) -> None:
    status, answer = await run(admin, code="import sys; print(6*7, sys.argv[1:])", args=["a"])
    assert (status, answer["plugin"]) == (200, "universal_developer")
    execution = answer["response"]
    assert (execution["status"], execution["stdout"]) == ("ok", "42 ['a']\n")
    kept = await admin.get(f"/v1/sandbox/executions/{execution['id']}")
    assert (kept.status, kept.json["id"]) == (200, execution["id"])


@pytest.mark.parametrize(
    "params", [{}, {"code": 5}, {"code": "1", "self": 1}, {"code": "1", "colour": 1}, {"code": None}]
)
async def test_run_code_refuses_wrong_members(admin: Client, params: dict[str, Any]) -> None:
    status, problem = await run(admin, **params)
    assert (status, problem["code"]) == (422, "invalid")
