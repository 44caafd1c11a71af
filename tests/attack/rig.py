"""A real sandbox on a real engine, and what it must leave behind: nothing."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.contracts.executions import Execution, ExecutionRequest, Kernel, OutputName, Progress
from orchestrator.contracts.permits import Permit
from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox import engines
from orchestrator.sandbox.backends.cgroups import HOME
from orchestrator.sandbox.backends.docker import LABEL_DAEMON
from orchestrator.sandbox.backends.names import BLOCKS, UIDS_EACH
from orchestrator.sandbox.service import CAPABILITY, Sandbox
from orchestrator.sandbox.settings import SandboxSettings

IMAGES = Path(__file__).parents[2] / "sandbox_images"


def _ids_of_our_own() -> tuple[int, socket.socket]:
    """First of 5,000 ids that no other suite on this machine uses now, and what holds them until this process ends.

    So suites that run side by side don't count each other's processes. 58,000 and above are a daemon's own.
    """
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for number in range(20_000, 55_000, 5_000):
        try:
            holder.bind(f"\0orchestrator-test-ids-{number}")
        except OSError:
            continue
        return number, holder
    raise RuntimeError("seven suites run on this machine already")


IDS, _HOLDER = _ids_of_our_own()
"""First of the ids of this run's jobs."""
COLD = SandboxSettings(armed=0, uid_first=IDS)


class Told:
    """Notes how an execution comes along; `on_status` is called with each status."""

    def __init__(self, on_status: Callable[[str], None] = lambda _: None) -> None:
        self.status = on_status
        self.pieces: list[tuple[str, bytes]] = []

    def output(self, name: OutputName, data: bytes) -> None:
        self.pieces.append((name, data))


class Box:
    """A sandbox and short ways to use it. `box.sandbox` is the real thing."""

    def __init__(
        self, settings: SandboxSettings, state: Path | None, daemon: str, supervisor: Supervisor, folder: Path = IMAGES
    ) -> None:
        self.metrics = Metrics()
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.sandbox = Sandbox(
            settings, images_dir=folder, daemon_id=daemon, check=allow, clock=SystemClock(), metrics=self.metrics,
            supervisor=supervisor, state_dir=state, tell=lambda *told: self.told.append(told),
        )  # fmt: skip

    async def run(
        self, code: str, *, id: str | None = None, limits: dict[str, int] | None = None, owner: str = "owner",
        progress: Progress | None = None, **fields: Any,
    ) -> Execution:  # fmt: skip
        """Run code with fields of a request: `await box.run("print(1)", limits={...})`."""
        request = ExecutionRequest.model_validate({"code": code, "limits": limits or {}, **fields})
        return await self.execute(request, id=id, owner=owner, progress=progress)

    async def execute(
        self,
        request: ExecutionRequest,
        *,
        id: str | None = None,
        owner: str = "owner",
        progress: Progress | None = None,
    ) -> Execution:
        """Run a request."""
        execution_id, admitted = id or new_id(), self.sandbox.admit(request)
        return await self.sandbox.run(
            execution_id,
            admitted,
            owner=owner,
            key_id="key",
            permit=permit_for(execution_id),
            progress=progress or Told(),
        )


@asynccontextmanager
async def opened(
    state: Path | None, settings: SandboxSettings = COLD, daemon: str | None = None, folder: Path = IMAGES
) -> AsyncIterator[Box]:
    """A started sandbox of a daemon of its own; when it is closed, nothing of it may be left."""
    supervisor, name = Supervisor(), daemon or new_id()
    box = Box(settings, state, name, supervisor, folder)
    await box.sandbox.start()
    try:
        yield box
    finally:
        await box.sandbox.close()
        await supervisor.close()
    assert left_behind(settings, name) == []
    assert processes(settings) == []


async def ready(box: Box) -> None:
    """Wait until it serves: on a busy machine its first look at the engine takes longer than a start waits."""
    async with asyncio.timeout(60):
        while box.sandbox.health()[0] != "ok":
            await asyncio.sleep(0.1)


def permit_for(execution_id: str, kernel: Kernel = "shared") -> Permit:
    return Permit(
        id="permit", capability=CAPABILITY, subject=execution_id, owner="owner", basis="grant", basis_id="grant",
        approved_by="a person", expires_at=2e10, kernel=kernel, seal=b"",
    )  # fmt: skip


def allow(permit: Permit, capability: str, subject: str) -> None:
    assert (permit.capability, permit.subject) == (capability, subject)


def left_behind(settings: SandboxSettings, daemon: str) -> list[Any]:
    """What of a daemon's workers is still there: containers of the engine, or control groups of ours."""
    return containers(daemon) if settings.engine == "docker" else groups(daemon)


def groups(daemon: str) -> list[Path]:
    """Control groups of a daemon's workers, in whichever version."""
    return [path for top in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{top}{HOME}/{daemon}.*")]


def containers(daemon: str) -> list[dict[str, Any]]:
    """The engine's entries of a daemon's containers, running or not."""
    client = engines.connect(engines.find(None), 10)
    try:
        return client.containers(all=True, filters={"label": f"{LABEL_DAEMON}={daemon}"})
    finally:
        client.close()


def processes(settings: SandboxSettings) -> list[int]:
    """Processes of this machine that run under a job's id."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            owner = os.stat(f"/proc/{name}").st_uid
        except FileNotFoundError:
            continue
        if settings.uid_first <= owner < settings.uid_first + BLOCKS * UIDS_EACH:
            found.append(int(name))
    return found
