"""Requests: what is wrong never reaches a container, and who leaves leaves nothing (ABUSE "Requests"; the rest is in the corpus)."""

import asyncio

import pytest

from orchestrator.contracts.errors import Forbidden, Invalid, TooMany
from orchestrator.contracts.executions import ExecutionRequest
from orchestrator.kernel.ids import new_id
from tests.attack.rig import Told


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
        await sandbox.run(
            new_id(), sandbox.admit(ExecutionRequest(code="")), owner="x", key_id=None, permit=None, progress=Told()
        )


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
