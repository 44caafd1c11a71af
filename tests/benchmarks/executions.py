"""One execution of `print(6*7)` over HTTP beside a bare interpreter and `docker run` with the same walls' cost."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import docker

from orchestrator.sandbox import engines
from orchestrator.testing.daemons import running

CODE = "print(6*7)"
PYTHON = "/usr/bin/python3"


async def measure(rounds: int = 12) -> AsyncIterator[str]:
    """Lines of the table, as they are known; the rows take turns."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        async with running(Path(folder) / "state", bundled=False) as daemon:

            async def ours() -> None:
                answer = await daemon.admin.post("/v1/sandbox/executions", json={"code": CODE})
                assert answer.json["stdout"] == "42\n", answer.body

            first = (await daemon.admin.post("/v1/sandbox/executions", json={"code": CODE})).json
            image = first["sandbox"]["image"].rpartition("@")[2]
            rows: dict[str, Callable[[], Awaitable[None]]] = {
                f"bare {PYTHON} -I -c": _bare,
                "container, over HTTP": ours,
                "engine's create/start/wait/remove": lambda: asyncio.to_thread(_run_by_engine, image),
            }
            times: dict[str, list[float]] = {name: [] for name in rows}
            for _ in range(rounds):
                for name, work in rows.items():
                    await asyncio.sleep(0.3)  # a pause, in which containers are armed again
                    began = time.perf_counter()
                    await work()
                    times[name].append((time.perf_counter() - began) * 1e3)
    base = statistics.median(next(iter(times.values())))
    yield f"{'one execution of ' + CODE:34} {'p50 ms':>8} {'max ms':>8} {'x bare':>8}"
    for name, found in times.items():
        p50 = statistics.median(found)
        yield f"{name:34} {p50:8.1f} {max(found):8.1f} {p50 / base:8.2f}"


async def _bare() -> None:
    process = await asyncio.create_subprocess_exec(PYTHON, "-I", "-c", CODE, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out == b"42\n"


def _run_by_engine(image: str) -> None:
    client = docker.DockerClient(base_url=engines.find(None).url)
    try:
        limits = {"mem_limit": "128m", "pids_limit": 64, "cap_drop": ["ALL"], "read_only": True}
        out = client.containers.run(
            image, [PYTHON, "-I", "-c", CODE], entrypoint="", network_mode="none", remove=True, **limits
        )
        assert out == b"42\n"
    finally:
        client.close()
