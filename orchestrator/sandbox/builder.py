"""Images that are built when they are first asked for: one at a time, and none again and again (CONTRACT 0)."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox.settings import SandboxSettings

log = structlog.get_logger("sandbox")

LOOK_AGAIN_S = 10.0
"""When a client that was told of a build should ask again."""
AFTER_FAILURE_S = 300.0
"""How long after a build that failed the next one may begin."""
_LONGEST_S = 1_800.0
_GRACE_S = 5.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Builder:
    """Builds what it is asked for in a process of its own, so that packing hundreds of megabytes delays no query."""

    def __init__(
        self, settings: SandboxSettings, images_dir: Path, clock: Clock, supervisor: Supervisor,
        on_built: Callable[[], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._images_dir = images_dir
        self._clock = clock
        self._supervisor = supervisor
        self._on_built = on_built
        self._wanted: list[str] = []
        self._failed: dict[str, tuple[float, str]] = {}
        self._task: asyncio.Task[None] | None = None

    def want(self, profile: str) -> Unavailable:
        """Have the image of a profile built if that can be; what to answer to whoever asked for it."""
        if hindrance := self._hindrance():
            return Unavailable(f"{_no_image(profile)}{hindrance}; mend it with: {_mend(profile)}")
        if (left := self._pause_left(profile)) > 0:
            why = self._failed[profile][1]
            detail = f"the image of the profile {profile} could not be built: {why}; mend it with: {_mend(profile)}"
            return Unavailable(detail, retry_after_s=left)
        if profile not in self._wanted:
            self._wanted.append(profile)
            if self._task is None or self._task.done():
                self._task = self._supervisor.child("sandbox.build", self._build_all())
        return Unavailable(f"the image of the profile {profile} is being built", retry_after_s=LOOK_AGAIN_S)

    async def close(self) -> None:
        """End a build that is under way, and wait until nothing of it is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _hindrance(self) -> str:
        """Why nothing can be built here, or nothing."""
        if not self._settings.build_images:
            return ", and the setting sandbox.build_images forbids building it"
        if os.geteuid() != 0:
            return ", and building one needs root"
        return "" if shutil.which("mmdebstrap") else ", and mmdebstrap is not installed"

    def _pause_left(self, profile: str) -> float:
        since, _ = self._failed.get(profile, (float("-inf"), ""))
        return since + AFTER_FAILURE_S - self._clock.monotonic()

    async def _build_all(self) -> None:
        while self._wanted:
            profile = self._wanted[0]
            try:
                await self._build(profile)
            finally:
                self._wanted.remove(profile)

    async def _build(self, profile: str) -> None:
        began = self._clock.monotonic()
        log.info("sandbox.build_began", profile=profile)
        why = await self._run(profile)
        took_s = round(self._clock.monotonic() - began, 1)
        if why is None:
            log.info("sandbox.build_done", profile=profile, took_s=took_s)
            self._failed.pop(profile, None)
            self._on_built()
        else:
            log.warning("sandbox.build_failed", profile=profile, took_s=took_s, reason=why)
            self._failed[profile] = self._clock.monotonic(), why

    async def _run(self, profile: str) -> str | None:
        """Run the build to its end, or as long as it may take; why it failed, if it did."""
        try:
            process = await self._start(profile)
        except OSError as fault:
            return f"no process could be started: {fault.strerror}"
        try:
            async with asyncio.timeout(_LONGEST_S):
                last = await self._follow(profile, process)
                return None if await process.wait() == 0 else last
        except TimeoutError:
            return f"it took longer than {_LONGEST_S:g} s"
        finally:
            await _end(process)

    async def _start(self, profile: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "orchestrator.sandbox.build", str(self._images_dir), profile,
            self._settings.model_dump_json(), cwd=_PACKAGE_ROOT, env=_environment(), stdin=DEVNULL, stdout=PIPE,
            stderr=STDOUT, start_new_session=True, limit=2**20,
        )  # fmt: skip

    async def _follow(self, profile: str, process: Process) -> str:
        """Log each line that the build says; the last one."""
        assert process.stdout is not None
        last = "it said nothing"
        async for line in process.stdout:
            last = line.decode(errors="replace").strip() or last
            log.info("sandbox.build_step", profile=profile, step=last)
        return last


def _environment() -> dict[str, str]:
    """The daemon's environment without what is only its own: settings and keys."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}


async def _end(process: Process) -> None:
    """End what still runs of a build: first so that it tidies up, then for good.

    The one who waits may have been cancelled; `asyncio.timeout` of Python 3.11 does not raise its `TimeoutError` then.
    """
    if process.returncode is not None:
        return
    _signal(process, signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), _GRACE_S)
    except TimeoutError:
        log.warning("sandbox.build_killed", pid=process.pid)
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    """Signal a build and all that it started; that they have just ended is as good."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _no_image(profile: str) -> str:
    return f"the engine has no image of the profile {profile}"


def _mend(profile: str) -> str:
    return f"{'' if os.geteuid() == 0 else 'sudo '}orchestrator images build {profile}"
