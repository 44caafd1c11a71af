"""Workers at hand: a few armed ones of the usual class, cells of those who come back, fresh ones of any other class.

What was used is replaced when its job has ended, so that making a container does not slow the job that took one.
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
from orchestrator.sandbox.cells import Cells, Domain
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.settings import SandboxSettings

log = structlog.get_logger("sandbox")

_MOMENT_S = 0.01


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
        self._cells = Cells(settings.cells, settings.cell_idle_s, settings.cell_uses)
        self._expiry: asyncio.TimerHandle | None = None
        self._usual: WorkerClass | None = None
        self._leaving: list[Worker] = []
        self._settling: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def cells(self) -> int:
        """How many cells rest."""
        return len(self._cells)

    @property
    def armed(self) -> int:
        """How many workers wait for a job."""
        return sum(worker.alive for _, worker in self._armed)

    def arm(self, usual: WorkerClass | None) -> None:
        """From now on keep workers of this class ready; those of another class go, and without one all cells, too."""
        self._usual = usual
        for cell in self._cells.clear() if usual is None else ():
            self.dispose(cell)
        for entry in [entry for entry in self._armed if entry[1].kind != usual]:
            self._armed.remove(entry)
            self.dispose(entry[1])
        self._refill()

    async def take(
        self, kind: WorkerClass, execution_id: str, domain: Domain | None = None, *, fresh: bool = False
    ) -> tuple[Worker, bool]:
        """A worker, and whether it was at hand. Raises `Unavailable`.

        It has run nothing, or only jobs of `domain` before; `fresh` is for one that takes none that waited.
        """
        if not fresh and domain is not None and (cell := self._cells.take(domain, kind)) is not None:
            return cell, True
        worker = None if fresh or kind != self._usual else self._pop()
        if worker is not None:
            return worker, True
        return await self._finish(self._begin("launch", self._launch(kind, execution_id))), False

    def dispose(self, worker: Worker) -> None:
        """Have a worker killed and removed, and what is missing made anew, in the background, in a moment.

        Not at once, since making and removing containers takes the processors that the answer still needs.
        """
        self._leaving.append(worker)
        self._settle_soon()

    def keep(self, worker: Worker, domain: Domain) -> None:
        """Have a worker wiped, and kept for its domain."""
        self._leaving += self._cells.give(worker, domain, self._clock.monotonic())
        self._settle_soon()
        self._watch_expiry()

    def _watch_expiry(self) -> None:
        """Look again when the next cell may have rested for too long; while none rests, nothing is looked at."""
        if self._expiry is None and self._cells:
            self._expiry = asyncio.get_running_loop().call_later(self._settings.cell_idle_s / 2, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        for worker in self._cells.expired(self._clock.monotonic()):
            self.dispose(worker)
        self._watch_expiry()

    def _settle_soon(self) -> None:
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(_MOMENT_S, self._settle)

    def _settle(self) -> None:
        """Begin to make what is missing and to remove what is not needed any more."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self._refill()
        while self._leaving:
            self._begin("destroy", self._leaving.pop().destroy())

    async def close(self) -> None:
        """Remove all workers that wait, and wait until all that was made or handed back is gone."""
        self.arm(None)
        if self._expiry is not None:
            self._expiry.cancel()
        while self._under_way or self._leaving:
            self._settle()
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
