"""One container, for one job."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox.backends.docker_config import PATH
from orchestrator.sandbox.backends.docker_stream import AttachedStream
from orchestrator.sandbox.dialogue import Dialogue
from orchestrator.sandbox.frames import BrokenStream
from orchestrator.sandbox.jobs import Job, RawOutcome, WorkerClass
from orchestrator.sandbox.settings import SandboxSettings

log = structlog.get_logger("sandbox")


class Owner(Protocol):
    """The backend, as its workers see it."""

    settings: SandboxSettings

    def kill(self, name: str, *, ended: bool) -> Awaitable[bool]: ...

    def remove(self, name: str) -> Awaitable[None]: ...


class DockerWorker:
    """A started container whose runner waits for its single job. `id` is the container's name."""

    def __init__(self, owner: Owner, name: str, uid: int, kind: WorkerClass, stream: AttachedStream) -> None:
        self.id = name
        self.kind = kind
        self._owner = owner
        self._uid = uid
        self._stream = stream
        self._dialogue = Dialogue(stream, stream)
        self._deadline: asyncio.Timeout | None = None
        self._cancelled = False

    @property
    def alive(self) -> bool:
        return not self._stream.ended

    async def run(self, job: Job, on_started: Callable[[], None]) -> RawOutcome:
        settings = self._owner.settings
        outcome = self._dialogue.outcome

        def started() -> None:
            self._expire_in(job.limits.wall_ms + settings.grace_ms)
            on_started()

        try:
            async with asyncio.timeout(settings.start_timeout_ms / 1e3) as self._deadline:
                await self._dialogue.hold(job, self._header(job), started)
        except TimeoutError:
            outcome.loss = "cancelled" if self._cancelled else "silent"
            outcome.detail = "its runner did not answer in time"
            await self._end(outcome)
        except BrokenStream as fault:
            outcome.loss, outcome.detail = "died", str(fault)
            await self._end(outcome)
        finally:
            self._deadline = None
        return outcome

    def cancel(self) -> None:
        if self._deadline is None or self._cancelled:
            return
        self._cancelled = True
        self._dialogue.cancel()
        self._expire_in(self._owner.settings.grace_ms)

    async def destroy(self) -> None:
        self._stream.close()
        await self._owner.remove(self.id)

    def _header(self, job: Job) -> dict[str, object]:
        environment = {"PATH": PATH, "HOME": "/box/work", "LANG": "C.UTF-8"}
        return {
            "uid": self._uid,
            "cpus": self._owner.settings.cpus,
            "limits": job.limits.model_dump(),
            "args": job.args,
            "env": {**environment, **job.env},
        }

    def _expire_in(self, ms: float) -> None:
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + ms / 1e3)

    async def _end(self, outcome: RawOutcome) -> None:
        """Have the engine kill the container and prove it dead; its word is the second witness for memory."""
        try:
            if await self._owner.kill(self.id, ended=outcome.loss == "died") and outcome.loss == "died":
                outcome.loss = "oom"
        except Unavailable as fault:
            outcome.loss, outcome.detail = "died", f"{outcome.detail}, and {fault.detail}"
        if tail := self._stream.stderr_tail:
            log.warning("sandbox.runner_said", container=self.id, stderr=tail.decode(errors="replace"))
