"""Between two jobs of one cell: remove all that a job can leave, and prove that it is gone.

Its processes are dead already. What is left is files in three places, kernel objects of System V and POSIX, and
connections that still count down. Whatever is doubtful ends the container.
"""

from __future__ import annotations

import os
import stat
import time

import place

_SHM = "/dev/shm"
_QUEUES = "/dev/mqueue"
_SYSTEM_V = {"shm": "shmctl", "sem": "semctl", "msg": "msgctl"}
_IPC_RMID = 0
_LOOKS, _LOOK_S = 50, 0.002


class Doubt(Exception):
    """Something of an earlier job is left, or may be."""


def remove(uid: int) -> None:
    """Remove everything that the job of this user left, except its program. Raises `Doubt` where it cannot."""
    try:
        place.as_user(uid, _remove)
        os.chmod(place.BOX, 0o1777)
        place.as_user(uid, lambda: [os.rmdir(place.WORK), os.rmdir(place.TMP)])
    except OSError as fault:
        raise Doubt(f"what a job left cannot be removed: {fault}") from fault
    prove()


def prove() -> None:
    """Raise `Doubt` unless every place that a job could write to is as a fresh container has it."""
    for folder in (place.BOX, _SHM):
        state = os.statvfs(folder)
        names = [name for name in os.listdir(folder) if f"{folder}/{name}" != place.ASIDE]
        counted = state.f_files - state.f_ffree - 1 if state.f_files else 0
        if names or counted or state.f_bfree != state.f_blocks:
            raise Doubt(f"something is left in {folder}")
    if os.path.isdir(_QUEUES) and os.listdir(_QUEUES):
        raise Doubt("a message queue is left")
    if any(_objects(kind) for kind in _SYSTEM_V):
        raise Doubt("an object of System V is left")
    if _closing_connections():
        raise Doubt("a connection still counts down")
    for _ in range(_LOOKS):
        if not _local_sockets():
            return
        _collect_sockets()
    raise Doubt("a local socket is left")


def _remove() -> None:
    for folder in (place.WORK, place.TMP, _SHM):
        _empty(folder.encode())
    if os.path.isdir(_QUEUES):
        for name in os.listdir(_QUEUES):
            os.unlink(f"{_QUEUES}/{name}")
    for kind, control in _SYSTEM_V.items():
        for identifier in _objects(kind):
            _remove_object(control, identifier)


def _empty(top: bytes) -> None:
    """Empty a folder however deep it is: what has content itself is first brought to the top, so no path gets long."""
    if top not in (_SHM.encode(),):
        os.chmod(top, 0o700)
    brought = 0
    while names := os.listdir(top):
        for name in names:
            path = top + b"/" + name
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                continue
            os.chmod(path, 0o700)
            for inner in os.listdir(path):
                brought = _bring_up(path + b"/" + inner, top, brought)
            os.rmdir(path)


def _bring_up(path: bytes, top: bytes, brought: int) -> int:
    """Remove one thing in a folder, or move it to the top if it is a folder; the count of what was moved."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return brought
    os.chmod(path, 0o700)  # a folder that is moved must be writable, for its '..' changes
    while True:
        brought += 1
        target = top + b"/%d" % brought
        if not os.path.lexists(target):
            os.rename(path, target)
            return brought


def _objects(kind: str) -> list[int]:
    """Identifiers of the System V objects of a kind: the second column of the kernel's table, after its heading.

    gVisor has no such tables; that none is made is then the system call filter's word.
    """
    if not os.path.isdir("/proc/sysvipc"):
        return []
    with open(f"/proc/sysvipc/{kind}", "rb") as table:
        return [int(line.split()[1]) for line in table.read().splitlines()[1:]]


def _remove_object(control: str, identifier: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (identifier, 0, _IPC_RMID) if control == "semctl" else (identifier, _IPC_RMID, 0)
    if getattr(libc, control)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), control)


def _closing_connections() -> int:
    """TCP connections of the container's own loopback that are closed and not yet forgotten.

    gVisor does not tell; there it is all that ever were.
    """
    if not os.path.exists("/proc/net/sockstat"):
        return _connections_ever()
    with open("/proc/net/sockstat", "rb") as table:
        words = next(line.split() for line in table if line.startswith(b"TCP:"))
    return int(words[words.index(b"tw") + 1])


def _local_sockets() -> int:
    """Local sockets in the container; the runner has none. gVisor has no such table, nor names that outlive a job."""
    if not os.path.exists("/proc/net/unix"):
        return 0
    with open("/proc/net/unix", "rb") as table:
        return len(table.read().splitlines()) - 1


def _collect_sockets() -> None:
    """Have the kernel look for sockets that are only in each other's messages: it does when one is closed."""
    import socket

    socket.socket(socket.AF_UNIX).close()
    time.sleep(_LOOK_S)


def _connections_ever() -> int:
    with open("/proc/net/snmp", "rb") as table:
        names, values = (line.split() for line in table if line.startswith(b"Tcp:"))
    counts = dict(zip(names[1:], map(int, values[1:]), strict=True))
    return counts[b"ActiveOpens"] + counts[b"PassiveOpens"]
