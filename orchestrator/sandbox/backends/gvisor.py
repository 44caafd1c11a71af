"""gVisor: what its `runsc` has to be told otherwise than `runc`, and what the host then sees of a container (DESIGN 4).

Each container has a kernel of its own, a process of the host: the sentry. That kernel bounds files and processes, but
counts no inodes, and its counts of processor time can be evaded. The host's control group of the container, into which
`runsc` puts sentry and all, holds what is left: memory, with the sentry's own; processor time; and enough tasks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import LimitName
from orchestrator.sandbox.jobs import WorkerClass

UNENFORCED: tuple[LimitName, ...] = ("inodes", "memory_bytes")
"""It has no bound for inodes but their memory, and what the sentry takes cannot be told from what the job takes."""
SENTRY_BYTES = 64 * 2**20
"""What the host's control group allows beyond a job's memory: 30 MB are the sentry's when nothing runs yet, and its
copies at a fork are coarse, some 7 MB for a Python that takes 1 MB under Linux."""
SENTRY_TASKS, TASKS_EACH = 2_048, 8
"""Tasks of the host: the sentry's own, many for a moment while forks are refused, without which it would die; and the
most that it was seen to need for one of the job's (5). The bound on processes itself is the sentry's."""
KEEPER = "/box/tmp/.aside"
"""A mount below the place that /tmp points to. Without it that place is not there when gVisor looks, and it mounts a
/tmp of its own, which neither disk_bytes nor a wipe would reach. The runner moves it out of the job's way."""

_ROOT = Path("/sys/fs/cgroup")


def adapt(host: dict[str, Any], kind: WorkerClass) -> dict[str, Any]:
    """The engine's `HostConfig` of a container of runc as one of runsc."""
    memory = kind.memory_bytes + SENTRY_BYTES
    tmpfs = {**host["Tmpfs"], KEEPER: "rw,noexec,nosuid,nodev,mode=700,size=4096"}
    tasks = SENTRY_TASKS + TASKS_EACH * kind.pids
    return {**host, "Memory": memory, "MemorySwap": memory, "PidsLimit": tasks, "Tmpfs": tmpfs}


@dataclass(frozen=True, slots=True)
class Counts:
    """The kernel's, since the container's start, the sentry's use included."""

    cpu_ns: int
    peak_bytes: int
    oom_kills: int


class Group:
    """The host's control group of one container, in either version, for reading."""

    def __init__(self, container: str, root: Path = _ROOT) -> None:
        """`container` is its whole id. Raises `Unavailable` where there is no such group, or it cannot be read."""
        first = not (root / "cgroup.controllers").exists()
        try:
            self._cpu = _folder(root, "cpuacct" if first else None, container)
            self._memory = _folder(root, "memory" if first else None, container)
            self._read = self._first if first else self._second
            self._read()
        except OSError as fault:
            raise Unavailable(
                "the control group of a container is not to be seen, so nobody bounds it: register runsc without "
                f"--ignore-cgroups, in an engine of this machine ({fault})"
            ) from fault

    def counts(self) -> Counts | None:
        """What it counts now; None once the container is gone, as its worker's stream tells soon."""
        try:
            return self._read()
        except OSError:
            return None

    def _first(self) -> Counts:
        return Counts(
            cpu_ns=int((self._cpu / "cpuacct.usage").read_text()),
            peak_bytes=int((self._memory / "memory.max_usage_in_bytes").read_text()),
            oom_kills=_field(self._memory / "memory.oom_control", "oom_kill"),
        )

    def _second(self) -> Counts:
        peak = self._memory / "memory.peak"  # which older kernels do not keep
        return Counts(
            cpu_ns=_field(self._cpu / "cpu.stat", "usage_usec") * 1000,
            peak_bytes=int((peak if peak.exists() else self._memory / "memory.current").read_text()),
            oom_kills=_field(self._memory / "memory.events", "oom_kill"),
        )


def _field(file: Path, name: str) -> int:
    return int(dict(line.split() for line in file.read_text().splitlines())[name])


def _folder(root: Path, controller: str | None, container: str) -> Path:
    """Where the engine keeps a container's group: its own driver's place, or systemd's. Raises `OSError`."""
    tops = [root] if controller is None else [path for path in root.iterdir() if controller in path.name.split(",")]
    for top in tops:
        for name in (f"docker/{container}", f"system.slice/docker-{container}.scope"):
            if (top / name).is_dir():
                return top / name
    raise FileNotFoundError(f"no group of {container[:12]} under {root}")
