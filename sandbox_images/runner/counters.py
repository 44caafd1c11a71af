"""The kernel's own counts for this container, from either cgroup version; where there are none, what stands for them.

Files are opened once, before any job, and read by `pread`: no allocation worth a word where memory has just run out.
"""

import os

import clocks

ROOT = "/sys/fs/cgroup"


class Counters:
    """Counts of the whole container since it was made. A count that the kernel does not offer reads as None."""

    def __init__(self, counted_by: str = "group", root: str = ROOT) -> None:
        """`counted_by` says who counts: a control `group`, the `host` from outside, or the `runner` as well as it can.

        The last two are for where no control group is seen: for a kernel of the container's own, and for none at all.
        """
        self.version = 0 if counted_by != "group" else 2 if os.path.exists(f"{root}/cgroup.controllers") else 1
        self._by_runner = counted_by == "runner"
        self._most = 0
        names: dict[str, tuple[str, str]] = ({}, _V1, _V2)[self.version]
        self._files = {what: (_open(f"{root}/{path}"), key) for what, (path, key) in names.items()}

    def cpu_ns(self) -> int:
        """Processor time of all processes, living and dead, in nanoseconds. No limit holds without it: fails loudly.

        Where the host counts, there is nothing to look at: 0.
        """
        if self._by_runner:
            self._most = max(self._most, clocks.cpu_ns())  # who dies between two of its looks is missed for a moment
            return self._most
        if self.version == 0:
            return 0
        value = self._read("cpu")
        if value is None:
            raise RuntimeError("the container's cgroup shows no processor time")
        return value * (1000 if self.version == 2 else 1)

    def peak_bytes(self) -> int | None:
        """The most memory that was charged at one time."""
        peak = self._read("peak")
        return self._read("memory") if peak is None else peak

    def oom_kills(self) -> int | None:
        """How many processes the kernel killed because memory ran out."""
        return self._read("oom")

    def pids_refused(self) -> int | None:
        """How many forks the kernel refused at the limit of processes."""
        return self._read("pids")

    def _read(self, what: str) -> int | None:
        fd, key = self._files.get(what, (None, ""))
        if fd is None:
            return None
        text = os.pread(fd, 4096, 0).decode()
        if not key:
            return int(text)
        fields = dict(line.split() for line in text.splitlines())
        return int(fields[key]) if key in fields else None


_V1 = {
    "cpu": ("cpuacct/cpuacct.usage", ""),
    "peak": ("memory/memory.max_usage_in_bytes", ""),
    "memory": ("memory/memory.usage_in_bytes", ""),
    "oom": ("memory/memory.oom_control", "oom_kill"),
    "pids": ("pids/pids.events", "max"),
}
_V2 = {
    "cpu": ("cpu.stat", "usage_usec"),
    "peak": ("memory.peak", ""),
    "memory": ("memory.current", ""),
    "oom": ("memory.events", "oom_kill"),
    "pids": ("pids.events", "max"),
}


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
