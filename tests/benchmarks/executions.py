"""One execution of `print(6*7)` over HTTP, beside a bare interpreter and what others do for it; the rows take turns."""

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from tests.benchmarks import environments, load
from tests.campaigns import rig

CODE = "print(6*7)"
PYTHON = "/usr/bin/python3"
PAUSE_S = 0.5
"""Before each measurement: containers are armed again meanwhile, and nothing is under way."""
_HARDENED = (
    "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=128m",
    "--memory-swap=128m", "--pids-limit=64", "--cpus=1", "--user=65534:65534", "--log-driver=none", "--ipc=none",
)  # fmt: skip
_BWRAP = ("--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
          "--proc", "/proc", "--dev", "/dev", "--die-with-parent", "--new-session", "--clearenv")  # fmt: skip
Measure = Callable[[], Awaitable[float]]


async def measure(rounds: int = 30, *, peers: bool = True) -> AsyncIterator[str]:
    """Lines of the table."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-bench-")))
        target = await stack.enter_async_context(rig.daemon(folder))
        connection = await stack.enter_async_context(load.connected(target.port))
        image = (await _ask(connection, target, "container"))["sandbox"]["image"].rpartition("@")[2]
        rows: dict[str, Measure] = {f"bare {PYTHON} -I -c": lambda: program(PYTHON, "-I", "-c", CODE)}
        rows["container, over HTTP"] = lambda: _ours(connection, target, "container")
        rows["cell, over HTTP"] = lambda: _ours(connection, target, "cell")
        missing = await _add_programs(stack, rows, image)
        if peers:
            found, more = await environments.opened(stack, image, CODE)
            rows, missing = rows | found, missing + more
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(rounds):
            for name, run in rows.items():
                await asyncio.sleep(PAUSE_S)
                times[name].append(await run())
    base = next(iter(times.values()))
    version = (await _output(PYTHON, "--version")).strip()
    yield f"{'one execution of ' + CODE:36} {'p50 ms':>8} {'best ms':>8} {'x bare':>8} {'x bare, best':>13}   {version}"
    for name, took in times.items():
        p50, best = statistics.median(took), min(took)
        yield f"{name:36} {p50:8.1f} {best:8.1f} {p50 / statistics.median(base):8.2f} {best / min(base):13.2f}"
    for line in missing:
        yield line


async def _add_programs(stack: AsyncExitStack, rows: dict[str, Measure], image: str) -> list[str]:
    """Rows for what is installed here; what is not, a line each."""
    docker, bwrap = shutil.which("docker"), shutil.which("bwrap")
    if bwrap is not None:
        rows["bubblewrap + python3 -I -S"] = lambda: program(bwrap, *_BWRAP, PYTHON, "-I", "-S", "-c", CODE)
    if docker is not None:
        kept = (await _output(docker, "run", "-d", "--entrypoint=/bin/sleep", *_HARDENED, image, "3600")).strip()
        stack.push_async_callback(_output, docker, "rm", "-f", kept)
        run = ("run", "--rm", f"--entrypoint={PYTHON}", *_HARDENED, image, "-I", "-c", CODE)
        rows["docker exec in a kept container"] = lambda: program(docker, "exec", kept, PYTHON, "-I", "-c", CODE)
        rows["docker run --rm, hardened"] = lambda: program(docker, *run)
    missing = {"docker, the command": docker, "bubblewrap": bwrap}
    return [f"{name}: not measured, it is not installed" for name, path in missing.items() if path is None]


async def _ask(connection: load.Connection, target: rig.Target, isolation: str) -> dict[str, dict[str, str]]:
    status, body = await connection.ask(target.message({"code": CODE, "isolation": isolation}))
    answer: dict[str, dict[str, str]] = json.loads(body)
    assert (status, answer["stdout"]) == (200, "42\n"), body
    return answer


async def _ours(connection: load.Connection, target: rig.Target, isolation: str) -> float:
    message = target.message({"code": CODE, "isolation": isolation})
    began = time.perf_counter()
    status, body = await connection.ask(message)
    took_ms = (time.perf_counter() - began) * 1e3
    assert status == 200, body
    assert json.loads(body)["stdout"] == "42\n", body
    return took_ms


async def program(*argv: str) -> float:
    began = time.perf_counter()
    out = await _output(*argv)
    took_ms = (time.perf_counter() - began) * 1e3
    assert out == "42\n", out
    return took_ms


async def _output(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()
