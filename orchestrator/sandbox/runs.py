"""One execution on its way: it waits its turn, holds a worker, runs job after job; a cancel reaches it anywhere."""

import asyncio
from contextlib import AsyncExitStack

from orchestrator.contracts.errors import Gone, TooMany
from orchestrator.contracts.executions import OutputName, Progress
from orchestrator.kernel.clock import Clock
from orchestrator.sandbox.backends.port import Worker
from orchestrator.sandbox.cells import Domain
from orchestrator.sandbox.jobs import Job, RawOutcome, WorkerClass
from orchestrator.sandbox.pool import Pool
from orchestrator.sandbox.sessions import LiveSession
from orchestrator.sandbox.slots import Priority, Slots


class Run:
    """One execution under way. Used within `async with`, which gives back what it holds."""

    def __init__(
        self, pool: Pool, slots: Slots, clock: Clock, progress: Progress, execution_id: str, domain: Domain | None,
        session: LiveSession | None = None,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._slots = slots
        self._clock = clock
        self._progress = progress
        self.execution_id = execution_id
        self._domain = domain
        self.session = session
        self._stack = AsyncExitStack()
        self._began = clock.monotonic()
        self._acquiring: asyncio.Timeout | None = None
        self._worker: Worker | None = None
        self._sound = True
        self.cancelled = False
        self.warm = False
        self.queued_ms = 0.0
        self.start_ms = 0.0
        self.lost = False

    async def __aenter__(self) -> "Run":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._let_go(keep=not self.cancelled)
        await self._stack.aclose()

    def cancel(self) -> None:
        """End it, wherever it is."""
        self.cancelled = True
        if self._worker is not None:
            self._worker.cancel()
        elif self._acquiring is not None and not self._acquiring.expired():
            self._acquiring.reschedule(asyncio.get_running_loop().time())

    async def queue(self, whose: str, weight: int, memory_bytes: int, priority: Priority, longest_s: float) -> bool:
        """Wait for a session's earlier pieces, then for a slot; whether both came before a cancel. Raises `TooMany`."""
        try:
            async with asyncio.timeout(longest_s) as self._acquiring:
                if self.session is not None:
                    self._progress.status("queued")
                    await self._stack.enter_async_context(self.session.turn)
                turn = self._slots.join(whose, weight, memory_bytes, priority)
                self._stack.callback(turn.leave)
                self._progress.status("queued")
                await turn.come
        except TimeoutError:
            if self.cancelled:
                return False
            waited = f"its turn did not come within {longest_s:g} s"
            raise TooMany(waited, retry_after_s=self._slots.patience_s()) from None
        self.queued_ms = self._since(self._began)
        return True

    async def run(self, kind: WorkerClass, job: Job) -> RawOutcome:
        """Run one job in a worker of this class, the same as before where that will do. Raises `Unavailable`."""
        outcome = await self._attempt(kind, job, fresh=False)
        again = self.warm and self.session is None and not outcome.started and not self.cancelled
        if outcome.loss == "died" and again:
            outcome = await self._attempt(kind, job, fresh=True)  # it had died while waiting
        self.lost |= outcome.loss is not None
        return outcome

    def started(self) -> None:
        """A job began just now."""
        self._started = self._clock.monotonic()
        self.start_ms += (self._started - self._handed) * 1e3
        self._progress.status("running")

    def output(self, name: OutputName, data: bytes) -> None:
        """A job wrote something that is kept."""
        self._progress.output(name, data)

    async def _attempt(self, kind: WorkerClass, job: Job, *, fresh: bool) -> RawOutcome:
        try:
            async with asyncio.timeout(None) as self._acquiring:
                worker = await self._hold(kind, fresh=fresh)
        except TimeoutError:
            return RawOutcome(loss="cancelled")
        if self.cancelled:
            return RawOutcome(loss="cancelled")
        self._handed = self._started = self._clock.monotonic()
        outcome = await worker.run(job, self)
        outcome.wall_ms = self._since(self._started)
        self._sound = outcome.evidence is not None and not outcome.evidence.survivors
        if not self._sound:
            self._let_go(keep=False)
        return outcome

    async def _hold(self, kind: WorkerClass, *, fresh: bool) -> Worker:
        """The worker of a session; that of this class which is held already, wiped but for its program; or another."""
        if self.session is not None:
            if self.session.ended:
                raise Gone("the session has ended")
            self._worker, self.warm = self.session.worker, True
            return self._worker
        if self._worker is not None and self._worker.kind == kind and not fresh:
            self._worker.wipe(keep_program=True)
            return self._worker
        self._let_go(keep=True)
        began = self._clock.monotonic()
        self._worker, self.warm = await self._pool.take(kind, self._domain, fresh=fresh)
        self.start_ms += self._since(began)
        return self._worker

    def _let_go(self, *, keep: bool) -> None:
        worker, self._worker = self._worker, None
        if worker is None or self.session is not None:
            return
        if keep and self._sound and self._domain is not None:
            self._pool.keep(worker, self._domain)
        else:
            self._pool.dispose(worker)

    def _since(self, began: float) -> float:
        return (self._clock.monotonic() - began) * 1e3
