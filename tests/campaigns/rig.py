"""A daemon process under a campaign, as a user starts it, and what can be seen of it from outside."""

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.cli import streams
from orchestrator.testing.daemons import Answered, Client
from tests.benchmarks import load, servers

UIDS = 1_200
"""As many ids as one daemon's jobs run under."""
UID_FIRST = 100_000 + os.getpid() % 1_000 * UIDS
"""First of them, so that campaigns and other daemons on this machine do not count each other's processes."""
_READY_S = 60
PATH = "/v1/sandbox/executions"


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon that serves. `folder` holds its state and its temporary files, and nothing else."""

    process: asyncio.subprocess.Process
    folder: Path
    session: aiohttp.ClientSession
    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def admin(self) -> Client:
        """Its operator."""
        return Client(self.session, self.url, (self.folder / "state" / "admin.key").read_text().strip())

    def message(self, body: dict[str, object]) -> bytes:
        """The operator's request for an execution, as bytes for `load`."""
        return load.request(PATH, body, {"X-API-Key": self.admin.key or ""})

    def resident_bytes(self) -> int:
        """Memory that it holds now."""
        return _status_bytes(self.process.pid, "VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that it held since `forget_peak`."""
        return _status_bytes(self.process.pid, "VmHWM")

    def forget_peak(self) -> None:
        """Begin to look for the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    async def quiet(self) -> None:
        """Wait until it has nothing under way: no execution, no container that is being made or removed.

        What is armed may still change, so the number of its descriptors is looked at until it stays.
        """
        async with asyncio.timeout(60):
            still, before = 0, -1
            while still < 5:
                now = self.descriptors()
                busy = "0 running, 0 waiting" not in (await self.admin.get("/readyz")).json["checks"]["pool"]["detail"]
                still, before = (still + 1 if now == before and not busy else 0), now
                await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def daemon(folder: Path, **settings: object) -> AsyncIterator[Target]:
    """Start a daemon on `folder`, wait until it runs code, and end it in order, unless it was killed."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    given = {"sandbox__uid_first": UID_FIRST, "logs__level": "error", **settings}
    environ = {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in given.items()}
    port = servers.free_port()
    command = ("-m", "orchestrator", "serve", "--port", str(port), "--state", str(folder / "state"))
    async with servers.server(*command, port=port, environ={**environ, "TMPDIR": str(folder / "tmp")}) as process:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            target = Target(process, folder, session, f"http://127.0.0.1:{port}")
            await _until_ready(target)
            yield target


async def execute(client: Client, body: dict[str, object], **options: object) -> Answered:
    """One execution, answered when it has ended."""
    return await client.post(PATH, json=body, **options)


def events(stream: bytes) -> Iterator[tuple[str, Any]]:
    """The events of a whole stream, each with its JSON."""
    return streams.events(stream.splitlines(keepends=True))


def piece(data: dict[str, str]) -> bytes:
    """One piece of streamed output as bytes."""
    return base64.b64decode(data["data"]) if data["encoding"] == "base64" else data["data"].encode()


def processes_of(uid: int) -> list[int]:
    """Processes of this machine that run under an id."""
    return _processes(range(uid, uid + 1))


def processes_of_jobs() -> list[int]:
    """Processes of this machine that run under any of the ids that a campaign's jobs have."""
    return _processes(range(UID_FIRST, UID_FIRST + UIDS))


def disk_bytes(*folders: Path) -> int:
    """What the files under these folders take on their disk."""
    return sum(_blocks(path) * 512 for folder in folders for path in paths(folder))


def paths(folder: Path) -> Iterator[Path]:
    """Everything below a folder, also while somebody adds and removes."""
    for top, folders, files in os.walk(folder):
        yield from (Path(top, name) for name in (*folders, *files))


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks
    except FileNotFoundError:
        return 0


async def _until_ready(target: Target) -> None:
    last = b""
    try:
        async with asyncio.timeout(_READY_S):
            while True:
                answer = await Client(target.session, target.url).get("/readyz")
                if answer.status == 200 and answer.json["status"] == "ok":
                    return
                last = answer.body
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(f"the daemon is not ready after {_READY_S} s: {last.decode()}") from None


def _processes(uids: range) -> list[int]:
    """Those whose real id is one of these: the runner takes on a job's id as its effective one alone."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.stat(f"/proc/{name}").st_uid in uids and _status(int(name), "Uid") in uids:
                found.append(int(name))
    return found


def _status_bytes(pid: int, name: str) -> int:
    return _status(pid, name) * 1024


def _status(pid: int, name: str) -> int:
    """The first number of a line of a process's status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no {name}")
