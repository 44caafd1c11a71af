"""Workers as containers of a Docker engine.

The engine's client library is synchronous, so every call of it runs in a thread; the attached stream is asyncio's own.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import docker
import structlog
from docker.errors import APIError, DockerException, NotFound

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.canonical import digest_of
from orchestrator.kernel.threads import DaemonThreads
from orchestrator.sandbox import dialogue, engines, images, seccomp
from orchestrator.sandbox.backends import docker_config, docker_images, docker_stream, gvisor
from orchestrator.sandbox.backends.meter import Meter
from orchestrator.sandbox.backends.names import Names
from orchestrator.sandbox.backends.port import Backend, Facts, Image
from orchestrator.sandbox.backends.worker import RunnerWorker
from orchestrator.sandbox.frames import BrokenStream
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.settings import SandboxSettings

log = structlog.get_logger("sandbox")
T = TypeVar("T")

LABEL_DAEMON = "orchestrator.daemon"
LABEL_EXECUTION = "orchestrator.execution"
LABEL_EXPIRES = "orchestrator.expires"
_SIGKILLED = 137
_LOOKS, _LOOK_S = 10, 0.1
_ABANDONED_S = 600.0
_GONE = (404, 409)  # not there, or its removal is under way


def backend(settings: SandboxSettings, daemon_id: str) -> Backend:
    """As the settings name it."""
    return DockerBackend(settings, daemon_id)


shelf = docker_images.shelf


class DockerBackend:
    """One engine, and the containers that this process made in it."""

    def __init__(self, settings: SandboxSettings, daemon_id: str) -> None:
        self.settings = settings
        self._daemon_id = daemon_id
        self._threads = DaemonThreads("engine", settings.max_running + settings.max_starting + 4)
        self._starting = asyncio.Semaphore(settings.max_starting)
        self._names = Names(settings.uid_first)
        self._client: docker.APIClient | None = None
        self._address: engines.Address | None = None

    async def connect(self, profiles: Mapping[str, Profile]) -> Facts:
        return await self._in_thread(lambda: self._connect(profiles))

    async def ping(self) -> None:
        await self.call(self._engine.ping)

    async def launch(self, kind: WorkerClass, execution_id: str | None) -> RunnerWorker:
        async with self._starting:
            name, uids = self._names.take()
            try:
                async with asyncio.timeout(self.settings.start_timeout_ms / 1e3):
                    return await self._launch(name, uids, kind, execution_id)
            except (TimeoutError, BrokenStream, OSError) as fault:
                await self.remove(name)
                raise Unavailable(f"a container did not start: {fault or 'it took too long'}") from fault
            except BaseException:
                await asyncio.shield(self.remove(name))
                raise

    async def reap(self) -> int:
        return await self.call(self._reap)

    def close(self) -> None:
        self._threads.close()
        if self._client is not None:
            self._client.close()

    async def call(self, work: Callable[[], T]) -> T:
        """Call the engine in a thread. Raises `Unavailable` where it does not answer or answers an error."""

        def reached() -> T:
            if self._address is None:
                raise Unavailable("no engine was found yet")
            engines.knock(self._address)
            return work()

        return await self._in_thread(reached)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await self._threads.run(work)
        except (DockerException, OSError, RuntimeError) as fault:  # the last where the threads are closed already
            raise Unavailable(f"the engine failed: {_short(fault)}") from fault

    async def kill(self, name: str, *, ended: bool) -> bool:
        """Kill a container and wait until the engine has seen it dead; whether the kernel took it for memory.

        `ended` says that it seemed to end by itself. The engine learns of the kernel's kill by another way than of the
        end, so its word may come a little later.
        """
        await self.call(lambda: self._kill(name))
        for _ in range(_LOOKS):
            state = await self.call(lambda: self._engine.inspect_container(name)["State"])
            if state["OOMKilled"] or not ended or state["ExitCode"] != _SIGKILLED:
                return bool(state["OOMKilled"])
            await asyncio.sleep(_LOOK_S)
        return False

    async def remove(self, name: str) -> None:
        """Kill and remove a container. Never raises: what the engine does not remove now is reaped when it is back."""
        try:
            await self.call(lambda: self._remove(name))
        except Unavailable as fault:
            log.warning("sandbox.not_removed", container=name, reason=fault.detail)
        finally:
            self._names.free(name)  # what is not ours any more, the next sweep takes

    @property
    def _engine(self) -> docker.APIClient:
        if self._client is None:
            raise Unavailable("no engine was found yet")
        return self._client

    def _connect(self, profiles: Mapping[str, Profile]) -> Facts:
        address = engines.find(self.settings.docker_host)
        client = engines.connect(address, self.settings.engine_timeout_ms / 1e3)
        try:
            info = client.info()
            _require(info, self.settings.runtime)
            if self.settings.allow_network:
                _bridge(client)
            shelf = docker_images.DockerShelf(client)
            there = {name: images.current(shelf, profile) for name, profile in profiles.items()}
        except (KeyError, TypeError) as fault:
            client.close()
            raise Unavailable(f"the engine at {address.url} says of itself what makes no sense: {fault!r}") from fault
        except BaseException:
            client.close()
            raise
        self._take_over(client, address)
        return _facts(self.settings, info, {name: image for name, image in there.items() if image is not None})

    def _take_over(self, client: docker.APIClient, address: engines.Address) -> None:
        if self._client is not None:
            self._client.close()
        self._client, self._address = client, address

    async def _launch(self, name: str, uids: range, kind: WorkerClass, execution_id: str | None) -> RunnerWorker:
        labels = {
            LABEL_DAEMON: self._daemon_id,
            LABEL_EXPIRES: str(int(time.time()) + self.settings.lease_s),
            **({LABEL_EXECUTION: execution_id} if execution_id else {}),
        }
        body = docker_config.container(self.settings, kind, labels, uids)
        client, address = self._engine, self._address
        assert address is not None
        await self.call(lambda: client.create_container_from_config(body, name))  # type: ignore[no-untyped-call]
        stream = await docker_stream.attach(address.url, client.api_version, name)
        try:
            await self.call(lambda: client.start(name))
            await dialogue.greet(stream)
            meter = await self.call(lambda: self._meter(name)) if self.settings.kernel == "separate" else None
        except BaseException:
            stream.close()
            raise
        return RunnerWorker(self, name, kind, stream, meter)

    def _meter(self, name: str) -> Meter:
        return Meter(gvisor.Group(self._engine.inspect_container(name)["Id"]))

    def _reap(self) -> int:
        gone = 0
        now = time.time()
        for entry in self._engine.containers(all=True, filters={"label": LABEL_DAEMON}):
            if self._is_dead(entry, now):
                self._remove(entry["Id"])
                gone += 1
        return gone

    def _is_dead(self, entry: dict[str, Any], now: float) -> bool:
        """Whether a container is left over: ours of an earlier life, or anybody's whom nobody looks after any more.

        That is one whose lease has ended, that has ended itself, or that was made and never started: a living daemon
        soon removes the one and starts the other.
        """
        labels = entry["Labels"]
        if labels[LABEL_DAEMON] == self._daemon_id:
            return not any(name.lstrip("/") in self._names for name in entry["Names"])
        expires = labels.get(LABEL_EXPIRES, "")
        if expires.isdigit() and int(expires) < now:
            return True
        if entry["State"] == "created":
            return bool(entry["Created"] < now - _ABANDONED_S)
        return entry["State"] == "exited" and self._ended_at(entry["Id"]) < now - _ABANDONED_S

    def _ended_at(self, container: str) -> float:
        """When a container ended, in seconds since the epoch; it may have been removed meanwhile."""
        try:
            return datetime.fromisoformat(self._engine.inspect_container(container)["State"]["FinishedAt"]).timestamp()
        except NotFound:
            return math.inf

    def _kill(self, name: str) -> None:
        try:
            self._engine.kill(name)
        except APIError as fault:
            if fault.status_code not in _GONE:
                raise
        self._engine.wait(name, timeout=self.settings.engine_timeout_ms // 1000)

    def _remove(self, name: str, *, again: bool = True) -> None:
        try:
            self._engine.remove_container(name, force=True, v=True)
        except NotFound:
            return
        except APIError as fault:
            if again and "is not running" in str(fault):  # it ended between the engine's look and its kill
                self._remove(name, again=False)
            elif fault.status_code not in _GONE:
                raise


def _require(info: dict[str, Any], runtime: str) -> None:
    """Refuse an engine that cannot build the walls, naming what it lacks."""
    if runtime not in info.get("Runtimes", {}):
        raise Unavailable(f"the engine has no runtime {runtime}; it has {', '.join(info.get('Runtimes', {}))}")
    if not any("seccomp" in option for option in info.get("SecurityOptions") or []):
        raise Unavailable("the engine runs without seccomp, and nothing is run without a system call filter")


def _facts(settings: SandboxSettings, info: dict[str, Any], there: dict[str, Image]) -> Facts:
    runtime = settings.runtime
    key = digest_of([
        [info["ID"], info["ServerVersion"], info["KernelVersion"], info.get("CgroupVersion")],
        [seccomp.profile(runtime), runtime, info["Runtimes"][runtime], settings.cpus, settings.shm_bytes],
        settings.allow_network,
    ])  # fmt: skip
    return Facts(
        "docker", runtime, key, {name: image.reference for name, image in there.items()},
        limits_unenforced=gvisor.UNENFORCED if settings.kernel == "separate" else (),
        kernel=settings.kernel,
        dev=settings.allow_network,
        network="allowed" if settings.allow_network else "none",
        packages={name: image.versions for name, image in there.items()},
    )  # fmt: skip


def _bridge(client: docker.APIClient) -> None:
    """Make the network of development mode, unless it is there."""
    if not client.networks(names=[docker_config.NETWORK]):
        client.create_network(docker_config.NETWORK, driver="bridge", check_duplicate=True)


def _short(fault: Exception) -> str:
    return str(getattr(fault, "explanation", None) or fault)[:300]
