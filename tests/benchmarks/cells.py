"""A cell over HTTP: one kept-alive connection, less what the same client needs for `/healthz`; then many clients."""

import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks import load
from tests.benchmarks.executions import CODE, PYTHON, program
from tests.campaigns import rig

ROUNDS = 5
"""Alternating; of each figure the best round is told beside the median, for other work on the machine only slows."""


async def measure(seconds: float = 3.0, clients: int = 8, each: int = 60, rounds: int = ROUNDS) -> AsyncIterator[str]:
    """Lines of the table."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        async with rig.daemon(Path(folder)) as target, load.connected(target.port) as connection:
            message = target.message({"code": CODE, "isolation": "cell"})
            health = load.request("/healthz", None, method="GET")
            alone: list[float] = []
            bare: list[float] = []
            rates: list[load.Figures] = []
            for _ in range(rounds):
                bare.append(statistics.median([await program(PYTHON, "-I", "-c", CODE) for _ in range(each // 4)]))
                rest = await _p50(connection, health, each)
                alone.append(await _p50(connection, message, each) - rest)
                rates.append(await load.run(target.port, message, connections=clients, seconds=seconds))
    yield f"{'a cell over HTTP':36} {'median':>8} {'best':>8}   goal"
    yield f"{f'bare {PYTHON} -I -c, p50 ms':36} {statistics.median(bare):8.2f} {min(bare):8.2f}"
    yield f"{'1 connection, less /healthz, p50 ms':36} {statistics.median(alone):8.2f} {min(alone):8.2f}"
    ratios = [one / base for one, base in zip(alone, bare, strict=True)]
    yield f"{'x bare':36} {statistics.median(ratios):8.2f} {min(ratios):8.2f}   0.35, at most 0.6"
    told = [figures.per_second for figures in rates]
    yield f"{f'{clients} clients, executions a second':36} {statistics.median(told):8.0f} {max(told):8.0f}   600, at least 400"
    yield f"{f'{clients} clients, p99 ms':36} {statistics.median(f.p99_ms for f in rates):8.1f} {min(f.p99_ms for f in rates):8.1f}"
    yield f"{'failed':36} {sum(figures.failed for figures in rates):8}"


async def _p50(connection: load.Connection, message: bytes, times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        status, body = await connection.ask(message)
        took.append((time.perf_counter() - began) * 1e3)
        assert status == 200, body
    return statistics.median(took)
