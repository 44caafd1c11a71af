"""Running one command in a root of its own: fresh mounts, processes, names; everything in there ends with it.

Three processes: the caller; its child, which enters the namespaces; and that one's child, process 1 inside, which
mounts, pivots, starts the command, reaps what is orphaned, and ends the rest in order. When process 1 is gone the
kernel kills whatever is left in there and takes the mounts away. Each hears from the kernel when the one above it dies.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.bootstrap import namespaces as ns

HOSTNAME = "bare"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_GRACE_S = 30.0
_INTERRUPTED = 130


def run(root: Path, command: str, env: Mapping[str, str]) -> int:
    """Run a shell command line with `root` as its root; answers its exit code. Being interrupted ends it in order."""
    child = _forked(lambda: _enter(root, command, env))
    try:
        return _exit_code(child)
    except BaseException:
        os.kill(child, signal.SIGTERM)
        _exit_code(child)
        raise


def _enter(root: Path, command: str, env: Mapping[str, str]) -> int:
    """In the child: leave the machine's namespaces, and have process 1 of the fresh ones do the rest."""
    os.setsid()  # a person's Ctrl-C reaches the caller alone, which then ends us in order
    ns.leave("mount", "pid", "ipc", "uts")
    first = _forked(lambda: _first_process(root, command, env))
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGTERM))
    ns.end_with_parent(signal.SIGTERM)
    return _exit_code(first)


def _first_process(root: Path, command: str, env: Mapping[str, str]) -> int:
    ns.end_with_parent(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    ns.make_private()
    _mount(root)
    ns.pivot_root(root)
    socket.sethostname(HOSTNAME)
    code = _supervise(["/bin/sh", "-c", command], env)
    _end_the_rest()
    return code


def _mount(root: Path) -> None:
    """What every root has. Control groups are left out on purpose: a bare machine has none, and `make` mounts them."""
    ns.mount(root, root, flags=ns.MS_BIND | ns.MS_REC)
    guarded = ns.MS_NOSUID | ns.MS_NODEV
    ns.mount("proc", root / "proc", "proc", guarded | ns.MS_NOEXEC)
    ns.mount("sysfs", root / "sys", "sysfs", guarded | ns.MS_NOEXEC)
    ns.mount("tmpfs", root / "run", "tmpfs", guarded, "mode=755")
    ns.mount("tmpfs", root / "dev", "tmpfs", ns.MS_NOSUID, "mode=755")
    for name in _DEVICES:
        (root / "dev" / name).touch()
        ns.mount(Path("/dev") / name, root / "dev" / name, flags=ns.MS_BIND)
    for name in ("pts", "shm"):
        (root / "dev" / name).mkdir()
    terminals = ns.MS_NOSUID | ns.MS_NOEXEC  # they are devices
    ns.mount("devpts", root / "dev" / "pts", "devpts", terminals, "newinstance,ptmxmode=0666,mode=620")
    ns.mount("tmpfs", root / "dev" / "shm", "tmpfs", guarded, "mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        (root / "dev" / name).symlink_to(target)
    data = root / "var" / "lib" / "docker"  # an overlay cannot lie on an overlay: memory instead of disk, then
    if _is_overlay(root):
        data.mkdir(parents=True)
        ns.mount("tmpfs", data, "tmpfs", guarded, "mode=710")


def _is_overlay(folder: Path) -> bool:
    """Whether the file system of a folder is an overlay, by the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point) and Path(point) != folder]
    return max(above)[1] == "overlay"


def _supervise(argv: list[str], env: Mapping[str, str]) -> int:
    """Start the command and wait until it ends, or until we are told to end; orphans are reaped meanwhile."""
    command = _forked(lambda: _become(argv, env))
    while True:
        ended, _ = _reap()
        if command in ended:
            return ended[command]
        if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
            return _INTERRUPTED


def _become(argv: list[str], env: Mapping[str, str]) -> int:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execve(argv[0], argv, dict(env))  # noqa: S606 - the shell is what is wanted


def _end_the_rest() -> None:
    """Ask all that still runs in here to end, and give it some time; our own end kills the others."""
    try:
        os.kill(-1, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + _GRACE_S
    while _reap()[1] and (left := deadline - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left)


def _forked(work: Callable[[], int]) -> int:
    """Run `work` in a child, whose exit code it answers; nothing of the caller's own clean-up ever runs in there."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work()
    except OSError as fault:
        os.write(2, f"the fresh root failed: {fault}\n".encode())
    finally:
        os._exit(code)


def _reap() -> tuple[dict[int, int], bool]:
    """Exit codes of the children that have ended, and whether any is left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended[pid] = _code(status)


def _exit_code(pid: int) -> int:
    return _code(os.waitpid(pid, 0)[1])


def _code(status: int) -> int:
    """A shell's way of telling: the exit code, or 128 and the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
