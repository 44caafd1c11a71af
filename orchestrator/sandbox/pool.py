"""Workers at hand: armed ones of the classes that are asked for, cells of those who come back; all others are made.

What was used is replaced when its job has ended, so that making a container does not slow a short job that took one,
and after a moment in any case.
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
from orchestrator.sandbox.demand import Demand
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.sandbox.stock import Stock

log = structlog.get_logger("sandbox")

_MOMENT_S = 0.01
_REPLACE_S = 0.1
"""How long what was taken is not replaced: a short job is answered by then."""
_GROWTH = 4
"""How many times the least number of armed workers is the most, where no setting says it."""


class Pool:
    """Hands out workers of a class, and keeps as many armed as `Demand` wants."""

    def __init__(
        self, backend: Backend, settings: SandboxSettings, clock: Clock, metrics: Metrics, supervisor: Supervisor
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._supervisor = supervisor
        most = _GROWTH * settings.armed if settings.armed_most is None else settings.armed_most
        self._demand = Demand(settings.armed, most)
        self._usual: WorkerClass | None = None
        self._stocks: dict[WorkerClass, Stock] = {}
        self._cells = Cells(settings.cells, settings.cell_idle_s, settings.cell_uses)
        self._expiry: asyncio.TimerHandle | None = None
        self._leaving: list[Worker] = []
        self._settling: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[Any]] = set()
        metrics.sandbox_armed.set_function(lambda: self.armed)
        metrics.sandbox_cells.set_function(lambda: self.cells)

    @property
    def cells(self) -> int:
        """How many cells rest."""
        return len(self._cells)

    @property
    def armed(self) -> int:
        """How many workers wait for a job."""
        return sum(stock.armed for stock in self._stocks.values())

    def arm(self, usual: WorkerClass | None) -> None:
        """From now on keep workers of this class ready, beside those that are asked for; without one, nothing at all.

        Called again and again, it also brings the numbers to what is wanted by now.
        """
        if usual != self._usual:
            self._usual = usual
            self._demand.clear()
        for cell in self._cells.clear() if usual is None else ():
            self.dispose(cell)
        self._refill()

    async def take(
        self, kind: WorkerClass, domain: Domain | None = None, *, fresh: bool = False
    ) -> tuple[Worker, bool]:
        """A worker, and whether it was at hand. Raises `Unavailable`.

        It has run nothing, or only jobs of `domain` before; `fresh` is for one that takes none that waited.
        """
        if not fresh and domain is not None and (cell := self._cells.take(domain, kind)) is not None:
            self._metrics.worker_taken("cell")
            return cell, True
        self._demand.took(kind, self._clock.monotonic())
        worker = None if fresh else self._take_armed(kind)
        self._metrics.worker_taken("cold" if worker is None else "armed")
        if worker is not None:
            self._settle_in(_REPLACE_S)
            return worker, True
        return await self._next(kind), False

    def dispose(self, worker: Worker) -> None:
        """Have a worker killed and removed, and what is missing made anew, in the background, in a moment.

        Not at once, since making and removing containers takes the processors that the answer still needs.
        """
        self._leaving.append(worker)
        self._settle_in(_MOMENT_S)

    def keep(self, worker: Worker, domain: Domain) -> None:
        """Have a worker wiped, and kept for its domain."""
        for other in self._cells.give(worker, domain, self._clock.monotonic()):
            self.dispose(other)
        self._watch_expiry()

    async def close(self) -> None:
        """Remove all workers that wait, and wait until all that was made or handed back is gone."""
        self.arm(None)
        while self._under_way or self._leaving:
            self._settle()
            await asyncio.wait(self._under_way)
        for timer in (self._expiry, self._settling):
            if timer is not None:
                timer.cancel()

    def _watch_expiry(self) -> None:
        """Look again when the next cell may have rested for too long; while none rests, nothing is looked at."""
        if self._expiry is None and self._cells:
            self._expiry = asyncio.get_running_loop().call_later(self._settings.cell_idle_s / 2, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        for worker in self._cells.expired(self._clock.monotonic()):
            self.dispose(worker)
        self._watch_expiry()

    def _settle_in(self, seconds: float) -> None:
        """Settle after this time, or earlier if that was due already."""
        loop = asyncio.get_running_loop()
        if self._settling is not None and self._settling.when() > loop.time() + seconds:
            self._settling.cancel()
            self._settling = None
        if self._settling is None:
            self._settling = loop.call_later(seconds, self._settle)

    def _settle(self) -> None:
        """Begin to make what is missing and to remove what is not needed any more."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self._refill()
        while self._leaving:
            self._begin("destroy", self._leaving.pop().destroy())

    def _stock(self, kind: WorkerClass) -> Stock:
        return self._stocks.setdefault(kind, Stock())

    def _take_armed(self, kind: WorkerClass) -> Worker | None:
        """The oldest armed worker of a class that still waits and whose lease leaves room for a job."""
        now, stock = self._clock.monotonic(), self._stock(kind)
        while (entry := stock.take()) is not None:
            since, worker = entry
            if worker.alive and now - since < self._settings.lease_s / 2:
                self._metrics.sandbox_armed_age.observe(now - since)
                return worker
            self.dispose(worker)
        return None

    async def _next(self, kind: WorkerClass) -> Worker:
        """Have one more made, and wait for the next that is ready."""
        self._make(kind)
        waiter = self._stock(kind).join()
        try:
            return await waiter
        except asyncio.CancelledError:
            if (worker := self._stock(kind).leave(waiter)) is not None:
                self.dispose(worker)
            raise

    def _refill(self) -> None:
        """Bring what is armed to what is wanted."""
        wanted = {} if self._usual is None else self._demand.wanted(self._usual, self._clock.monotonic())
        self._metrics.sandbox_armed_wanted.set(sum(wanted.values()))
        for kind in [*wanted, *(kind for kind in self._stocks if kind not in wanted)]:
            stock, number = self._stock(kind), wanted.get(kind, 0)
            for worker in stock.surplus(number):
                self.dispose(worker)
            for _ in range(stock.missing(number)):
                self._make(kind)
            if stock.empty:
                del self._stocks[kind]

    def _begin(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        task = self._supervisor.child(f"sandbox.{name}", work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _make(self, kind: WorkerClass) -> None:
        self._stock(kind).making()
        self._begin("launch", self._launch(kind))

    async def _launch(self, kind: WorkerClass) -> None:
        began, worker, fault = self._clock.monotonic(), None, Unavailable("a container could not be made")
        try:
            worker = await self._backend.launch(kind, None)
        except Unavailable as known:
            fault = known
            log.warning("sandbox.not_started", reason=fault.detail)  # what shall be armed, the next refill makes
        finally:
            if worker is None:
                self._stock(kind).failed(fault)
        if worker is not None:
            self._made(kind, worker, began)

    def _made(self, kind: WorkerClass, worker: Worker, began: float) -> None:
        now = self._clock.monotonic()
        self._metrics.sandbox_starts.observe(now - began)
        if self._stock(kind).made(worker, now):
            self._metrics.sandbox_refills.observe(now - began)
            self._demand.replaced(now - began + _REPLACE_S)
            self._refill()  # it may not be wanted any more
