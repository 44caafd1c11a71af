"""Crashes: what a killed daemon leaves is removed by its next life, and only that (ABUSE "Engine and daemon", R2-17)."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.kernel.ids import new_id
from orchestrator.sandbox import engines
from orchestrator.sandbox.backends import docker
from orchestrator.sandbox.backends.docker import LABEL_DAEMON, LABEL_EXPIRES
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import IDS, containers, opened, processes

ROOT = Path(__file__).parents[2]
NEIGHBOUR = SandboxSettings(armed=1, uid_first=IDS + 1_500)
VICTIM = SandboxSettings(armed=1, uid_first=IDS + 3_000)

PROGRAM = """
import asyncio, sys
from pathlib import Path
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import Told, opened

async def main(state, daemon, uid_first):
    def told(status):
        if status == 'running': print('running', flush=True)
    async with opened(Path(state), SandboxSettings(armed=1, uid_first=int(uid_first)), daemon) as box:
        await asyncio.gather(*(box.run('import os; os.fork()\\nwhile True: pass', progress=Told(told)) for _ in range(2)))

asyncio.run(main(*sys.argv[1:]))
"""


async def until(condition) -> None:
    """Wait for what only the engine or the kernel knows of; neither has an event for us."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.05)


def states(daemon: str) -> list[str]:
    return [entry["State"] for entry in containers(daemon)]


def never_started(daemon: str) -> None:
    """A container such as a daemon leaves that is killed between making and starting it."""
    client = engines.connect(engines.find(None), 10)
    try:
        labels = {LABEL_DAEMON: daemon, LABEL_EXPIRES: str(2**33)}
        client.create_container(containers(daemon)[0]["Image"], command=["true"], labels=labels)
    finally:
        client.close()


async def killed_at_work(state: Path, daemon: str) -> None:
    """Let a daemon live until two jobs run, and kill it; without their streams its runners end and take the jobs along."""
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(state), daemon, str(VICTIM.uid_first), stdout=asyncio.subprocess.PIPE,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert victim.stdout is not None
    running = 0
    while running < 2:
        running += await victim.stdout.readline() == b"running\n"
    victim.send_signal(signal.SIGKILL)
    await victim.wait()
    await until(lambda: processes(VICTIM) == [])


@pytest.mark.engine
async def test_a_killed_daemon_is_swept_up_by_its_next_life_alone(state):
    """R2-17: jobs die with the daemon; its next start reaps; a living daemon's containers are not touched."""
    mine, other = new_id(), new_id()
    async with opened(state, NEIGHBOUR, other) as neighbour:
        await until(lambda: states(other) == ["running"])
        await killed_at_work(state, mine)
        left = len(containers(mine))
        assert left >= 2
        async with opened(state, VICTIM.model_copy(update={"armed": 0}), mine) as again:
            assert containers(mine) == []
            assert again.metrics.reaped._value.get() == left
            assert (await again.run("print(1)")).stdout == "1\n"
        assert states(other) == ["running"]
        assert (await neighbour.run("print(1)")).sandbox.warm


@pytest.mark.engine
async def test_what_a_daemon_left_that_never_comes_back_is_removed_by_another(state, monkeypatch):
    """ABUSE "Engine and daemon": a container that has ended, or was made and never started, is nobody's after a while."""
    gone, other = new_id(), new_id()
    await killed_at_work(state, gone)
    never_started(gone)
    async with opened(state, NEIGHBOUR, other):
        assert "created" in states(gone), "it was made only just now"
    monkeypatch.setattr(docker, "_ABANDONED_S", 0.0)
    async with opened(state, NEIGHBOUR, other):
        await until(lambda: states(gone) == [])
