"""HumanEval: every canonical solution passes, and with its body replaced by `pass` every one fails.

The file is the benchmark's own (`HumanEval.jsonl`, packed by gzip or not); it is read, never kept here.
"""

import asyncio
import gzip
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.testing.daemons import Client
from tests.campaigns import rig
from tests.campaigns.report import Report

_PASSED = "every assertion held\n"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Task:
    """One function to write: how it begins, how it goes on, and the assertions that it is held to."""

    id: str
    prompt: str
    solution: str
    test: str
    entry_point: str

    def program(self, body: str) -> str:
        """The function with this body, its assertions, and a line that comes only after them."""
        return f"{self.prompt}{body}\n\n{self.test}\n\ncheck({self.entry_point})\nprint({_PASSED!r}, end='')\n"


async def campaign(file: Path) -> Report:
    """Run all of a file's tasks on a daemon of their own."""
    tasks = read(file)
    with tempfile.TemporaryDirectory(prefix="orchestrator-humaneval-") as folder:
        async with rig.daemon(Path(folder)) as target:
            return await judge(target.admin, file.name, tasks)


async def judge(client: Client, name: str, tasks: list[Task], clients: int = 4) -> Report:
    """Run tasks over HTTP, so many at a time, in cells: as they were solved, and with empty bodies."""
    began = time.perf_counter()
    right = await _run(client, [(task, task.solution) for task in tasks], clients)
    right_s = time.perf_counter() - began
    wrong = await _run(client, [(task, "    pass\n") for task in tasks], clients)
    wrong_s = time.perf_counter() - began - right_s
    report = Report(f"{len(tasks)} tasks of {name}, {clients} at a time, in cells over HTTP")
    report.all_of("canonical solutions that pass", sum(answer["passed"] for answer in right.values()), len(tasks))
    report.nothing("canonical solutions that do not", _reasons(right, passed=False))
    report.tell("time for all of them", right_s, "s")
    failed = [answer for answer in wrong.values() if not answer["passed"] and answer["status"] == "error"]
    report.all_of("bodies replaced by `pass` that fail", len(failed), len(tasks))
    report.nothing("bodies replaced by `pass` that pass", _reasons(wrong, passed=True))
    report.tell("time for all of them", wrong_s, "s")
    return report


def read(file: Path) -> list[Task]:
    """The tasks of a file, one JSON object a line. Raises `SystemExit` where it is none."""
    try:
        data = file.read_bytes()
        lines = (gzip.decompress(data) if data.startswith(_GZIP) else data).decode().splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        if not rows:
            raise ValueError("it is empty")
        return [
            Task(row["task_id"], row["prompt"], row["canonical_solution"], row["test"], row["entry_point"])
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise SystemExit(f"{file} is no file of HumanEval tasks: {fault!r}") from None


async def _run(client: Client, programs: Iterable[tuple[Task, str]], clients: int) -> dict[str, dict[str, Any]]:
    """The answer to each task, by its id."""
    rest, answers = iter(programs), {}

    async def one() -> None:
        for task, body in rest:
            request = {"code": task.program(body), "isolation": "cell", "cases": [{"expected_stdout": _PASSED}]}
            answer = await rig.execute(client, request)
            answers[task.id] = answer.json if answer.status == 200 else {"passed": False, "status": str(answer.body)}

    await asyncio.gather(*(one() for _ in range(clients)))
    return answers


def _reasons(answers: dict[str, dict[str, Any]], *, passed: bool) -> list[str]:
    return [f"{name}: {a['status']} {a.get('reason', '')}" for name, a in answers.items() if a["passed"] is passed]
