"""A short piece of each campaign. Others may be at work on this machine: speed is judged by `make campaign` alone."""

import gzip
import json

import pytest

from tests.campaigns import crashes, flood, hostile, humaneval, kills, mixed, model, races, rig
from tests.campaigns.report import Report

pytestmark = [pytest.mark.engine, pytest.mark.slow]
DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)

TASKS = {
    "add": ("def add(a, b):\n    '''The sum.'''\n", "    return a + b\n", "    assert candidate(1, 2) == 3\n"),
    "first": (
        "def first(text):\n",
        "    return text[0]\n",
        "    assert candidate('ab') == 'a'\n    assert candidate('b') == 'b'\n",
    ),
    "count": (
        "from typing import List\n\n\ndef count(xs: List[int]) -> int:\n",
        "    n = 0\n    for _ in xs:\n        n += 1\n    return n\n",
        "    for n in range(5): assert candidate([1] * n) == n\n",
    ),
}


def told(report: Report) -> str:
    return "\n".join(report.lines())


def tasks(*wrong: str) -> list[dict[str, str]]:
    """Tasks as HumanEval has them; the solutions of some are wrong."""
    return [
        {
            "task_id": f"Own/{name}", "prompt": prompt, "entry_point": name,
            "canonical_solution": "    return 'wrong'\n" if name in wrong else solution,
            "test": f"METADATA = {{}}\n\n\ndef check(candidate):\n{test}",
        }
        for name, (prompt, solution, test) in TASKS.items()
    ]  # fmt: skip


async def test_hostile_jobs_are_judged_rightly_and_survived_by_nothing():
    """R2-17, ABUSE "Time"."""
    report = await hostile.campaign(jobs=60, lateness_ms=5_000)
    assert report.holds, told(report)


async def test_a_daemon_that_is_killed_again_and_again_leaves_nothing_and_loses_nothing():
    """R2-17: no container, volume, cgroup, descriptor or temporary file; what was answered or accepted is accounted for."""
    report = await crashes.campaign(jobs=40, kills=3)
    assert report.holds, told(report)


async def test_a_flood_of_output_is_hardly_felt():
    """ABUSE "Output"."""
    report = await flood.campaign(total_bytes=64 * 2**20, memory_bytes=20 * 10**6)
    assert report.holds, told(report)


async def test_all_kinds_of_jobs_at_once_are_judged_rightly_without_a_fault():
    """DESIGN 4 "Admission". How memory goes on is seen in minutes, not in the first seconds of a daemon's life."""
    report = await mixed.campaign(seconds=8, clients=16, share=1.0, growth_bytes=60 * 10**6)
    assert report.holds, told(report)


@pytest.fixture
async def database(request):
    """A daemon's settings for an empty database."""
    if request.param == "sqlite":
        yield {}
        return
    server = request.getfixturevalue("postgres_server")
    async with server.database() as name:
        yield {"storage__url": server.url(name)}


@DATABASES
async def test_what_may_happen_once_happens_once_though_sixty_four_ask_at_once(database):
    """3.2: duplicate execute, approve against reject, approve at the deadline, one budget, one scope."""
    report = await races.campaign(rounds=2, **database)
    assert report.holds, told(report)


@DATABASES
async def test_the_governor_and_a_model_of_it_say_the_same_whatever_is_asked(database):
    """3.3: create, plan, approve, reject, execute, cancel, decide, too late, crash, in any order; R4-07, R4-11, R4-12."""
    report = await model.campaign(examples=8, steps=30, **database)
    assert report.holds, told(report)


async def test_a_plan_goes_on_after_kill_9_wherever_that_comes():
    """3.2 "kill -9 mid-plan"."""
    report = await kills.campaign(stride=24, random_kills=1, resume_s=20)
    assert report.holds, told(report)


@pytest.fixture
async def admin(tmp_path):
    async with rig.daemon(tmp_path / "daemon") as target:
        yield target.admin


@pytest.mark.parametrize("packed", [False, True])
async def test_solutions_are_told_from_what_is_none(admin, tmp_path, packed):
    data = "\n".join(map(json.dumps, tasks())).encode()
    file = tmp_path / "tasks.jsonl"
    file.write_bytes(gzip.compress(data) if packed else data)
    report = await humaneval.judge(admin, file.name, humaneval.read(file))
    assert report.holds, told(report)
    assert "3 of 3" in told(report)


async def test_a_wrong_solution_breaks_the_bound_and_is_named(admin, tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, tasks("first"))))
    report = await humaneval.judge(admin, file.name, humaneval.read(file))
    assert not report.holds
    assert "Own/first: error" in told(report)


@pytest.mark.parametrize("text", ["", "{", '{"task_id": 1}', "[]"])
def test_a_file_that_has_no_tasks_is_told(tmp_path, text):
    (tmp_path / "tasks.jsonl").write_text(text)
    with pytest.raises(SystemExit, match="no file of HumanEval tasks"):
        humaneval.read(tmp_path / "tasks.jsonl")
