"""gVisor: what its `runsc` has to be told otherwise than `runc`, and what the host then sees of a container (DESIGN 4).

Each container has a kernel of its own, a process of the host: the sentry. That kernel bounds files and processes, but
counts no inodes, and its counts of processor time can be evaded. The host's control group of the container, into which
`runsc` puts sentry and all, holds what is left: memory, with the sentry's own; processor time; and enough tasks.
"""

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
SENTRY_TASKS, TASKS_EACH = 128, 8
"""Tasks of the host: the sentry's own, and the most that it was seen to need for one of the job's (5)."""
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


class Group:
    """The host's control group of one container, in either version, for reading."""

    def __init__(self, container: str, root: Path = _ROOT) -> None:
        """`container` is its whole id. Raises `Unavailable` where there is no such group, or it cannot be read."""
        self._version = 2 if (root / "cgroup.controllers").exists() else 1
        try:
            self._cpu = _folder(root, "cpuacct" if self._version == 1 else None, container)
            self._memory = _folder(root, "memory" if self._version == 1 else None, container)
            self.cpu_ns()
        except OSError as fault:
            raise Unavailable(
                "the control group of a container is not to be seen, so nobody bounds it: register runsc without "
                f"--ignore-cgroups, in an engine of this machine ({fault})"
            ) from fault

    def cpu_ns(self) -> int:
        """Processor time since its start, the sentry's included. Raises `OSError` once the container is gone."""
        if self._version == 1:
            return int((self._cpu / "cpuacct.usage").read_text())
        fields = dict(line.split() for line in (self._cpu / "cpu.stat").read_text().splitlines())
        return int(fields["usage_usec"]) * 1000

    def peak_bytes(self) -> int:
        """The most memory that it had at one time, or has now where the kernel keeps no peak. Raises `OSError`."""
        names = ("memory.max_usage_in_bytes",) if self._version == 1 else ("memory.peak", "memory.current")
        file = next((self._memory / name for name in names if (self._memory / name).exists()), self._memory / names[-1])
        return int(file.read_text())


def _folder(root: Path, controller: str | None, container: str) -> Path:
    """Where the engine keeps a container's group: its own driver's place, or systemd's. Raises `OSError`."""
    tops = [root] if controller is None else [path for path in root.iterdir() if controller in path.name.split(",")]
    for top in tops:
        for name in (f"docker/{container}", f"system.slice/docker-{container}.scope"):
            if (top / name).is_dir():
                return top / name
    raise FileNotFoundError(f"no group of {container[:12]} under {root}")
