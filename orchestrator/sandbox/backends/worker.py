"""One started runner behind a stream, whatever keeps it: a container of an engine or a process of this machine."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Literal, Protocol, TypeVar

import structlog

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import OutputName
from orchestrator.sandbox import dialogue, file_talk, frames
from orchestrator.sandbox.artifacts import Entry
from orchestrator.sandbox.backends.meter import Meter
from orchestrator.sandbox.dialogue import Dialogue
from orchestrator.sandbox.frames import BrokenStream, Kind
from orchestrator.sandbox.jobs import Job, Observer, RawOutcome, WorkerClass
from orchestrator.sandbox.rootfs import RUNNER_HOME
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.sandbox.talk import Talk

T = TypeVar("T")
log = structlog.get_logger("sandbox")

GATHER_S = 20.0
"""How long the listing and fetching of artifacts may take."""


CountedBy = Literal["group", "host", "runner"]
"""Who counts what a job uses: a control group that it sees, the host from outside, or the runner as well as it can."""


def command(settings: SandboxSettings, uids: range, counted_by: CountedBy = "group") -> list[str]:
    """How the runner is started: its program, the ids of its jobs, processors, and who counts."""
    words = (uids.start, len(uids), int(settings.cpus * 1e3), counted_by)
    return ["/usr/bin/python3", f"{RUNNER_HOME}/main.py", *map(str, words)]


class Stream(frames.Source, frames.Sink, Protocol):
    """A runner's input and output as one stream of bytes."""

    @property
    def stderr_tail(self) -> bytes:
        """The end of what it said beside it."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the runner's side is closed and all was read."""
        ...

    def close(self) -> None:
        """Hang up; the runner ends by that alone."""
        ...


class Owner(Protocol):
    """The backend, as its workers see it."""

    settings: SandboxSettings

    def kill(self, name: str, *, ended: bool) -> Awaitable[bool]:
        """Kill a worker and wait for its death; whether the kernel took it for memory. Raises `Unavailable`."""
        ...

    def remove(self, name: str) -> Awaitable[None]:
        """Kill it and remove what it stands on. Never raises."""
        ...


class RunnerWorker:
    """A runner that waits for a job, and for another one after a wipe. `id` is its name in its backend.

    A `meter` counts from outside what the runner cannot.
    """

    def __init__(
        self, owner: Owner, name: str, kind: WorkerClass, stream: Stream, meter: Meter | None = None
    ) -> None:  # fmt: skip
        self.id = name
        self.kind = kind
        self.jobs = 0
        self._owner = owner
        self._stream = stream
        self._meter = meter
        self._job: Job
        self._observer: Observer
        self._dialogue: Dialogue | None = None
        self._deadline: asyncio.Timeout | None = None
        self._cancelled = False
        self._wiping = False
        self._was_short = False  # memory ran out in an earlier job, so the engine's word may tell of that one

    @property
    def alive(self) -> bool:
        return not self._stream.ended

    async def run(self, job: Job, observer: Observer) -> RawOutcome:
        self.jobs += 1
        self._cancelled = False
        self._job, self._observer = job, observer
        talk = self._dialogue = Dialogue(self._stream, self._stream, job, self)
        outcome = talk.outcome
        try:
            async with asyncio.timeout(self._owner.settings.start_timeout_ms / 1e3) as self._deadline:
                await self._ready()
                if self._meter:
                    self._meter.begin()
                await talk.hold()
                if self._meter and outcome.evidence:
                    outcome.evidence = self._meter.end(outcome.evidence)
                self._expire_in(GATHER_S * 1e3)
                await talk.gather()
        except TimeoutError:
            outcome.loss = "cancelled" if self._cancelled else "silent" if outcome.evidence is None else "died"
            outcome.detail = "its runner did not answer in time"
            await self._end(outcome)
        except BrokenStream as fault:
            outcome.loss, outcome.detail = "died", str(fault)
            await self._end(outcome)
        finally:
            self._was_short |= outcome.evidence is not None and outcome.evidence.oom_kills > 0
            self._deadline = self._dialogue = None  # what a job wrote is not kept by who ran it
            if self._meter:
                self._meter.stop()
        return outcome

    def started(self) -> None:
        self._expire_in(self._job.limits.wall_ms + self._owner.settings.grace_ms)
        if self._meter:
            self._meter.watch(self._job.limits.cpu_ms, self._cpu_used_up)
        self._observer.started()

    def output(self, name: OutputName, data: bytes) -> None:
        self._observer.output(name, data)

    def cancel(self) -> None:
        if self._deadline is None or self._cancelled or self._dialogue is None:
            return
        self._cancelled = True
        self._dialogue.cancel()
        self._expire_in(self._owner.settings.grace_ms)

    async def list_files(self) -> list[Entry]:
        return await self._exchange(file_talk.entries(Talk(self._stream, self._stream)))

    async def read_file(self, path: str, size: int) -> bytes:
        return await self._exchange(file_talk.content(Talk(self._stream, self._stream), path, size))

    async def write_file(self, path: str, data: bytes) -> str | None:
        return await self._exchange(file_talk.write(Talk(self._stream, self._stream), path, data))

    async def _exchange(self, work: Coroutine[Any, Any, T]) -> T:
        """Talk with a runner at rest. Raises `Unavailable` where it does not answer sensibly; it is of no use then."""
        try:
            async with asyncio.timeout(GATHER_S):
                return await work
        except (TimeoutError, BrokenStream) as fault:
            self._stream.close()
            raise Unavailable(f"the container was lost: {fault or 'it did not answer in time'}") from fault

    def _cpu_used_up(self) -> None:
        if self._deadline is not None and self._dialogue is not None and not self._cancelled:
            self._dialogue.cancel("cpu_ms")
            self._expire_in(self._owner.settings.grace_ms)

    def wipe(self, *, keep_program: bool = False) -> None:
        self._stream.write(frames.pack(Kind.WIPE, payload=b"k" if keep_program else b"a"))
        self._wiping = True

    async def destroy(self) -> None:
        self._stream.close()
        await self._owner.remove(self.id)

    async def _ready(self) -> None:
        """Wait until the wipe before this job is proven; a runner in doubt ends instead."""
        if self._wiping:
            await dialogue.greet(self._stream)
            self._wiping = False

    def _expire_in(self, ms: float) -> None:
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + ms / 1e3)

    async def _end(self, outcome: RawOutcome) -> None:
        """Have it killed and proven dead; the backend's word is the second witness for memory."""
        outcome.evidence = None
        try:
            seen = self._meter is not None and self._meter.ran_out_of_memory
            for_memory = await self._owner.kill(self.id, ended=outcome.loss == "died" and not seen) or seen
            if for_memory and outcome.loss == "died" and outcome.started and not self._was_short:
                outcome.loss = "oom"
        except Unavailable as fault:
            outcome.loss, outcome.detail = "died", f"{outcome.detail}, and {fault.detail}"
        if tail := self._stream.stderr_tail:
            log.warning("sandbox.runner_said", worker=self.id, stderr=tail.decode(errors="replace"))
