"""The daemon as a process of its own, as a user starts it."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from orchestrator.config.places import ROOT
from orchestrator.testing.daemons import NO_ENGINE, Client

_READY = re.compile(r"ready at (http://\S+) ")


@dataclass
class Started:
    """A daemon process that said that it is ready; `lines` is what it has printed."""

    process: asyncio.subprocess.Process
    url: str
    lines: list[str]
    session: aiohttp.ClientSession
    state: Path

    @property
    def keyless(self) -> Client:
        return Client(self.session, self.url)

    @property
    def admin(self) -> Client:
        return Client(self.session, self.url, (self.state / "admin.key").read_text().strip())

    async def wait(self, seconds: float = 20) -> int:
        """Its exit code."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()


async def spawn(state: Path, *flags: str, environ: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    """Start `orchestrator serve`; no engine unless `environ` names one."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ORCHESTRATOR_SANDBOX__DOCKER_HOST": NO_ENGINE, **(environ or {})}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator", "serve", "--port", "0", "--state", str(state), *flags,
        env=env, cwd=state.parent, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def started(state: Path, *flags: str, environ: dict[str, str] | None = None) -> AsyncIterator[Started]:
    """A ready daemon; it is killed at the end if it still runs."""
    process = await spawn(state, *flags, environ=environ)
    lines: list[str] = []
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                lines.append(line.decode())
                if match := _READY.search(lines[-1]):
                    yield Started(process, match[1], lines, session, state)
                    return
            raise AssertionError(f"ended with {await process.wait()}: {lines} {await process.stderr.read()!r}")
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
