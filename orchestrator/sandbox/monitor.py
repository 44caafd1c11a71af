"""Watches the engine: finds it, tries it, sweeps, and comes back by itself when it was gone (R2-09)."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import structlog

from orchestrator.contracts.errors import StartRefused, Unavailable
from orchestrator.contracts.executions import Kernel
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox import profiles
from orchestrator.sandbox.backends.port import Backend, Facts
from orchestrator.sandbox.builder import Builder
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.pool import Pool
from orchestrator.sandbox.preflight import Posture, Preflight, require_kernel, require_sound
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.settings import SandboxSettings

log = structlog.get_logger("sandbox")

Tell = Callable[[str, str, dict[str, Any]], None]
"""Takes a topic, an outcome and facts of what became of the engine, for the audit."""

DEFAULT_PROFILE = profiles.DEFAULT
FIRST_LOOK_S = 5.0
"""How long a start waits for the first look at the engine; an engine that hangs holds nothing up."""
SWEEP_S = 60.0
_LONGEST_PAUSE_S = 60.0
_NO_DEFAULT = f"the engine has no image of the profile {DEFAULT_PROFILE}; mend it with: orchestrator images build"


class Monitor:
    """Knows whether code can be run now, and if not, why."""

    def __init__(
        self,
        backend: Backend,
        pool: Pool,
        settings: SandboxSettings,
        images_dir: Path,
        state_dir: Path | None,
        clock: Clock,
        metrics: Metrics,
        supervisor: Supervisor,
        tell: Tell,
    ) -> None:
        self._backend = backend
        self._pool = pool
        self._settings = settings
        self._images_dir = images_dir
        self._clock = clock
        self._metrics = metrics
        self._supervisor = supervisor
        self._tell = tell
        memory = None if state_dir is None else state_dir / "preflight"
        self._preflight = Preflight(backend, settings, memory)
        self._builder = Builder(settings, images_dir, clock, supervisor, self._renew)
        self._facts: Facts | None = None
        self._posture: Posture | None = None
        self._stale = False
        self._why = "the engine was not looked for yet"
        self._looked = asyncio.Event()
        self._doubted = asyncio.Event()
        self._failures = 0
        self._next_sweep = 0.0
        self._closing = False
        self._started = False
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Begin to watch; returns after the first look, whatever it showed."""
        self._started = True
        self._supervisor.root("sandbox.monitor", self._watch())
        try:
            async with asyncio.timeout(FIRST_LOOK_S):
                await self._looked.wait()
        except TimeoutError:
            self._why = "the engine takes long to answer"

    async def close(self) -> None:
        """Stop watching and remove our containers."""
        self._closing = True
        self._doubted.set()
        if self._started:
            try:
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._stopped.wait()
            except TimeoutError:
                log.warning("sandbox.monitor_slow", reason="the engine takes long to answer")
        await self._builder.close()
        await self._pool.close()
        await self._last_sweep()
        self._backend.close()

    def facts(self, profile: Profile, kernel: Kernel) -> Facts:
        """What a job of this profile runs on, behind at least this kernel. `Unavailable` says what mends it."""
        if self._closing:
            raise Unavailable("the daemon is ending", code="draining")
        if self._facts is None and self._why == _NO_DEFAULT:
            raise self._builder.want(DEFAULT_PROFILE)
        if self._facts is None:
            raise Unavailable(self._why, retry_after_s=self._settings.probe_interval_ms / 1e3)
        if profile.name not in self._facts.images:
            self._renew()  # a person may have built it
            raise self._builder.want(profile.name)
        require_kernel(profile, kernel, self._facts)
        return self._facts

    def last_facts(self) -> Facts | None:
        """What was last seen of the engine, or None while nothing can be run."""
        return self._facts

    def doubt(self) -> None:
        """Look at the engine now: something that it should have done failed."""
        self._doubted.set()

    def health(self) -> tuple[Literal["ok", "degraded", "failed"], str]:
        if self._facts is None:
            return "degraded", self._why
        dev = ", for development only" if self._facts.dev else ""
        return "ok", f"{self._facts.engine} with {self._facts.runtime}{dev}, {self._pool.armed} armed"

    def _renew(self) -> None:
        """Have the images looked for again, now."""
        self._stale = True
        self.doubt()

    async def _watch(self) -> None:
        while not self._closing:
            self._doubted.clear()
            await self._look()
            self._looked.set()
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._doubted.wait()
            except TimeoutError:
                continue
        self._stopped.set()
        await asyncio.Event().wait()  # a root task ends only when its supervisor says so

    async def _look(self) -> None:
        try:
            if self._facts is not None and not self._stale:
                await self._backend.ping()
                await self._sweep()
                self._pool.arm(self._usual(self._facts))
            else:
                await self._connect()
        except (Unavailable, StartRefused) as fault:
            self._lost(fault.detail)

    async def _sweep(self) -> None:
        """Remove what is left over, of dead daemons and of calls that the engine finished after we had given up."""
        if (now := self._clock.monotonic()) < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_S
        if gone := await self._backend.reap():
            self._metrics.reaped.inc(gone)
            log.warning("sandbox.reaped", containers=gone)

    async def _last_sweep(self) -> None:
        try:
            if self._facts is not None:
                await self._backend.reap()
        except Unavailable as fault:
            log.warning("sandbox.not_swept", reason=fault.detail)  # the next start does it

    async def _connect(self) -> None:
        self._stale = False
        known = profiles.load(self._images_dir)
        facts = await self._backend.connect(known)
        self._next_sweep = 0.0
        await self._sweep()
        if DEFAULT_PROFILE not in facts.images:
            raise Unavailable(_NO_DEFAULT)
        self._failures += 1
        posture = await self._preflight.check(facts, DEFAULT_PROFILE)
        if posture != self._posture:
            self._posture = posture
            self._tell("sandbox.posture", "failed" if posture.failed else "ok", asdict(posture))
        require_sound(posture)
        self._failures = 0
        self._facts = facts
        self._defaults = known[DEFAULT_PROFILE].manifest.limits.default
        self._metrics.sandbox_ready.set(1)
        self._metrics.sandbox_engine.info({"engine": facts.engine, "runtime": facts.runtime})
        log.info("sandbox.ready", engine=facts.engine, runtime=facts.runtime, images=facts.images)
        self._pool.arm(self._usual(facts))

    def _usual(self, facts: Facts) -> WorkerClass:
        image, d = facts.images[DEFAULT_PROFILE].rpartition("@")[2], self._defaults
        return WorkerClass(image, DEFAULT_PROFILE, d.memory_bytes, d.pids, d.disk_bytes, d.inodes)

    def _lost(self, why: str) -> None:
        if self._facts is not None or why != self._why:
            log.warning("sandbox.unavailable", reason=why)
            self._posture = self._posture if self._facts is None else None  # told again when it is back
            self._tell("sandbox.unavailable", "unavailable", {"reason": why})
        self._facts, self._why = None, why
        self._metrics.sandbox_ready.set(0)
        self._pool.arm(None)

    def _pause_s(self) -> float:
        """The usual interval; longer and longer where the trial of the limits failed, since that costs something."""
        return min(self._settings.probe_interval_ms / 1e3 * float(1 << min(self._failures, 10)), _LONGEST_PAUSE_S)
