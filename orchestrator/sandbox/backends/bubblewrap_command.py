"""The walls of one worker, in the words of `bwrap` (CONTRACT 4 "Always", R2-17).

`bwrap` mounts a tmpfs with no bound for inodes. So the three places that can be written are mounted first, in a mount
namespace that only this worker has, and `bwrap` is told to bind them; a few lines of shell do that and enter the
control group, before `bwrap` takes every right away that they needed. Without root all this happens in a user
namespace, where the user is root and has the ids that the system lends to him.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox.backends import walls
from orchestrator.sandbox.backends.cgroups import Group
from orchestrator.sandbox.jobs import ENVIRONMENT

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
_USER = ["--user", "--map-root-user", "--map-auto"]
_NAMESPACES = ("ipc", "pid", "net", "uts", "cgroup")  # not user: whoever gets here is root, in the first or in his own
_INTERFACES = "/sys/class/net/lo"


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that it takes, by their paths; `rootless` where the daemon is not root."""

    bwrap: str
    unshare: str
    setpriv: str
    prlimit: str
    rootless: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What one worker stands on: its root, what is mounted where, its group.

    `tmpfs` has mount options by place, and each is mounted over the place's folder of the `stage` first. Without a
    group, a process may have `data_bytes` of memory of its own, and a file `file_bytes`.
    """

    root: Path
    stage: Mapping[str, Path]
    tmpfs: Mapping[str, str]
    group: Group | None
    data_bytes: int
    file_bytes: int


def tools(*, rootless: bool) -> Tools:
    """Find the programs. Raises `Unavailable`, naming the packages that have them."""
    needed = {"bwrap": "bubblewrap", **dict.fromkeys(("unshare", "setpriv", "prlimit"), "util-linux")}
    if rootless:
        needed["newuidmap"] = "uidmap"  # unshare calls it
    found = {name: shutil.which(name) for name in needed}
    if missing := [name for name, path in found.items() if path is None]:
        packages = " ".join(dict.fromkeys(needed[name] for name in missing))
        raise Unavailable(f"{', '.join(missing)} is missing; mend it with: apt-get install {packages}")
    paths = {name: path for name, path in found.items() if path is not None}
    return Tools(paths["bwrap"], paths["unshare"], paths["setpriv"], paths["prlimit"], rootless)


def version(tools: Tools) -> str:
    """What `bwrap` says of itself."""
    done = subprocess.run([tools.bwrap, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


def command(tools: Tools, place: Place, runner: list[str], filter_fd: int, info_fd: int) -> list[str]:
    """The whole command line; from `filter_fd` the system call filter is read, to `info_fd` the child's id is told."""
    group = place.group
    return [
        tools.unshare, *(_USER if tools.rootless else ()), "--mount", "--propagation", "private", "--",
        "/bin/sh", "-c", _SHELL, "sh", *(map(str, group.doors) if group else ()),
        "mount", *(word for name, options in place.tmpfs.items() for word in (options, str(place.stage[name]))),
        "exec", *(() if group else (tools.prlimit, f"--data={place.data_bytes}", f"--fsize={place.file_bytes}")),
        tools.setpriv, *_INHERITED, tools.setpriv, *_BOUNDED, tools.bwrap, *_walls(place),
        "--seccomp", str(filter_fd), "--info-fd", str(info_fd), "--", *runner,
    ]  # fmt: skip


def _walls(place: Place) -> Iterator[str]:
    yield from (f"--unshare-{kind}" for kind in _NAMESPACES)
    yield from ("--as-pid-1", "--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv")
    yield from (word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value))
    yield from ("--cap-drop", "ALL", *(word for name in walls.CAPABILITIES for word in ("--cap-add", f"CAP_{name}")))
    yield from ("--ro-bind", str(place.root), "/", "--proc", "/proc", "--dev", "/dev")
    for name, folder in place.stage.items():
        yield from ("--bind", str(folder), name)
    yield from ("--remount-ro", "/dev", *_sys(place.group), *_kernel_files(), "--chdir", "/")


def _sys(group: Group | None) -> Iterator[str]:
    """`bwrap` mounts no sysfs, and few miss it: the one interface by name, and the counts of the worker's own group."""
    yield from ("--tmpfs", "/sys", "--dir", _INTERFACES)
    for controller, folder in group.folders.items() if group else ():
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
