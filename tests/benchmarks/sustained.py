"""Fresh containers one after another, past what was armed, beside the bare engine doing no more than it must."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import docker

from orchestrator.sandbox import engines
from tests.benchmarks import load
from tests.benchmarks.executions import CODE, PYTHON
from tests.campaigns import rig

ROUNDS = 3
PARALLEL = 4
"""As many as the daemon runs at a time; the bare engine gets as many callers."""


async def measure(seconds: float = 8.0, rounds: int = ROUNDS, warm_s: float = 2.0) -> AsyncIterator[str]:
    """Lines of the table; the rows take turns."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        async with rig.daemon(Path(folder), sandbox__max_running=PARALLEL) as target:
            answer = await rig.execute(target.admin, {"code": CODE})
            image = answer.json["sandbox"]["image"].rpartition("@")[2]
            message = target.message({"code": CODE})
            ours: list[float] = []
            bare: list[float] = []
            failed = 0
            for _ in range(rounds):
                figures = await load.run(target.port, message, connections=2 * PARALLEL, seconds=seconds, warm_s=warm_s)
                failed += figures.failed
                ours.append(figures.per_second)
                await target.quiet()
                bare.append(await _engine_alone(image, seconds))
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    yield f"{'containers a second, sustained':36} {'median':>8} {'best':>8}   goal"
    yield f"{'create, start, wait, remove':36} {statistics.median(bare):8.1f} {max(bare):8.1f}"
    yield f"{'container, over HTTP':36} {statistics.median(ours):8.1f} {max(ours):8.1f}"
    yield f"{'x the engine alone':36} {statistics.median(ratios):8.2f} {max(ratios):8.2f}   at least 0.9"
    yield f"{'failed':36} {failed:8}"


async def _engine_alone(image: str, seconds: float) -> float:
    end = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(asyncio.to_thread(_run_until, image, end) for _ in range(PARALLEL)))) / seconds


def _run_until(image: str, end: float) -> int:
    """How many containers one caller of the engine takes through their life."""
    client = docker.APIClient(engines.find(None).url)
    host = client.create_host_config(
        network_mode="none", mem_limit="128m", memswap_limit="128m", pids_limit=64, cap_drop=["ALL"], read_only=True,
        log_config={"type": "none", "config": {}}, ipc_mode="none", security_opt=["no-new-privileges"],
    )  # fmt: skip
    done = 0
    try:
        while time.perf_counter() < end:
            made = client.create_container(image, ["-I", "-c", CODE], entrypoint=PYTHON, user="65534", host_config=host)
            client.start(made["Id"])
            assert client.wait(made["Id"])["StatusCode"] == 0
            client.remove_container(made["Id"], force=True)
            done += 1
    finally:
        client.close()
    return done
