"""Server processes for the length of a measurement."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def server(
    *command: str, port: int, environ: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server that accepts connections on `port`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env={**os.environ, **(environ or {})}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await _listening(port, process)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def yardstick(name: str, port: int) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """A server of `yardsticks.py`."""
    return server("-m", "tests.benchmarks.yardsticks", name, str(port), port=port)


def daemon(
    state: Path, plugins: Path, port: int, **environ: str
) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """The daemon itself, as a user starts it."""
    command = ("-m", "orchestrator", "serve", "--port", str(port), "--state", str(state), "--plugins", str(plugins))
    return server(*command, port=port, environ={"ORCHESTRATOR_LOGS__LEVEL": "warning", **environ})


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
    raise RuntimeError(f"the server on port {port} ended with {process.returncode}")
