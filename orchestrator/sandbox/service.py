"""The sandbox as the rest of the house sees it: admit a request, run it against a permit, say how the engine is."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import Execution, ExecutionRequest, Kernel, Limits, Outcome, Progress
from orchestrator.contracts.permits import Permit, PermitCheck
from orchestrator.contracts.profiles import ProfileView
from orchestrator.contracts.sessions import SessionRequest
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox import answers, backends, hints, profiles, requests, rules, verdict, views
from orchestrator.sandbox.backends.port import Facts
from orchestrator.sandbox.cells import Domain
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.monitor import Monitor, Tell
from orchestrator.sandbox.pool import Pool
from orchestrator.sandbox.requests import Admitted
from orchestrator.sandbox.runs import Run
from orchestrator.sandbox.sessions import LiveSessions
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.sandbox.slots import Capacity, Priority, Slots

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
        tell: Tell = lambda topic, outcome, data: None,
    ) -> None:
        self._check = check
        self._clock = clock
        self._metrics = metrics
        self._profiles = profiles.load(images_dir)
        self._settings = settings
        self._slots = Slots(_capacity(settings))
        metrics.sandbox_slots.set(settings.max_running)
        backend = backends.engine(settings).backend(settings, daemon_id)
        self._pool = Pool(backend, settings, clock, metrics, supervisor)
        self._monitor = Monitor(backend, self._pool, settings, images_dir, state_dir, clock, metrics, supervisor, tell)
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
        return views.of_profiles(self._profiles, self._settings.kernel, self._monitor.last_facts())

    def load(self) -> str:
        """How much runs, waits and is ready, for a person."""
        return f"{self._slots.running} running, {self._slots.waiting} waiting, {self._pool.armed} armed"

    def admit(self, request: ExecutionRequest) -> Admitted:
        """A request that can be run, language and profile named. Raises `Invalid` with all of its faults."""
        return requests.admit(request, self._profiles)

    def cancel(self, execution_id: str) -> bool:
        """End an execution; its `run` then answers `cancelled`. False if it is not under way."""
        run = self._runs.get(execution_id)
        if run is not None:
            run.cancel()
        return run is not None

    async def run(
        self, execution_id: str, admitted: Admitted, *, owner: str, key_id: str | None, permit: Permit,
        progress: Progress, session_id: str | None = None,
    ) -> Execution:  # fmt: skip
        """Run a program to its end. Raises `Forbidden`, `Unavailable` or `TooMany` if it did not start.

        In a session it is one piece, after those that came before it. Raises `Gone` where the session has ended. A
        caller that is cancelled takes the program down with it.
        """
        self._check(permit, CAPABILITY, execution_id)
        session = None if session_id is None else self.sessions.get(session_id)
        run = Run(
            self._pool, self._slots, self._clock, progress, execution_id, _domain(admitted, owner, key_id), session
        )
        return (await self._take_through(run, [admitted], f"{owner}/{key_id}", "interactive", permit.kernel))[0]

    async def run_batch(
        self, execution_id: str, batch: Sequence[Admitted], *, owner: str, key_id: str | None, permit: Permit,
        progress: Progress,
    ) -> list[Execution]:  # fmt: skip
        """Run programs one after another behind everybody who waits for an answer, in one worker where one will do.

        Each has its own id, directory and deadline there, and what it leaves is wiped before the next. Raises what
        `run` raises. A batch that is cancelled answers those that had begun.
        """
        self._check(permit, CAPABILITY, execution_id)
        run = Run(self._pool, self._slots, self._clock, progress, execution_id, _domain(batch[0], owner, key_id))
        return await self._take_through(run, batch, f"{owner}/{key_id}", "batch", permit.kernel)

    async def open_session(self, session_id: str, request: SessionRequest, *, permit: Permit) -> None:
        """Open a session. Raises `Forbidden`, `Invalid`, `Unavailable` or `TooMany`."""
        self._check(permit, CAPABILITY, session_id)
        asked = ExecutionRequest(code="", profile=request.profile, limits=request.limits)
        admitted = requests.admit(asked, self._profiles)
        if not admitted.profile.manifest.sessions:
            raise rules.refusal([rules.Fault(("profile",), f"the profile {request.profile} has no sessions")])
        limits = admitted.cases[0].limits
        kind = worker_class(self._monitor.facts(admitted.profile, permit.kernel), request.profile, limits)
        await self.sessions.open(session_id, request.profile, kind, limits, request.ttl_s)

    async def _take_through(
        self, run: Run, batch: Sequence[Admitted], whose: str, priority: Priority, kernel: Kernel
    ) -> list[Execution]:
        """Take programs through queue and worker; what came of those that were begun, at least of the first."""
        facts = [self._monitor.facts(admitted.profile, kernel) for admitted in batch]
        self._runs[run.execution_id] = run
        self._measure(1)
        done: list[Execution] = []
        try:
            async with run:
                weight = sum(admitted.weight for admitted in batch)
                memory = max(admitted.memory_bytes for admitted in batch)
                turn_came = await run.queue(whose, weight, memory, priority, self._settings.queue_ms / 1e3)
                self._measure()
                for admitted, on in zip(batch, facts, strict=True):
                    outcomes = await self._outcomes(run, admitted, on) if turn_came else [answers.not_begun(admitted)]
                    done.append(self._answer(run, admitted, on, outcomes))
                    if run.cancelled:
                        break
        except Unavailable:
            self._monitor.doubt()
            raise
        finally:
            del self._runs[run.execution_id]
            self._measure()
        if run.lost and not run.cancelled:
            self._monitor.doubt()
        return done

    async def _outcomes(self, run: Run, admitted: Admitted, facts: Facts) -> list[Outcome]:
        """What came of each case in turn, or of the one job of a request without cases."""
        outcomes: list[Outcome] = []
        room, artifact_room = MAX_KEPT_BYTES, max(case.limits.artifact_bytes for case in admitted.cases)
        for case in admitted.cases:
            kind = worker_class(facts, admitted.profile.name, case.limits)
            job = case if run.session is None else case.as_piece(run.session.figures())
            raw = await run.run(kind, job.job(run.execution_id, artifact_room))
            if (late_ms := verdict.lateness_ms(raw, case.limits)) is not None:
                self._metrics.sandbox_kills.observe(late_ms / 1e3)
            if run.session is not None:
                self.sessions.settle(run.session, raw)
            outcome = answers.outcome(raw, case, run.queued_ms, run.start_ms, room)
            outcomes.append(hints.add(outcome, admitted.profile, self._profiles))
            room -= len(outcome.stdout) + len(outcome.stderr)
            artifact_room -= sum(len(content) for content in raw.artifacts.values())
            failed = outcome.status != "ok" or outcome.passed is False
            if outcome.status in ("cancelled", "infra") or (failed and admitted.request.stop_on):
                break
        return outcomes

    def _answer(self, run: Run, admitted: Admitted, facts: Facts, outcomes: list[Outcome]) -> Execution:
        where = answers.where(facts, admitted.profile.name, admitted.request.isolation, warm=run.warm)
        return answers.compose(run.execution_id, admitted, outcomes, where)

    def _measure(self, joining: int = 0) -> None:
        self._metrics.sandbox_queue.set(self._slots.waiting + (joining if self._slots.running else 0))
        self._metrics.sandbox_running.set(self._slots.running)


def _domain(admitted: Admitted, owner: str, key_id: str | None) -> Domain | None:
    return Domain(owner, key_id, admitted.request.subject) if admitted.request.isolation == "cell" else None


def _capacity(settings: SandboxSettings) -> Capacity:
    memory = settings.memory_bytes or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return Capacity(settings.max_running, memory, settings.queue_size, settings.queue_per_owner, settings.queue_bytes)


def worker_class(facts: Facts, profile: str, limits: Limits) -> WorkerClass:
    """The class of worker that holds these limits."""
    image = facts.images[profile].rpartition("@")[2]
    return WorkerClass(image, profile, limits.memory_bytes, limits.pids, limits.disk_bytes, limits.inodes)
