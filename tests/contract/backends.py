"""The backends under contract: how to have each here, what it says that it lacks, and where it may differ, with the reason.

To add one: a function that gives its settings for the length of a session, and a line in `BACKENDS`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import docker
import pytest

from orchestrator.bootstrap.machine import Machine
from orchestrator.sandbox import engines, images
from orchestrator.sandbox.backends import cgroups
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import COLD, IMAGES
from tests.contract.cases import Seen
from tests.own_engine import running_engine


@dataclass(frozen=True)
class Backend:
    """One backend. `opened` skips, with the reason, where it cannot be had on this machine."""

    name: str
    opened: Callable[[], AbstractContextManager[SandboxSettings]]
    engine: str
    runtime: str
    kernel: str = "shared"
    lacks: tuple[str, ...] = ()
    tells_refused_forks: bool = True
    differs: Mapping[str, Seen] = field(default_factory=dict)
    """By a case's name, what is right here in its stead."""


PLAIN = COLD.model_copy(update={"uid_first": 12_000})
"""With ids that no other suite uses, which may run on this machine at the same time."""


@contextmanager
def _docker_runc() -> Iterator[SandboxSettings]:
    yield PLAIN


@contextmanager
def _docker_runsc() -> Iterator[SandboxSettings]:
    """The machine's engine if it has gVisor; else one beside it, with the same image."""
    settings = PLAIN.model_copy(update={"runtime": "runsc", "accept_unenforced": ["inodes", "memory_bytes"]})
    client = engines.connect(engines.find(None), 60)
    try:
        if "runsc" in client.info()["Runtimes"]:
            yield settings
            return
        if Machine().which("runsc") is None or Machine().which("dockerd") is None:
            pytest.skip("runsc is not installed, or there is no dockerd to start with it")
        if os.geteuid() != 0:
            pytest.skip("the engine here has no runtime runsc, and starting another one needs root")
        with running_engine() as address:
            _take_over(client, address)
            yield settings.model_copy(update={"docker_host": address})
    finally:
        client.close()


def _take_over(client: docker.APIClient, address: str) -> None:
    """Copy the image from one engine to another."""
    image = images.build(COLD, IMAGES, "default", lambda _: None)
    other = engines.connect(engines.Address(address, "the test"), 60)
    try:
        name = client.inspect_image(image)["RepoTags"][0]
        list(other.load_image(client.get_image(name)))
    finally:
        other.close()


@contextmanager
def _bubblewrap() -> Iterator[SandboxSettings]:
    if os.geteuid() != 0:
        pytest.skip("control groups are root's to make; without them it is the next one")
    yield PLAIN.model_copy(update={"engine": "bubblewrap"})


@contextmanager
def _bubblewrap_ungrouped() -> Iterator[SandboxSettings]:
    """As where the daemon may not make control groups: for a daemon that is not root, say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroups, "find", lambda _: None)
        yield PLAIN.model_copy(update={"engine": "bubblewrap", "accept_unenforced": ["memory_bytes", "cpu_ms"]})


_ALONE = "each process is bounded alone, and gets no memory instead of a signal"
_WHOLE = "the kernel that runs short is the container's own, so it ends with its processes"
_UNCOUNTED = "it bounds processes, and does not count those that it refused"
BACKENDS = [
    Backend("docker-runc", _docker_runc, "docker", "runc"),
    Backend(
        "docker-runsc", _docker_runsc, "docker", "runsc", kernel="separate", lacks=("inodes", "memory_bytes"),
        differs={
            "a child that runs out of memory": Seen("oom", hits={"memory_bytes"}, why=_WHOLE),
            "one process too many": Seen(says="refused", why=_UNCOUNTED),
            "one thread too many": Seen(says="refused", why=_UNCOUNTED),
            "a fork bomb": Seen("timeout", hits={"wall_ms"}, why=_UNCOUNTED),
            "one file too many": Seen(says="made", why="it counts no inodes; their memory is bounded"),
        },
    ),
    Backend("bubblewrap", _bubblewrap, "bubblewrap", "bwrap"),
    Backend(
        "bubblewrap-ungrouped", _bubblewrap_ungrouped, "bubblewrap", "bwrap", lacks=("memory_bytes", "cpu_ms"),
        differs={
            "processor time that hides in children nobody waits for": Seen(
                "timeout", hits={"wall_ms"}, why="the runner hears of no child whose parent does not want to hear"
            ),
            "memory": Seen("error", exit_code=1, says="MemoryError", why=_ALONE),
            "memory in small pieces": Seen("error", exit_code=1, says="MemoryError", why=_ALONE),
            "memory in a mapping": Seen(why="what processes could share is bounded by nobody"),
            "memory in files without a name": Seen("error", exit_code=1, says="File too large", why="each file is bounded alone"),
            "a child that runs out of memory": Seen(says="MemoryError", why=_ALONE),
            "one process too many": Seen(says="refused", why=_UNCOUNTED),
            "one thread too many": Seen(says="refused", why=_UNCOUNTED),
            "a fork bomb": Seen("timeout", hits={"wall_ms"}, why=_UNCOUNTED),
        },
    ),
]  # fmt: skip
