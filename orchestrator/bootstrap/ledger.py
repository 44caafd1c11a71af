"""What `make` added to this machine, kept in the checkout so that `make uninstall` removes that and nothing else."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.bootstrap.console import Console, Problem


@dataclass
class Added:
    """One entry a kind of thing; empty where nothing of it was added."""

    packages: list[str] = field(default_factory=list)  # with the dependencies that came along
    folders: list[str] = field(default_factory=list)  # the engine's data, where there was none before
    # {"digest", "host", "profiles", "ids"}, the stamp of the images step, and "added", those of the ids that it built
    images: dict[str, Any] = field(default_factory=dict)
    unpacked: str | None = None  # the folder of bubblewrap's images
    group_member: str | None = None  # the user who was put into the group `docker`
    unit: str | None = None  # the installed systemd unit


class Ledger:
    """Reads and writes `added.json`; a write replaces the whole file, so that a kill leaves the old or the new one."""

    def __init__(self, kept: Path) -> None:
        self._file = kept / "added.json"

    def read(self) -> Added:
        """What was added so far. A file that is not ours to understand is a `Problem`, never an empty answer."""
        try:
            return Added(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return Added()
        except (ValueError, TypeError) as fault:
            raise Problem(f"{self._file} cannot be read ({fault})", mend=f"rm {self._file}", code=1) from fault

    def write(self, added: Added) -> None:
        """Replace the record."""
        self._file.parent.mkdir(exist_ok=True)
        fresh = self._file.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(asdict(added), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)


@contextmanager
def only_one(kept: Path, console: Console, name: str = "lock") -> Iterator[int]:
    """Let one `make` at a time do a thing; a second one says so and waits. The kernel frees the lock of a killed one.

    Yields the lock's descriptor: a program that gets it holds the lock too.
    """
    try:
        kept.mkdir(exist_ok=True)
        lock = (kept / name).open("w")
    except PermissionError:
        mend = f"sudo chown -R {os.getuid()}:{os.getgid()} {kept} {kept.parent / '.venv'}"
        raise Problem(f"{kept} belongs to another user", mend=mend, code=1) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.step("waiting", "another make is at work here")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()
