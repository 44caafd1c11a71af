"""Control groups made by ourselves, for backends that make none: memory without swap, processes, processors.

Either cgroup version, whichever has the controllers. Ours are the folders `orchestrator/NAME` under the top of each
hierarchy, as Docker's are under `docker`.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.contracts.errors import Unavailable

HOME = "orchestrator"
_FIRST = ("memory", "pids", "cpu", "cpuacct")
_SECOND = ("memory", "pids", "cpu")
_PERIOD_US = 100_000
_LET_GO_S, _PAUSE_S = 1.0, 0.01
_SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What all processes of one group may use together: bytes without swap, processes and threads, processors."""

    memory_bytes: int
    pids: int
    cpus: float


@dataclass(frozen=True, slots=True)
class Group:
    """One group: its folder by controller in version 1, a single one, under no name, in version 2."""

    name: str
    version: Literal[1, 2]
    folders: dict[str, Path]

    @property
    def places(self) -> list[Path]:
        """Its folders, those that controllers share once."""
        return list(dict.fromkeys(self.folders.values()))

    @property
    def doors(self) -> list[Path]:
        """The files that take in the process which writes "0" to them."""
        return [folder / "cgroup.procs" for folder in self.places]

    def oom_kills(self) -> int:
        """How many of its processes the kernel killed because memory ran out."""
        first = self.version == 1
        told = self.folders["memory"] / "memory.oom_control" if first else self.folders[""] / "memory.events"
        return int(dict(line.split() for line in told.read_text().splitlines())["oom_kill"])

    def processes(self) -> list[int]:
        """Who lives in it."""
        return sorted({int(pid) for door in self.doors if door.exists() for pid in door.read_text().split()})

    def dissolve(self) -> None:
        """Kill who lives in it and remove it. Raises `OSError` where the kernel does not let go of it in a second."""
        deadline = time.monotonic() + _LET_GO_S
        while True:
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                for folder in filter(Path.is_dir, self.places):
                    folder.rmdir()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)  # who was killed is still on his way out


class Groups:
    """The groups of this machine's daemons. Every method is a few short calls of the kernel."""

    def __init__(self, version: Literal[1, 2], tops: dict[str, Path]) -> None:
        self.version = version
        self._homes = {controller: top / HOME for controller, top in tops.items()}
        self._tops = tops

    def prepare(self) -> None:
        """Make our own folder in each hierarchy, and hand the controllers down to it. Raises `OSError`."""
        for home in self._homes.values():
            home.mkdir(exist_ok=True)
            if not os.access(home, os.W_OK):
                raise PermissionError(f"{home} belongs to somebody else")
        if self.version == 2:
            for folder in (self._tops[""], self._homes[""]):
                (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _SECOND))

    def make(self, name: str, bounds: Bounds) -> Group:
        """Make a group that holds these bounds. Raises `Unavailable`, and leaves nothing then."""
        group = self.group(name)
        made: list[Path] = []
        try:
            for folder in group.places:
                folder.mkdir()
                made.append(folder)
            for controller, file, value in _settings(self.version, bounds):
                _write(group.folders[controller] / file, value)
        except OSError as fault:
            for folder in made:
                folder.rmdir()
            raise Unavailable(f"no control group can be made: {fault}") from fault
        return group

    def group(self, name: str) -> Group:
        """The group of this name, there or not."""
        return Group(name, self.version, {controller: home / name for controller, home in self._homes.items()})

    def all(self) -> list[Group]:
        """Those that are there, in any hierarchy."""
        names = {folder.name for home in self._homes.values() for folder in home.iterdir() if folder.is_dir()}
        return [self.group(name) for name in sorted(names)]


def find(mounts: str) -> Groups | None:
    """Where groups can be made, from the text of `/proc/mounts`; None where a controller is missing."""
    first: dict[str, Path] = {}
    second: dict[str, Path] = {}
    for _, place, kind, options, *_ in (line.split() for line in mounts.splitlines()):
        words = options.split(",")
        if "ro" in words:
            continue
        if kind == "cgroup":
            first |= {name: Path(place) for name in _FIRST if name in words}
        elif kind == "cgroup2" and set(_SECOND) <= set(Path(place, "cgroup.controllers").read_text().split()):
            second[""] = Path(place)
    if second:
        return Groups(2, second)
    return Groups(1, first) if set(first) == set(_FIRST) else None


def _settings(version: Literal[1, 2], bounds: Bounds) -> Iterator[tuple[str, str, str]]:
    """Controller, file and value, in the order in which the kernel takes them."""
    quota = int(bounds.cpus * _PERIOD_US)
    if version == 1:
        yield "memory", "memory.limit_in_bytes", str(bounds.memory_bytes)
        yield "memory", "memory.memsw.limit_in_bytes", str(bounds.memory_bytes)  # memory and swap together
        yield "pids", "pids.max", str(bounds.pids)
        yield "cpu", "cpu.cfs_period_us", str(_PERIOD_US)
        yield "cpu", "cpu.cfs_quota_us", str(quota)
    else:
        yield "", "memory.max", str(bounds.memory_bytes)
        yield "", "memory.swap.max", "0"
        yield "", "pids.max", str(bounds.pids)
        yield "", "cpu.max", f"{quota} {_PERIOD_US}"


def _write(file: Path, value: str) -> None:
    """Set one value. A kernel that does not count swap has no file for it, and needs none where there is no swap."""
    if file.name in _SWAP and not file.exists() and len(Path("/proc/swaps").read_text().splitlines()) < 2:
        return
    file.write_text(value)
