"""Control groups on a machine where nobody mounted them: without them no engine can limit anything.

A service manager does this at boot. On a bare virtual machine or in a container it is ours to do, before `dockerd`.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

TOP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Mount:
    """One mount to make: `mount -t kind -o options kind target`."""

    kind: str
    target: Path
    options: str = "rw"


def plan(controllers: str, mounts: str) -> list[Mount]:
    """What is to be mounted, from the texts of `/proc/cgroups` and `/proc/mounts`. Pure.

    Nothing where any version is mounted already. Version 1 where the kernel already has controllers in its hierarchies
    (they can live in one version only), else version 2.
    """
    present = [line.split() for line in mounts.splitlines()]
    if any(fields[2] in {"cgroup", "cgroup2"} and Path(fields[1]).is_relative_to(TOP) for fields in present):
        return []
    first = [] if any(fields[1] == "/sys" for fields in present) else [Mount("sysfs", Path("/sys"))]
    hierarchies: dict[str, list[str]] = {}
    for line in controllers.splitlines():
        if not line.startswith("#"):
            name, hierarchy, _, _ = line.split()
            hierarchies.setdefault(hierarchy, []).append(name)
    hierarchies.pop("0", None)  # free ones, or in version 2
    if not hierarchies:
        return [*first, Mount("cgroup2", TOP)]
    together = [",".join(names) for names in hierarchies.values()]  # what shares a hierarchy is mounted as one
    return [*first, Mount("tmpfs", TOP, "mode=755"), *(Mount("cgroup", TOP / names, names) for names in together)]


def ensure() -> list[Mount]:
    """Mount what is missing, as root. Answers what was mounted."""
    todo = plan(Path("/proc/cgroups").read_text(), Path("/proc/mounts").read_text())
    for mount in todo:
        mount.target.mkdir(exist_ok=True)
        argv = ["mount", "-t", mount.kind, "-o", mount.options, mount.kind, str(mount.target)]
        subprocess.run(argv, check=True, capture_output=True)
    make_room(TOP)
    return todo


def make_room(top: Path) -> None:
    """In a container, version 2 refuses controllers to a group that holds processes: move them into a leaf.

    The machine's own root group is exempt, and is known by having no `cgroup.type`.
    """
    if not (top / "cgroup.type").exists() or (top / "cgroup.subtree_control").read_text().strip():
        return
    leaf = top / "init"
    leaf.mkdir(exist_ok=True)
    for pid in (top / "cgroup.procs").read_text().split():
        try:
            (leaf / "cgroup.procs").write_text(pid)
        except ProcessLookupError:
            continue  # it has ended meanwhile
    controllers = (top / "cgroup.controllers").read_text().split()
    (top / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
