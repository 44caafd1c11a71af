"""One execution of untrusted code: what is asked, what it may use, what happened (CONTRACT 4)."""

from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from orchestrator.contracts.model import Model, Name, View

Status = Literal[
    "awaiting_approval", "queued", "running", "ok", "error", "signal", "timeout", "oom", "output_limit",
    "cancelled", "infra",
]  # fmt: skip
Positive = Annotated[int, Field(ge=1)]
# Least values alone: the most is the profile's to say, and a limit above it has an error code of its own.
LimitName = Literal[
    "wall_ms", "cpu_ms", "memory_bytes", "pids", "disk_bytes", "inodes", "open_files", "stdout_bytes", "stderr_bytes",
]  # fmt: skip
"""The limits that a backend enforces; those on artifacts are the host's own."""
Kernel = Literal["shared", "separate"]
"""Whether a job speaks to the host's own kernel or to one that its container has for itself (gVisor)."""
MemoryBytes = Annotated[int, Field(ge=16 * 2**20)]
Pids = Annotated[int, Field(ge=3)]
DiskBytes = Annotated[int, Field(ge=4096)]
Inodes = Annotated[int, Field(ge=16)]
OpenFiles = Annotated[int, Field(ge=16)]
ArtifactCount = Annotated[int, Field(ge=0)]


def _absent(value: object) -> bool:
    """What is left out where there is none, at every door."""
    return value is None


class Limits(Model):
    """What one execution may use. Sizes in bytes, durations in milliseconds."""

    wall_ms: Positive = Field(10_000, description="Time from the program's start to its end.")
    cpu_ms: Positive = Field(10_000, description="Processor time of all its processes together.")
    memory_bytes: MemoryBytes = Field(
        128 * 2**20, description="Memory of the whole container, files included; there is no swap."
    )
    pids: Pids = Field(64, description="Processes and threads in the container.")
    disk_bytes: DiskBytes = Field(32 * 2**20, description="Working directory and /tmp together.")
    inodes: Inodes = Field(1024, description="Files and directories in the working directory and /tmp together.")
    open_files: OpenFiles = Field(256, description="Open files of one process.")
    stdout_bytes: Positive = Field(2**20, description="What is kept of the standard output.")
    stderr_bytes: Positive = Field(2**20, description="What is kept of the standard error.")
    artifact_bytes: Positive = Field(8 * 2**20, description="All artifacts together.")
    artifacts: ArtifactCount = Field(64, description="How many files become artifacts.")


def _limit(name: str) -> Any:
    """A limit that a request may state, with what holds if it does not."""
    known = Limits.model_fields[name]
    told = f"{known.description} If absent: {known.default:,}, or what the profile says."
    return Field(None, description=told)


class LimitsRequest(Model):
    """The limits that a request states; the profile's defaults hold for the rest."""

    wall_ms: Positive | None = _limit("wall_ms")
    cpu_ms: Positive | None = _limit("cpu_ms")
    memory_bytes: MemoryBytes | None = _limit("memory_bytes")
    pids: Pids | None = _limit("pids")
    disk_bytes: DiskBytes | None = _limit("disk_bytes")
    inodes: Inodes | None = _limit("inodes")
    open_files: OpenFiles | None = _limit("open_files")
    stdout_bytes: Positive | None = _limit("stdout_bytes")
    stderr_bytes: Positive | None = _limit("stderr_bytes")
    artifact_bytes: Positive | None = _limit("artifact_bytes")
    artifacts: ArtifactCount | None = _limit("artifacts")


class Base64File(Model):
    """A file's content that is not text."""

    base64: str


Content = str | Base64File
Files = Annotated[dict[str, Content], Field(max_length=1024)]
Arguments = Annotated[list[str], Field(max_length=256)]
Glob = Annotated[str, Field(min_length=1, max_length=256)]


class Case(Model):
    """One run of a program among several: what differs from the request, and what it should print."""

    stdin: Content | None = None
    args: Arguments | None = Field(None, description="In place of the request's.")
    files: Files = Field(default_factory=dict, description="Beside the request's, or in place of one of the same path.")
    limits: LimitsRequest = Field(default_factory=LimitsRequest, description="Over the request's.")
    expected_stdout: str | None = Field(
        None, max_length=8 * 2**20, description="Compared outside of the sandbox; the program never sees it."
    )


