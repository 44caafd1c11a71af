"""Processes told apart for good: a pid alone may have been given to another by now, pid and start time cannot."""

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none (a zombie is none)."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything, parentheses too
    return None if fields[0] in "ZX" else int(fields[19])


def name(pid: int, proc: Path = _PROC) -> str:
    """The program's short name, empty if there is no such process."""
    try:
        return (proc / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def named(program: str, proc: Path = _PROC) -> Iterator[tuple[int, list[str]]]:
    """Pid and command line of each process of that name that sees the same files as we do.

    One in a container has mounts of its own; its socket would be no use here.
    """
    ours = _mounts(proc / "self")
    for entry in sorted(proc.glob("[0-9]*")):
        if name(int(entry.name), proc) == program and _mounts(entry) in {ours, None}:
            try:
                yield int(entry.name), (entry / "cmdline").read_text(errors="replace").split("\0")[:-1]
            except OSError:
                continue  # it has ended meanwhile


def end(pid: int, since: int, *, wait_s: float) -> bool:
    """End the process `pid` that started at `since`: SIGTERM, after `wait_s` SIGKILL. False if it was not there."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if started(pid) != since:  # asked while we hold it: from here on the pid cannot change hands
            return False
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], wait_s)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], wait_s)
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
    return True


def _mounts(process: Path) -> str | None:
    """The process's mount namespace; None where we may not look (another user's, on the same files as a rule)."""
    try:
        return str((process / "ns" / "mnt").readlink())
    except OSError:
        return None
