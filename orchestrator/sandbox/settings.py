"""The room's settings: the engine, how much may run at once, and what a container gets."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestrator.contracts.executions import Kernel, LimitName
from orchestrator.contracts.model import Model

Count = Annotated[int, Field(ge=1, le=10_000)]


class SandboxSettings(Model):
    """How code is run. Limits of one execution are the profile's, in `sandbox_images/NAME/manifest.toml`."""

    engine: Literal["docker", "bubblewrap"] = Field(
        "docker",
        description="The backend that runs containers; bubblewrap needs no engine, and is for development mode.",
    )
    runtime: Literal["runc", "runsc"] = Field(
        "runc",
        description="The engine's runtime, registered there; runsc (gVisor) gives each container a kernel of its own.",
    )
    accept_unenforced: list[LimitName] = Field(
        [], description="Limits without which code is run where the backend cannot enforce them: inodes, memory_bytes."
    )
    docker_host: str | None = Field(
        None, description="The engine's address, such as unix:///run/docker.sock; else looked for as `docker` does."
    )
    build_images: bool = Field(
        True,
        description="Build a profile's image when it is first asked for, from the distribution's packages; needs root.",
    )
    roots: Annotated[str, StringConstraints(pattern=r"^/[\w./-]+$")] = Field(
        "/var/cache/orchestrator/roots", description="Where the images of bubblewrap lie; root's, and nobody else's."
    )
    max_running: Annotated[int, Field(ge=1, le=256)] = Field(4, description="Executions that run at the same time.")
    memory_bytes: Annotated[int, Field(ge=2**24, le=2**50)] | None = Field(
        None,
        description="Memory that executions which run at the same time may use together; else half of the machine's.",
    )
    queue_ms: Annotated[int, Field(ge=100, le=3_600_000)] = Field(
        60_000, description="How long an execution waits for its turn before it is refused with 429."
    )
    max_starting: Annotated[int, Field(ge=1, le=64)] = Field(
        2, description="Containers that are being created and started at the same time."
    )
    armed: Annotated[int, Field(ge=0, le=64)] = Field(
        2, description="Fresh containers kept ready for executions with the default memory, pids, disk and inodes."
    )
    armed_most: Annotated[int, Field(ge=0, le=256)] | None = Field(
        None,
        description="The most that are kept ready while much is asked for, of unusual limits and profiles too; each"
        " holds about 20 MB. Else four times `armed`.",
    )
    cells: Annotated[int, Field(ge=0, le=256)] = Field(
        8, description="Reused containers that are kept between executions of `isolation: cell`; the oldest goes first."
    )
    cell_idle_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        60, description="How long a cell is kept for its next execution."
    )
    cell_uses: Count = Field(1_000, description="Executions after which a cell is replaced.")
    sessions: Annotated[int, Field(ge=0, le=256)] = Field(8, description="Sessions that are open at the same time.")
    queue_size: Count = Field(256, description="Executions that wait for their turn; more are refused with 429.")
    queue_per_owner: Count = Field(64, description="Executions sent with one key that wait for their turn.")
    queue_bytes: Annotated[int, Field(ge=2**20, le=2**40)] = Field(
        256 * 2**20, description="Programs, files and inputs that wait along with their executions."
    )
    allow_network: bool = Field(
        False, description="Development mode only: jobs get a bridge to the host, and every result says so."
    )
    cpus: Annotated[float, Field(gt=0, le=256)] = Field(1.0, description="Processors that one container may use.")
    shm_bytes: Annotated[int, Field(ge=2**20, le=2**30)] = Field(16 * 2**20, description="Size of /dev/shm.")
    uid_first: Annotated[int, Field(ge=10_000, le=2**31)] = Field(
        58_000,
        description="First of the 1,200 ids that jobs run under. A rootless engine has none above 65,535.",
    )
    grace_ms: Annotated[int, Field(ge=200, le=60_000)] = Field(
        2_000, description="How long after a deadline the runner's answer is waited for before the engine kills."
    )
    start_timeout_ms: Annotated[int, Field(ge=1_000, le=300_000)] = Field(
        30_000, description="How long a container may take from its creation to its runner's first word."
    )
    engine_timeout_ms: Annotated[int, Field(ge=1_000, le=300_000)] = Field(
        30_000, description="How long the engine may take to answer one call."
    )
    probe_interval_ms: Annotated[int, Field(ge=100, le=60_000)] = Field(
        1_500, description="How often the engine is asked whether it is there."
    )
    lease_s: Annotated[int, Field(ge=300, le=7 * 86_400)] = Field(
        86_400, description="After this time a container of a daemon that is gone for good may be removed by another."
    )

    @property
    def kernel(self) -> Kernel:
        """Whether jobs speak to the host's own kernel."""
        return "separate" if self.engine == "docker" and self.runtime == "runsc" else "shared"
