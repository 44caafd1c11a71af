"""Files that a program left, written into a person's folder: under it and nowhere else, whatever their names say."""

import base64
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write_all(folder: Path, artifacts: dict[str, Any], *, overwrite: bool) -> list[str]:
    """Write the artifacts of an answer; what could not be written, a line each, for a person."""
    faults = []
    for path, told in artifacts.items():
        try:
            content = base64.b64decode(told["base64"], validate=True)
            if hashlib.sha256(content).hexdigest() != told["sha256"]:
                raise OSError(None, "it did not come as it was sent")
            write(folder, path, content, overwrite=overwrite)
        except FileExistsError:
            faults.append(f"{path!r} is there already; --overwrite replaces it")
        except (OSError, ValueError) as fault:
            faults.append(f"{path!r} was not written: {getattr(fault, 'strerror', None) or fault}")
    return faults


def write(folder: Path, path: str, content: bytes, *, overwrite: bool = False) -> None:
    """Write one file below `folder`, with the folders that it needs; no link on the way is followed.

    Raises `ValueError` for a name that leads elsewhere, `FileExistsError` where one is there, `OSError`.
    """
    pieces = path.split("/")
    if any(piece in ("", ".", "..") or "\0" in piece for piece in pieces):
        raise ValueError("its name leads elsewhere")
    folder.mkdir(parents=True, exist_ok=True)
    at = os.open(folder, _FOLDER)
    try:
        for piece in pieces[:-1]:
            with suppress(FileExistsError):
                os.mkdir(piece, dir_fd=at)
            below = os.open(piece, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        if overwrite:
            with suppress(FileNotFoundError):
                os.unlink(pieces[-1], dir_fd=at)
        with os.fdopen(os.open(pieces[-1], _NEW, 0o666, dir_fd=at), "wb") as file:
            file.write(content)
    finally:
        os.close(at)