class ExecutionRequest(Model):
    """A program and how to run it."""

    code: str = Field(description="The program's source.", max_length=16 * 2**20)
    language: Name | None = Field(None, description="The profile's if absent; python where no profile is named either.")
    stdin: Content | None = Field(None, description="Standard input; at its end at once if absent.")
    args: Arguments = Field(default_factory=list, description="sys.argv[1:]")
    env: dict[str, str] = Field(default_factory=dict, max_length=256)
    files: Files = Field(default_factory=dict, description="Files in the working directory, by relative path.")
    artifacts: Annotated[list[Glob], Field(max_length=64)] = Field(
        default_factory=list,
        description="Globs of files in the working directory that the answer shall carry; `**` goes through folders.",
    )
    cases: Annotated[list[Case], Field(min_length=1, max_length=256)] | None = Field(
        None, description="Run the program once for each, one after another."
    )
    stop_on: Literal["first_failure"] | None = Field(None, description="Leave out the cases after one that failed.")
    isolation: Literal["container", "cell"] = "container"
    profile: Name | None = Field(None, description="What the program runs on; the language's own profile if absent.")
    limits: LimitsRequest = Field(default_factory=LimitsRequest)
    subject: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Whose code this is, where one key serves several people."
    )


OutputName = Literal["stdout", "stderr"]


class Progress(Protocol):
    """Who wants to know how an execution comes along. Neither method may wait or raise."""

    def status(self, status: str) -> None:
        """It is `queued`, or `running`."""
        ...

    def output(self, name: OutputName, data: bytes) -> None:
        """A piece of output that is kept."""
        ...


class Usage(View):
    """What an execution used."""

    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    peak_memory_bytes: int = 0
    queued_ms: float = 0.0
    start_ms: float = 0.0


class SandboxFacts(View):
    """What the program ran in."""

    isolation: Literal["container", "cell"] = "container"
    engine: str
    runtime: str
    image: str = Field(description="name@id")
    network: Literal["none", "allowed"] = "none"
    warm: bool = False
    limits_unenforced: list[str] = Field(default_factory=list)
    dev: bool | None = Field(
        None, exclude_if=_absent, description="Present and true where a development backend served."
    )


class Artifact(View):
    """One file that a program left."""

    bytes: int
    sha256: str
    base64: str


class Skipped(View):
    """One file that was asked for and is not among the artifacts, and why."""

    path: str
    reason: str


class Hint(View):
    """A profile that has the module which a program missed, by the program's own words."""

    module: str
    profile: str


class Outcome(View):
    """How one run of a program ended. `status` is a verdict about the code; faults of the daemon are `infra`."""

    status: Status
    exit_code: int | None = None
    signal: str | None = Field(None, description="Name of the signal that it died of, such as SIGSEGV.")
    limits_hit: list[str] = Field(default_factory=list)
    reason: str = Field("", description="What happened, for a person.")
    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    encoding: Literal["utf-8", "base64"] = "utf-8"
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    artifacts_skipped: list[Skipped] = Field(default_factory=list)
    usage: Usage = Field(default_factory=Usage)
    value: str | None = Field(
        None, exclude_if=_absent, description="In a session, the value of the last expression, as text."
    )
    hint: Hint | None = Field(
        None, exclude_if=_absent, description="Where a Python program ended for want of a module."
    )
    passed: bool | None = Field(
        None, exclude_if=_absent, description="Whether it printed what was expected; absent where nothing was."
    )


class _Identified(View):
    """A base beside `Outcome`, so that the id is the first that a reader sees."""

    id: str


class Execution(Outcome, _Identified):
    """An execution's outcome. With `cases`, each has its own; the whole is that of the first that did not end well."""

    cases: list[Outcome] | None = Field(None, exclude_if=_absent)
    session_id: str | None = Field(None, exclude_if=_absent, description="The session that it was a piece of.")
    sandbox: SandboxFacts | None = None
    language: str = "python"
    profile: str = "default"
    subject: str | None = None
    created_at: str | None = None
