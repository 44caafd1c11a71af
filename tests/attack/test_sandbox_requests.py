"""Requests: what is wrong is named at once and never reaches a container; what is odd runs (ABUSE "Requests")."""

import asyncio

import pytest

from orchestrator.contracts.errors import Forbidden, Invalid, TooMany
from orchestrator.contracts.executions import ExecutionRequest
from orchestrator.kernel.ids import new_id
from tests.attack.rig import Told

CASES = {
    "an empty program": {"code": ""},
    "a program with NUL": {"code": "print(1)\0", "status": "error", "exit_code": 1, "says": "null bytes"},
    "no program at all": {"code": "\x7fELF\x02\x01", "status": "error", "exit_code": 1, "says": "SyntaxError"},
    "ten megabytes of program": {"code": f"x = '{'y' * 10_000_000}'\nprint(len(x))", "says": "10000000"},
    "arguments like options": {"code": "import sys; print(sys.argv)", "args": ["-c", "--help", "", "\u20ac"], "says": "['main.py', '-c', '--help', '', '\u20ac']"},
    "an environment of its own": {"code": "import os; print(os.environ['A'] + os.popen('echo $A').read())", "env": {"A": "b\nc"}, "says": "b\ncb c\n"},
    "stdin as text": {"code": "print(input() + input())", "stdin": "a\nb", "says": "ab"},
    "files that shadow the standard library": {
        "code": "import random, json, struct, signal\nprint(random.x + json.x, struct.x, signal.x)",
        "files": {"random.py": "x = 1", "json.py": "x = 1", "struct.py": "x = 3", "signal/__init__.py": "x = 4"}, "says": "2 3 4",
    },
    "a file named as the program": {"code": "print(__file__, open('main.py').read())", "files": {"main.py": "mine"}, "says": "/program/main.py mine"},
}  # fmt: skip


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_odd_requests_run(attack, case):
    """CONTRACT 4: empty code and code with NUL are executions; an ordinary script sees what it expects."""
    await attack(**case)


@pytest.mark.engine
async def test_a_wrong_request_touches_no_container(run, sandbox, monkeypatch):
    """CONTRACT 4: 422 before a worker is touched."""
    monkeypatch.setattr(sandbox, "_pool", None)
    with pytest.raises(Invalid) as caught:
        await run("print(1)", env={"LD_PRELOAD": "x"}, files={"../x": "", "a": "", "a/b": ""}, limits={"pids": 10**6})
    assert [error["loc"] for error in caught.value.errors] == [
        ["env", "LD_PRELOAD"], ["files", "../x"], ["files", "a"], ["limits", "pids"],
    ]  # fmt: skip


@pytest.mark.engine
async def test_without_a_permit_nothing_runs(sandbox, monkeypatch):
    """R4-08, CONTRACT 5: the permit is asked for before anything else."""

    def refuse(permit, capability, subject):
        raise Forbidden("no")

    monkeypatch.setattr(sandbox, "_check", refuse)
    with pytest.raises(Forbidden):
        await sandbox.run(new_id(), sandbox.admit(ExecutionRequest(code="")), owner="x", key_id=None, permit=None, progress=Told())


@pytest.mark.engine
async def test_a_client_that_leaves_takes_its_program_along(run, sandbox):
    """What nobody waits for any more is ended, and its slot is free."""
    tasks = [asyncio.ensure_future(run("while True: pass")) for _ in range(6)]  # noqa: TID251
    while sandbox._slots.running < 4 or sandbox._slots.waiting < 2:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(ended, asyncio.CancelledError) for ended in await asyncio.gather(*tasks, return_exceptions=True)
    )
    assert (sandbox._slots.running, sandbox._slots.waiting) == (0, 0)
    assert (await run("print(1)")).stdout == "1\n"


@pytest.mark.engine
async def test_a_thousand_queued_jobs_whose_clients_leave(run, sandbox):
    """The queue is bounded for one owner, 429 says so with a time, and nothing of it stays."""
    tasks = [asyncio.ensure_future(run("while True: pass")) for _ in range(1_000)]  # noqa: TID251
    done, waiting = await asyncio.wait(tasks, timeout=0.2)
    refused = [task.exception() for task in done]
    assert len(refused) == 1_000 - 64 - 4
    assert all(isinstance(fault, TooMany) and int(fault.headers["Retry-After"]) >= 1 for fault in refused)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (await run("print(1)")).stdout == "1\n"
