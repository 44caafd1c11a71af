"""From saving a plugin's file to its new code's answer, over HTTP."""

import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from orchestrator.testing.daemons import NO_ENGINE, running


async def measure(saves: int = 20) -> AsyncIterator[str]:
    """Lines of the table, as they are known."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        plugins = Path(folder) / "plugins"
        plugins.mkdir()
        file = plugins / "live.py"
        file.write_text("def handle(request):\n    return -1\n")
        times = []
        async with running(Path(folder) / "state", [plugins], bundled=False, sandbox__docker_host=NO_ENGINE) as daemon:
            for n in range(saves):
                began = time.perf_counter()
                file.write_text(f"def handle(request):\n    return {n}\n")
                while (await daemon.keyless.post("/query", json={"text": "x", "plugin": "live"})).json["response"] != n:
                    pass
                times.append((time.perf_counter() - began) * 1e3)
        yield f"{'saved file -> new code answers':34} {'p50 ms':>8} {'max ms':>8}"
        yield f"{saves!s:>3} saves{'':25} {statistics.median(times):8.0f} {max(times):8.0f}"
