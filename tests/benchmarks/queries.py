"""`/query` to a trivial plugin with its durable audit row, beside servers that do nothing, in alternating rounds."""

import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from tests.benchmarks import load, servers

ECHO = 'PLUGIN = {"keywords": ["ping"]}\nasync def handle(request):\n    return {"response": "pong"}\n'
SYNC = 'PLUGIN = {"keywords": ["pang"]}\ndef handle(request):\n    return {"response": "pong"}\n'
ROUNDS = 3


async def measure(seconds: float = 4.0, connections: int = 16, rounds: int = ROUNDS) -> AsyncIterator[str]:
    """Lines of the table, as they are known."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-bench-")))
        plugins = folder / "plugins"
        plugins.mkdir()
        (plugins / "echo.py").write_text(ECHO)
        (plugins / "echo_sync.py").write_text(SYNC)
        ports = {name: servers.free_port() for name in ("fastapi", "aiohttp", "daemon")}
        await stack.enter_async_context(servers.yardstick("fastapi", ports["fastapi"]))
        await stack.enter_async_context(servers.yardstick("aiohttp", ports["aiohttp"]))
        await stack.enter_async_context(servers.daemon(folder / "state", plugins, ports["daemon"]))
        runs = {
            "FastAPI, nothing": (ports["fastapi"], {"text": "ping"}),
            "aiohttp, nothing": (ports["aiohttp"], {"text": "ping"}),
            "/query, async plugin, audited": (ports["daemon"], {"text": "ping"}),
            "/query, sync plugin, audited": (ports["daemon"], {"text": "pang"}),
        }
        found: dict[str, list[load.Figures]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, (port, body) in runs.items():
                message = load.request("/query", body)
                found[name].append(await load.run(port, message, connections=connections, seconds=seconds))
        base = statistics.median(f.per_second for f in found["FastAPI, nothing"])
        title = f"HTTP, {connections} connections"
        yield f"{title:34} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'x FastAPI':>10} failed"
        for name, figures in found.items():
            rate = statistics.median(f.per_second for f in figures)
            p50, p99 = (statistics.median(getattr(f, n) for f in figures) for n in ("p50_ms", "p99_ms"))
            yield f"{name:34} {rate:8.0f} {p50:8.2f} {p99:8.2f} {rate / base:10.2f} {sum(f.failed for f in figures)}"
