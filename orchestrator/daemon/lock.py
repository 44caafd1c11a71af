"""One daemon for one state directory (R0-03): the second refuses to start and says who holds it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.contracts.errors import StartRefused


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock file until the block ends, or the process does. Raises `StartRefused`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 100).decode(errors="replace").strip()
            raise StartRefused(f"{path.parent} is in use by another daemon (process {holder or 'unknown'})") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """The process that holds the lock file, in digits or `unknown`; None where nobody does. Changes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return None


def announce(path: Path, address: str) -> None:
    """Tell local clients where the daemon of this state directory listens."""
    path.write_text(json.dumps({"address": address, "pid": os.getpid()}))
