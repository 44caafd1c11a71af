"""Where a job lives: its working directory and /tmp on one bounded tmpfs, its program read-only on another.

The runner holds no right over other people's files (no DAC_OVERRIDE, no CHOWN), so what shall belong to the job is made
under the job's own id: the effective ids change for a moment, and with them the effective capabilities are gone.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from frames import Intake

    Answer = TypeVar("Answer")

BOX = "/box"
WORK = f"{BOX}/work"
TMP = f"{BOX}/tmp"  # the image's /tmp is a link to it
ASIDE = f"{BOX}/.aside"
PROGRAM = "/program"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def move_aside() -> None:
    """Clear the way for a job's /tmp of what kept gVisor from mounting its own there, which nothing would bound."""
    os.rename(TMP, ASIDE)
    os.chmod(ASIDE, 0o700)


def furnish(uid: int) -> None:
    """Make a job's directories, and nothing else for it to write to."""
    os.umask(0o022)
    os.chmod(BOX, 0o1777)
    as_user(uid, _furnish)
    os.chmod(BOX, 0o711)  # nothing but the two directories can be made in it


def receive_program(intake: Intake, size: int, name: str) -> None:
    """Write the program, for all to read and nobody to change; an earlier one goes."""
    remove_program()
    _receive(intake, size, os.open(f"{PROGRAM}/{name}", _NEW, 0o444))


def remove_program() -> None:
    """Remove the program, if there is one."""
    for name in os.listdir(PROGRAM):
        os.unlink(f"{PROGRAM}/{name}")


def receive_file(intake: Intake, size: int, path: bytes, uid: int) -> None:
    """Write one file of the working directory, and the folders that it needs, as the job's user."""
    target = WORK.encode() + b"/" + path

    def write() -> None:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            os.unlink(target)
        _receive(intake, size, os.open(target, _NEW, 0o644))

    as_user(uid, write)


def receive_stdin(intake: Intake, size: int, fd: int) -> None:
    """Write what the job shall read into the file that its standard input reads from."""
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    _receive(intake, size, os.dup(fd))


def as_user(uid: int, work: Callable[[], Answer]) -> Answer:
    """Call `work` under another effective id; only for a process with a single thread."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return work()
    finally:
        os.seteuid(0)
        os.setegid(0)


def free() -> tuple[int, int | None]:
    """Bytes and inodes that are left to the job; None where the kernel does not count inodes."""
    state = os.statvfs(BOX)
    return state.f_bfree * state.f_bsize, state.f_ffree if state.f_files else None


def _furnish() -> None:
    os.mkdir(WORK, 0o755)
    os.mkdir(TMP)
    os.chmod(TMP, 0o1777)


def _receive(intake: Intake, size: int, fd: int) -> None:
    """Copy the next `size` bytes into a descriptor and close it."""
    try:
        while size:
            data = memoryview(intake.some(size))
            size -= len(data)
            while data:
                data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
