"""The sandbox as the rest of the house sees it: admit a request, run it against a permit, say how the engine is."""

import os
from pathlib import Path
from typing import Literal

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import Execution, ExecutionRequest, Limits, Outcome, Progress
from orchestrator.contracts.permits import Permit, PermitCheck
from orchestrator.contracts.profiles import ProfileView
from orchestrator.contracts.sessions import SessionRequest
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox import answers, hints, profiles, requests, views
from orchestrator.sandbox.backends.docker import DockerBackend
from orchestrator.sandbox.backends.port import Facts
from orchestrator.sandbox.cells import Domain
from orchestrator.sandbox.jobs import RawOutcome, WorkerClass
from orchestrator.sandbox.monitor import Monitor
from orchestrator.sandbox.pool import Pool
from orchestrator.sandbox.requests import Admitted
from orchestrator.sandbox.runs import Run
from orchestrator.sandbox.sessions import LiveSession, LiveSessions
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.sandbox.slots import Capacity, Slots

CAPABILITY = "sandbox.execute"
"""What a permit must be for, with the execution's id as its subject."""
MAX_KEPT_BYTES = 32 * 2**20
"""The outputs of all cases of one execution together; what is more is cut."""


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
        self._settings = settings
        self._slots = Slots(_capacity(settings))
        backend = DockerBackend(settings, daemon_id)
        self._pool = Pool(backend, settings, clock, metrics, supervisor)
        self._monitor = Monitor(backend, self._pool, settings, images_dir, state_dir, clock, metrics, supervisor)
        self._runs: dict[str, Run] = {}
        self.sessions = LiveSessions(self._pool, settings.sessions)

    async def start(self) -> None:
        """Look for the engine, remove what a dead daemon left, go on looking. Never raises for want of an engine."""
        await self._monitor.start()

    async def close(self) -> None:
        """End what runs, and leave no container behind."""
        for run in list(self._runs.values()):
            run.cancel()
        self.sessions.end_all("The daemon ended.")
        await self._monitor.close()

    def health(self) -> tuple[Literal["ok", "degraded", "failed"], str]:
        """How it stands, and why, for a person."""
        return self._monitor.health()

    def profiles(self) -> list[ProfileView]:
        """All profiles, and what the engine has of them."""
        return views.of_profiles(self._profiles, self._settings.runtime, self._monitor.last_facts())

    def load(self) -> str:
        """How much runs, waits and is ready, for a person."""
        return f"{self._slots.running} running, {self._slots.waiting} waiting, {self._pool.armed} armed"

    def admit(self, request: ExecutionRequest) -> tuple[ExecutionRequest, Limits]:
        """The request, language and profile named, and the limits that will hold. Raises `Invalid` with all faults."""
        admitted = requests.admit(request, self._profiles)
        return admitted.request, admitted.cases[0].limits

    def cancel(self, execution_id: str) -> bool:
        """End an execution; its `run` then answers `cancelled`. False if it is not under way."""
        run = self._runs.get(execution_id)
        if run is not None:
            run.cancel()
        return run is not None

    async def run(
        self, execution_id: str, request: ExecutionRequest, *, owner: str, key_id: str | None, permit: Permit,
        progress: Progress, session_id: str | None = None,
    ) -> Execution:  # fmt: skip
        """Run a program to its end. Raises `Forbidden`, `Invalid`, `Unavailable` or `TooMany` if it did not start.

        In a session it is one piece, after those that came before it. Raises `Gone` where the session has ended. A
        caller that is cancelled takes the program down with it.
        """
        self._check(permit, CAPABILITY, execution_id)
        admitted = requests.admit(request, self._profiles)
        request = admitted.request
        facts = self._monitor.facts(admitted.profile.name)
        session = None if session_id is None else self.sessions.get(session_id)
        domain = Domain(owner, key_id, request.subject) if request.isolation == "cell" else None
        run = Run(self._pool, self._slots, self._clock, progress, execution_id, domain, session)
        outcomes = await self._go_through(run, request, admitted, facts, f"{owner}/{key_id}", session)
        where = answers.where(facts, admitted.profile.name, request.isolation, warm=run.warm)
        return answers.compose(execution_id, admitted, outcomes, where)

    async def open_session(self, session_id: str, request: SessionRequest, *, permit: Permit) -> None:
        """Open a session. Raises `Forbidden`, `Invalid`, `Unavailable` or `TooMany`."""
        self._check(permit, CAPABILITY, session_id)
        asked = ExecutionRequest(code="", profile=request.profile, limits=request.limits)
        limits = requests.admit(asked, self._profiles).cases[0].limits
        kind = worker_class(self._monitor.facts(request.profile), request.profile, limits)
        await self.sessions.open(session_id, request.profile, kind, limits, request.ttl_s)

    async def _go_through(
        self, run: Run, request: ExecutionRequest, admitted: Admitted, facts: Facts, whose: str,
        session: LiveSession | None,
    ) -> list[Outcome]:  # fmt: skip
        self._runs[run.execution_id] = run
        try:
            async with run:
                outcomes = await self._outcomes(run, request, admitted, facts, whose, session)
        except Unavailable:
            self._monitor.doubt()
            raise
        finally:
            del self._runs[run.execution_id]
            self._measure()
        if run.lost and not run.cancelled:
            self._monitor.doubt()
        return outcomes

    async def _outcomes(
        self, run: Run, request: ExecutionRequest, admitted: Admitted, facts: Facts, whose: str,
        session: LiveSession | None,
    ) -> list[Outcome]:  # fmt: skip
        """What came of each case in turn, or of the one job of a request without cases."""
        self._measure(1)
        longest_s = self._settings.queue_ms / 1e3
        if not await run.queue(whose, admitted.weight, admitted.memory_bytes, longest_s):
            return [answers.outcome(RawOutcome(loss="cancelled"), admitted.cases[0], 0, 0, 0)]
        self._measure()
        outcomes: list[Outcome] = []
        room = MAX_KEPT_BYTES
        for case in admitted.cases:
            kind = worker_class(facts, admitted.profile.name, case.limits)
            job = case if session is None else case.as_piece(session.figures())
            raw = await run.run(kind, job.job(run.execution_id))
            if session is not None:
                self.sessions.settle(session, raw)
            outcome = answers.outcome(raw, case, run.queued_ms, run.start_ms, room)
            outcome = hints.add(outcome, admitted.profile, self._profiles)
            outcomes.append(outcome)
            room -= len(outcome.stdout) + len(outcome.stderr)
            failed = outcome.status != "ok" or outcome.passed is False
            if outcome.status in ("cancelled", "infra") or (failed and request.stop_on):
                break
        return outcomes

    def _measure(self, joining: int = 0) -> None:
        self._metrics.sandbox_queue.set(self._slots.waiting + (joining if self._slots.running else 0))
        self._metrics.sandbox_running.set(self._slots.running)


def _capacity(settings: SandboxSettings) -> Capacity:
    memory = settings.memory_bytes or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return Capacity(settings.max_running, memory, settings.queue_size, settings.queue_per_owner, settings.queue_bytes)


def worker_class(facts: Facts, profile: str, limits: Limits) -> WorkerClass:
    """The class of worker that holds these limits."""
    image = facts.images[profile].rpartition("@")[2]
    return WorkerClass(image, profile, limits.memory_bytes, limits.pids, limits.disk_bytes, limits.inodes)
