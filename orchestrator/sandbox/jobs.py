"""What goes into a worker and what comes out of it: plain data between the service and any backend."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from pydantic import Field

from orchestrator.contracts.executions import Limits, OutputName
from orchestrator.contracts.model import Model
from orchestrator.sandbox.frames import Part

Count = Annotated[int, Field(ge=0)]
Measure = Annotated[float, Field(ge=0, strict=False)]


ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/box/work"}
"""What every job finds in its environment, unless its profile or its request says otherwise."""


@dataclass(frozen=True, slots=True)
class WorkerClass:
    """What is fixed when a container is made. Workers of one class are alike; any of them will do."""

    image: str
    profile: str
    memory_bytes: int
    pids: int
    disk_bytes: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of the working directory are wanted when a job has ended: globs, the most files, the most bytes.

    `room` is what jobs before it, of the same execution, have left of the bytes.
    """

    globs: list[str]
    count: int
    bytes: int
    room: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One program and what it is given. `parts` are program, input and files.

    `command` runs the program where the runner's own interpreter does not; `env` is the whole environment.
    """

    execution_id: str
    limits: Limits
    args: list[str]
    env: dict[str, str]
    parts: list[Part]
    command: list[str] = field(default_factory=list)
    session: bool = False
    wanted: Wanted | None = None


class Observer(Protocol):
    """Who watches a job from the host. Neither method may wait or raise."""

    def started(self) -> None:
        """The job was let go."""
        ...

    def output(self, name: OutputName, data: bytes) -> None:
        """It wrote something that is kept."""
        ...


class Evidence(Model):
    """What the runner saw: its own acts and the kernel's counts, never a word of the job.

    `ended_by` names the limit for which the runner ended the job, or `cancel`; `wait_status` is that of `waitpid`;
    `stdout_bytes` and `stderr_bytes` are all that came, kept or not. `alive`: a session's process stays for its next
    piece, and `wait_status` is what it said of this one.
    """

    ended_by: Literal["wall_ms", "cpu_ms", "stdout_bytes", "stderr_bytes", "cancel"] | None = None
    wait_status: Count
    alive: bool
    survivors: bool
    wall_ms: Measure
    cpu_ms: Measure
    peak_memory_bytes: Count
    oom_kills: Count
    pids_refused: Count
    disk_free_bytes: Count
    inodes_free: Count | None = None
    stdout_bytes: Count
    stderr_bytes: Count


Loss = Literal["silent", "oom", "died", "refused", "cancelled"]
"""Why there is no evidence: the runner did not answer in time and was killed; the engine says that memory ran out; the
container ended for another reason; the job's files did not fit; the client cancelled and the container was killed."""


@dataclass(slots=True)
class RawOutcome:
    """All that is known of one run. Exactly one of `evidence` and `loss` is set."""

    evidence: Evidence | None = None
    loss: Loss | None = None
    detail: str = ""
    started: bool = False
    wall_ms: float = 0.0
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    value: str | None = None
    artifacts: dict[str, bytes] = field(default_factory=dict)
    artifacts_skipped: list[tuple[str, str]] = field(default_factory=list)
