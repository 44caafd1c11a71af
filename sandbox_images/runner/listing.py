"""What a job left in its working directory, for the host to choose from, and the content of what it chose.

Read under the job's own id when none of its processes lives, so nothing changes meanwhile; links are never followed.
"""

from __future__ import annotations

import os
import stat

import frames
import place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 64
MAX_PATH_BYTES = 1_024
_KINDS = {stat.S_IFREG: b"file", stat.S_IFLNK: b"symlink", stat.S_IFDIR: b"folder"}


def tell_entries(uid: int, nonce: bytes) -> None:
    """Send all entries, in frames of whole records `kind NUL size NUL path NUL`; an empty frame ends them.

    They are sent as they are found: a job may have left as many as fill the container's memory.
    """
    place.as_user(uid, lambda: _tell_records(nonce))
    frames.write(1, frames.ENTRIES, nonce)


def tell_content(uid: int, nonce: bytes, path: bytes, most: int) -> None:
    """Send up to `most` bytes of one regular file in pieces; an empty frame ends them. What cannot be read is empty."""
    fd = place.as_user(uid, lambda: _open(path))
    try:
        while fd is not None and most and (data := os.read(fd, min(frames.CHUNK, most))):
            most -= len(data)
            frames.write(1, frames.CONTENT, nonce, data)
    finally:
        if fd is not None:
            os.close(fd)
    frames.write(1, frames.CONTENT, nonce)


def _tell_records(nonce: bytes) -> None:
    pending = bytearray()
    for record in _records():
        pending += record
        if len(pending) > frames.CHUNK:
            frames.write(1, frames.ENTRIES, nonce, bytes(pending))
            pending.clear()
    if pending:
        frames.write(1, frames.ENTRIES, nonce, bytes(pending))


def _records() -> Iterator[bytes]:
    folders = [b""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(place.WORK.encode() + b"/" + folder) as entries:
                for entry in entries:
                    yield _record(folder, entry, folders)
        except OSError:  # its owner shut it
            yield b"unreadable\0%d\0%b\0" % (0, folder.rstrip(b"/") or b".")


def _record(folder: bytes, entry: os.DirEntry[bytes], folders: list[bytes]) -> bytes:
    """One entry; a folder is noted to be gone through, too."""
    path = folder + entry.name
    state = entry.stat(follow_symlinks=False)
    kind = _KINDS.get(stat.S_IFMT(state.st_mode), b"other")
    if kind == b"folder" and _goes_deeper(path):
        folders.append(path + b"/")
    elif kind == b"folder":
        kind = b"too_deep"
    return b"%b\0%d\0%b\0" % (kind, state.st_size, path[-MAX_PATH_BYTES:])


def _goes_deeper(path: bytes) -> bool:
    return path.count(b"/") < MAX_DEPTH - 1 and len(path) < MAX_PATH_BYTES - 256


def _open(path: bytes) -> int | None:
    target = place.WORK.encode() + b"/" + path
    try:
        fd = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd
