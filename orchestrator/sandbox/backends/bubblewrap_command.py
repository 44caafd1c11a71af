"""The walls of one worker, in the words of `bwrap` (CONTRACT 4 "Always", R2-17).

`bwrap` mounts a tmpfs with no bound for inodes. So the three places that can be written are mounted first, in a mount
namespace that only this worker has, and `bwrap` is told to bind them; a few lines of shell do that and enter the
control group, before `bwrap` takes every right away that they needed.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox.backends import walls
from orchestrator.sandbox.backends.bubblewrap_roots import staged
from orchestrator.sandbox.backends.cgroups import Group

_SHELL = """
set -e
while [ "$1" != mount ]; do echo 0 > "$1"; shift; done; shift
while [ "$1" != exec ]; do mount -n -t tmpfs -o "$1" tmpfs "$2"; shift 2; done; shift
exec "$@"
"""
_KEEP = [f"+{name.lower()}" for name in walls.CAPABILITIES]
_INHERITED = ["--clear-groups", "--inh-caps=-all," + ",".join([*_KEEP, "+sys_admin", "+net_admin", "+dac_override"])]
_BOUNDED = ["--bounding-set=-all," + ",".join(_KEEP)]
"""For `setpriv`, one after the other: `bwrap` inherits what it mounts with, and hands on only what a runner keeps."""
_NAMESPACES = ("ipc", "pid", "net", "uts", "cgroup")  # not user: root needs none, and would be the only one in it
_INTERFACES = "/sys/class/net/lo"


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that it takes, by their paths."""

    bwrap: str
    unshare: str
    setpriv: str


@dataclass(frozen=True, slots=True)
class Place:
    """What one worker stands on: its root, the folders that are mounted over, its control group."""

    root: Path
    stage: Path
    group: Group


def tools() -> Tools:
    """Find the programs. Raises `Unavailable`, naming the package that has them."""
    found = {name: shutil.which(name) for name in ("bwrap", "unshare", "setpriv")}
    if missing := [name for name, path in found.items() if path is None]:
        package = "bubblewrap" if missing == ["bwrap"] else "bubblewrap util-linux"
        raise Unavailable(f"{', '.join(missing)} is missing; mend it with: apt-get install {package}")
    return Tools(**{name: path for name, path in found.items() if path is not None})


def version(tools: Tools) -> str:
    """What `bwrap` says of itself."""
    done = subprocess.run([tools.bwrap, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


def command(
    tools: Tools, place: Place, tmpfs: Mapping[str, str], runner: list[str], filter_fd: int, info_fd: int
) -> list[str]:
    """The whole command line; from `filter_fd` the system call filter is read, to `info_fd` the child's id is told."""
    return [
        tools.unshare, "--mount", "--propagation", "private", "--", "/bin/sh", "-c", _SHELL, "sh",
        *map(str, place.group.doors),
        "mount", *(word for name, options in tmpfs.items() for word in (options, str(staged(place.stage, name)))),
        "exec", tools.setpriv, *_INHERITED, tools.setpriv, *_BOUNDED, tools.bwrap, *_walls(place, tmpfs),
        "--seccomp", str(filter_fd), "--info-fd", str(info_fd), "--", *runner,
    ]  # fmt: skip


def _walls(place: Place, tmpfs: Mapping[str, str]) -> Iterator[str]:
    yield from (f"--unshare-{kind}" for kind in _NAMESPACES)
    yield from ("--as-pid-1", "--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv")
    yield from ("--cap-drop", "ALL", *(word for name in walls.CAPABILITIES for word in ("--cap-add", f"CAP_{name}")))
    yield from ("--ro-bind", str(place.root), "/", "--proc", "/proc", "--dev", "/dev")
    for name in tmpfs:
        yield from ("--bind", str(staged(place.stage, name)), name)
    yield from ("--remount-ro", "/dev", *_sys(place.group), *_kernel_files(), "--chdir", "/")


def _sys(group: Group) -> Iterator[str]:
    """`bwrap` mounts no sysfs, and few miss it: the one interface by name, and the counts of the worker's own group."""
    yield from ("--tmpfs", "/sys", "--dir", _INTERFACES)
    for controller, folder in group.folders.items():
        yield from ("--ro-bind", str(folder), f"/sys/fs/cgroup/{controller}".rstrip("/"))
    yield from ("--remount-ro", "/sys")


def _kernel_files() -> Iterator[str]:
    """Those of the files to hide or to fix that this kernel has. A device that may not be one hides the file below."""
    for path in filter(Path.exists, map(Path, walls.READ_ONLY)):
        yield from ("--ro-bind", str(path), str(path))
    for path in filter(Path.exists, map(Path, walls.MASKED)):
        if path.is_relative_to("/sys"):
            continue  # there is none
        mask = (
            ("--tmpfs", str(path), "--remount-ro", str(path))
            if path.is_dir()
            else ("--ro-bind", "/dev/null", str(path))
        )
        yield from mask
