"""The sandbox as the rest of the house sees it: admit a request, run it against a permit, say how the engine is."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import Execution, ExecutionRequest, Limits
from orchestrator.contracts.permits import Permit, PermitCheck
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox import answers, profiles, requests
from orchestrator.sandbox.backends.docker import DockerBackend
from orchestrator.sandbox.backends.port import Facts, Worker
from orchestrator.sandbox.jobs import Job, RawOutcome, WorkerClass
from orchestrator.sandbox.monitor import Monitor
from orchestrator.sandbox.pool import Pool
from orchestrator.sandbox.requests import Admitted
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.sandbox.slots import Slots

CAPABILITY = "sandbox.execute"
"""What a permit must be for, with the execution's id as its subject."""

OnStatus = Callable[[str], None]


class _Run:
    """One execution under way, and how it can be cancelled at each of its stages."""

    def __init__(self, on_status: OnStatus) -> None:
        self.on_status = on_status
        self.cancelled = False
        self.acquiring: asyncio.Timeout | None = None
        self.worker: Worker | None = None
        self.warm = False
        self.queued_ms = 0.0
        self.start_ms = 0.0

    def cancel(self) -> None:
        self.cancelled = True
        if self.worker is not None:
            self.worker.cancel()
        elif self.acquiring is not None and not self.acquiring.expired():
            self.acquiring.reschedule(asyncio.get_running_loop().time())


class Sandbox:
    """Runs untrusted code in containers without a network, each used once (CONTRACT 4, R2-17)."""

    def __init__(
        self,
        settings: SandboxSettings,
        *,
        images_dir: Path,
        daemon_id: str,
        check: PermitCheck,
        clock: Clock,
        metrics: Metrics,
        supervisor: Supervisor,
        state_dir: Path | None = None,
    ) -> None:
        self._check = check
        self._clock = clock
        self._metrics = metrics
        self._profiles = profiles.load(images_dir)
        self._slots = Slots(settings.max_running, settings.queue_size, settings.queue_per_owner, settings.queue_bytes)
        backend = DockerBackend(settings, daemon_id)
        self._pool = Pool(backend, settings, clock, metrics, supervisor)
        self._monitor = Monitor(backend, self._pool, settings, images_dir, state_dir, clock, metrics, supervisor)
        self._runs: dict[str, _Run] = {}

    async def start(self) -> None:
        """Look for the engine, remove what a dead daemon left, go on looking. Never raises for want of an engine."""
        await self._monitor.start()

    async def close(self) -> None:
        """End what runs, and leave no container behind."""
        for run in list(self._runs.values()):
            run.cancel()
        await self._monitor.close()

    def health(self) -> tuple[Literal["ok", "degraded", "failed"], str]:
        """How it stands, and why, for a person."""
        return self._monitor.health()

    def load(self) -> str:
        """How much runs, waits and is ready, for a person."""
        return f"{self._slots.running} running, {self._slots.waiting} waiting, {self._pool.armed} armed"

    def admit(self, request: ExecutionRequest) -> Limits:
        """The limits that will hold. Raises `Invalid` with all faults of the request."""
        return requests.admit(request, self._profiles).limits

    def cancel(self, execution_id: str) -> bool:
        """End an execution; its `run` then answers `cancelled`. False if it is not under way."""
        run = self._runs.get(execution_id)
        if run is not None:
            run.cancel()
        return run is not None

    async def run(
        self, execution_id: str, request: ExecutionRequest, *, owner: str, permit: Permit, on_status: OnStatus
    ) -> Execution:
        """Run a program to its end. Raises `Forbidden`, `Invalid`, `Unavailable` or `TooMany` if it did not start.

        A caller that is cancelled takes the program down with it.
        """
        self._check(permit, CAPABILITY, execution_id)
        admitted = requests.admit(request, self._profiles)
        facts = self._monitor.facts(admitted.profile.name)
        run = self._runs[execution_id] = _Run(on_status)
        on_status("queued")
        try:
            outcome = await self._execute(execution_id, run, request, admitted, facts, owner)
        finally:
            del self._runs[execution_id]
            self._measure()
        usage = answers.usage(outcome, run.queued_ms, run.start_ms)
        where = answers.where(facts, admitted.profile.name, warm=run.warm)
        return answers.compose(execution_id, request, admitted.limits, outcome, usage, where)

    async def _execute(
        self, execution_id: str, run: _Run, request: ExecutionRequest, admitted: Admitted, facts: Facts, owner: str
    ) -> RawOutcome:
        job = Job(execution_id, admitted.limits, request.args, request.env, admitted.parts)
        kind = worker_class(facts, admitted.profile.name, admitted.limits)
        began = self._clock.monotonic()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(None) as run.acquiring:
                    self._measure(1)
                    await stack.enter_async_context(
                        self._slots.hold(owner, 2 * sum(len(part[2]) for part in admitted.parts))
                    )
                    run.queued_ms = self._since(began)
                    run.worker = await self._take(stack, kind, execution_id, run)
            except TimeoutError:
                return RawOutcome(loss="cancelled")
            outcome = await self._hand_over(run, run.worker, job)
            if outcome.loss == "died" and run.warm and not outcome.started and not run.cancelled:
                run.worker = await self._take(stack, kind, execution_id, run, fresh=True)  # it had died while waiting
                outcome = await self._hand_over(run, run.worker, job)
        if outcome.loss is not None:
            self._monitor.doubt()
        return outcome

    async def _take(
        self, stack: AsyncExitStack, kind: WorkerClass, execution_id: str, run: _Run, *, fresh: bool = False
    ) -> Worker:
        began = self._clock.monotonic()
        self._measure()
        try:
            worker, run.warm = await self._pool.take(kind, execution_id, fresh=fresh)
        except Unavailable:
            self._monitor.doubt()
            raise
        stack.callback(self._pool.dispose, worker)
        run.start_ms = self._since(began)
        return worker

    async def _hand_over(self, run: _Run, worker: Worker, job: Job) -> RawOutcome:
        if run.cancelled:
            return RawOutcome(loss="cancelled")
        handed = started = self._clock.monotonic()

        def on_started() -> None:
            nonlocal started
            started = self._clock.monotonic()
            run.on_status("running")

        outcome = await worker.run(job, on_started)
        run.start_ms += (started - handed) * 1e3
        outcome.wall_ms = self._since(started)
        return outcome

    def _since(self, began: float) -> float:
        return (self._clock.monotonic() - began) * 1e3

    def _measure(self, joining: int = 0) -> None:
        self._metrics.sandbox_queue.set(self._slots.waiting + (joining if self._slots.running else 0))
        self._metrics.sandbox_running.set(self._slots.running)


def worker_class(facts: Facts, profile: str, limits: Limits) -> WorkerClass:
    """The class of worker that holds these limits."""
    image = facts.images[profile].rpartition("@")[2]
    return WorkerClass(image, profile, limits.memory_bytes, limits.pids, limits.disk_bytes, limits.inodes)
