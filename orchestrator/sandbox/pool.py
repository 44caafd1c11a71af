"""Workers at hand: a few armed ones of the usual class, fresh ones of any other.

A worker is used once. What is taken is replaced at once, in the background; nothing here waits for a clock.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox.backends.port import Backend, Worker
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.settings import SandboxSettings

log = structlog.get_logger("sandbox")


class Pool:
    """Hands out workers of a class and keeps `settings.armed` of one class ready."""

    def __init__(
        self, backend: Backend, settings: SandboxSettings, clock: Clock, metrics: Metrics, supervisor: Supervisor
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._supervisor = supervisor
        self._armed: list[tuple[float, Worker]] = []
        self._arming = 0
        self._usual: WorkerClass | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def armed(self) -> int:
        """How many workers wait for a job."""
        return sum(worker.alive for _, worker in self._armed)

    def arm(self, usual: WorkerClass | None) -> None:
        """From now on keep workers of this class ready, or of none; those of another class go."""
        self._usual = usual
        for entry in [entry for entry in self._armed if entry[1].kind != usual]:
            self._armed.remove(entry)
            self.dispose(entry[1])
        self._refill()

    async def take(self, kind: WorkerClass, execution_id: str, *, fresh: bool = False) -> tuple[Worker, bool]:
        """A worker that has run nothing, and whether it was armed. Raises `Unavailable`."""
        worker = None if fresh or kind != self._usual else self._pop()
        if worker is not None:
            self._refill()
            return worker, True
        return await self._finish(self._begin("launch", self._launch(kind, execution_id))), False

    def dispose(self, worker: Worker) -> None:
        """Have a worker killed and removed, in the background."""
        self._begin("destroy", worker.destroy())

    async def close(self) -> None:
        """Remove the armed workers, and wait until all that was made or handed back is gone."""
        self.arm(None)
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _pop(self) -> Worker | None:
        """The oldest armed worker that still waits and whose lease leaves room for a job."""
        while self._armed:
            since, worker = self._armed.pop(0)
            if worker.alive and self._clock.monotonic() - since < self._settings.lease_s / 2:
                return worker
            self.dispose(worker)
        return None

    def _refill(self) -> None:
        if self._usual is None:
            return
        for _ in range(self._settings.armed - len(self._armed) - self._arming):
            self._arming += 1
            self._begin("arm", self._arm_one(self._usual))

    def _begin(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._supervisor.child(f"sandbox.{name}", work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _arm_one(self, kind: WorkerClass) -> None:
        try:
            worker = await self._launch(kind, None)
        finally:
            self._arming -= 1
        if isinstance(worker, Unavailable):
            log.warning("sandbox.not_armed", reason=worker.detail)  # the next probe of the engine tries again
        elif kind == self._usual:
            self._armed.append((self._clock.monotonic(), worker))
        else:
            self.dispose(worker)

    async def _finish(self, launching: asyncio.Task[Worker | Unavailable]) -> Worker:
        """Wait for a launch. One that nobody waits for any more goes to its end, or its container would be lost."""
        try:
            launched = await asyncio.shield(launching)
        except asyncio.CancelledError:
            launching.add_done_callback(self._dispose_launched)
            raise
        if isinstance(launched, Unavailable):
            raise launched
        return launched

    def _dispose_launched(self, launching: asyncio.Task[Worker | Unavailable]) -> None:
        if not launching.cancelled() and not isinstance(launched := launching.result(), Unavailable):
            self.dispose(launched)

    async def _launch(self, kind: WorkerClass, execution_id: str | None) -> Worker | Unavailable:
        """Make a worker; that the engine cannot is an answer too, since nobody may be waiting for it."""
        began = self._clock.monotonic()
        try:
            worker = await self._backend.launch(kind, execution_id)
        except Unavailable as fault:
            return fault
        self._metrics.sandbox_starts.observe(self._clock.monotonic() - began)
        return worker
