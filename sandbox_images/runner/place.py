"""Where a job lives: its working directory and /tmp on one bounded tmpfs, its program read-only on another.

The runner holds no right over other people's files (no DAC_OVERRIDE, no CHOWN), so what shall belong to the job is made
under the job's own id: the effective ids change for a moment, and with them the effective capabilities are gone.
"""

import os
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

BOX = "/box"
WORK = f"{BOX}/work"
TMP = f"{BOX}/tmp"  # the image's /tmp is a link to it
PROGRAM = "/program/main.py"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Part = tuple[str, str, memoryview]
"""A piece of the job: its role (`program`, `stdin`, `file`), its path if it is a file, its bytes."""


def prepare(uid: int, parts: list[Part]) -> None:
    """Make the job's directories and write its program and files. Raises `OSError` where they do not fit."""
    os.umask(0o022)
    os.chmod(BOX, 0o1777)
    as_user(uid, lambda: _furnish([(path, content) for role, path, content in parts if role == "file"]))
    os.chmod(BOX, 0o711)  # nothing but the two directories can be made in it
    for role, _, content in parts:
        if role == "program":
            _write(PROGRAM, content, 0o444)


def as_user(uid: int, work: Callable[[], Answer]) -> Answer:
    """Call `work` under another effective id; only for a process with a single thread."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return work()
    finally:
        os.seteuid(0)
        os.setegid(0)


def free() -> tuple[int, int]:
    """Bytes and inodes that are left to the job."""
    state = os.statvfs(BOX)
    return state.f_bfree * state.f_bsize, state.f_ffree


def _furnish(files: list[tuple[str, memoryview]]) -> None:
    os.mkdir(WORK, 0o755)
    os.mkdir(TMP)
    os.chmod(TMP, 0o1777)
    for path, content in files:
        target = f"{WORK}/{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _write(target, content, 0o644)


def _write(path: str, content: memoryview, mode: int) -> None:
    fd = os.open(path, _NEW, mode)
    try:
        write_all(fd, content)
    finally:
        os.close(fd)


def write_all(fd: int, content: memoryview) -> None:
    """Write all of `content`, however many calls that takes."""
    while content:
        content = content[os.write(fd, content) :]
