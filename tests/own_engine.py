"""An engine beside the machine's own, sharing nothing with it: a second one, for what the first is not made for."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.bootstrap.console import Console
from orchestrator.bootstrap.dockerd import OwnEngine
from orchestrator.bootstrap.machine import Machine


@contextmanager
def own_folder() -> Iterator[Path]:
    """Short enough for the path of a socket, and on a disk that an engine can keep images on."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="e"))
    yield path
    shutil.rmtree(path)


def own_engine(folder: Path) -> OwnEngine:
    """An engine that keeps all of its own in a folder."""
    paths = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
    options = {name: str(folder / path) for name, path in paths.items()}
    options |= {"containerd-namespace": folder.name, "containerd-plugins-namespace": f"{folder.name}-plugins"}
    return OwnEngine(
        socket=folder / "docker.sock", record=folder / "engine.json", log=folder / "engine.log", run=folder / "run",
        config=folder / "daemon.json", options=options,
    )  # fmt: skip


@contextmanager
def running_engine() -> Iterator[str]:
    """The address of such an engine, which ends with the block."""
    dockerd = Machine().which("dockerd")
    assert dockerd is not None
    with own_folder() as folder:
        engine = own_engine(folder)
        engine.start(dockerd, Console())
        record = engine.running()
        assert record is not None
        try:
            yield f"unix://{engine.socket}"
        finally:
            engine.stop(Console())
            os.waitpid(record["pid"], 0)
