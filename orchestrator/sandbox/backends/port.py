"""The ports between the room and whatever runs workers: one to launch them, one for the images they stand on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from orchestrator.contracts.executions import Kernel, LimitName
from orchestrator.sandbox.artifacts import Entry
from orchestrator.sandbox.jobs import Job, Observer, RawOutcome, WorkerClass
from orchestrator.sandbox.profiles import Profile


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connected backend is, in the words of results.

    `key` changes when anything does that a limit rests on; `images` gives `name@id` by profile, and `packages` what is
    in each, versions by name; `kernel` says whether a job speaks to the host's own or to one that its container has for
    itself.
    """

    engine: str
    runtime: str
    key: str
    images: dict[str, str]
    limits_unenforced: tuple[LimitName, ...] = ()
    kernel: Kernel = "shared"
    dev: bool = False
    network: Literal["none", "allowed"] = "none"
    packages: dict[str, dict[str, str]] = field(default_factory=dict)


class Worker(Protocol):
    """One runner behind walls, started and waiting for a job. `jobs` counts those that it was given."""

    id: str
    kind: WorkerClass
    jobs: int

    @property
    def alive(self) -> bool:
        """Whether it still waits; false once its stream has ended."""
        ...

    def wipe(self, *, keep_program: bool = False) -> None:
        """Have all that the last job left removed, and that proven, before the next `run`, which waits for it."""
        ...

    async def run(self, job: Job, observer: Observer) -> RawOutcome:
        """Run a job. When this returns, nothing of the job runs any more. Never raises for what the job did."""
        ...

    def cancel(self) -> None:
        """End the running job at once; `run` then answers."""
        ...

    async def list_files(self) -> list[Entry]:
        """What is in the working directory of a job at rest. Like the next two, raises `Unavailable`."""
        ...

    async def read_file(self, path: str, size: int) -> bytes:
        """Up to `size` bytes of one of its files; none where it cannot be read."""
        ...

    async def write_file(self, path: str, data: bytes) -> str | None:
        """Put a file there; why it could not be, if it could not."""
        ...

    async def destroy(self) -> None:
        """Kill and remove it, whatever state it is in. Never raises: what cannot be removed now is reaped later."""
        ...


class Backend(Protocol):
    """A way to run workers. All its methods raise `Unavailable` when what it stands on does not answer."""

    async def connect(self, profiles: Mapping[str, Profile]) -> Facts:
        """Find the engine, learn what it is and which profiles it has images of; may be called again at any time."""
        ...

    async def ping(self) -> None:
        """Ask whether it is still there; cheap."""
        ...

    async def launch(self, kind: WorkerClass, execution_id: str | None) -> Worker:
        """Make and start a worker; it is ready when this returns."""
        ...

    async def reap(self) -> int:
        """Remove what a dead daemon left, and nothing that lives; how many."""
        ...

    def close(self) -> None:
        """Let go of the engine."""
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `digest` is that of the folder it was built from, `packages` names and versions, `created` in s."""

    id: str
    name: str
    profile: str
    digest: str
    packages: str
    size_bytes: int
    created: int

    @property
    def reference(self) -> str:
        """`name@id`, as results say it."""
        return f"{self.name}@{self.id}"

    @property
    def versions(self) -> dict[str, str]:
        """What is in it, versions by name."""
        return dict(pair.split("=", 1) for pair in self.packages.split())


class Shelf(Protocol):
    """Where a backend keeps its images. All its methods raise `Unavailable` or `OSError` when that does not answer."""

    def engine(self) -> str:
        """What runs workers on them, and its version."""
        ...

    def found(self) -> list[Image]:
        """Our images, newest first."""
        ...

    def add(self, profile: Profile, archive: Path, versions: Mapping[str, str]) -> None:
        """Keep the root file system of a tar file as the profile's image; `versions` are its packages'."""
        ...

    def remove(self, image: Image) -> bool:
        """Remove an image unless a worker uses it; whether it is gone."""
        ...
