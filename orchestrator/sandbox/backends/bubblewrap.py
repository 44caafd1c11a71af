"""Workers as processes of this machine behind `bwrap`: seed 002's local fallback, for development mode (CONTRACT 4)."""

import asyncio
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import structlog

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import LimitName
from orchestrator.kernel.canonical import digest_of, sha256_hex
from orchestrator.kernel.threads import DaemonThreads
from orchestrator.sandbox import bpf, dialogue, images
from orchestrator.sandbox.backends import (
    bubblewrap_command,
    bubblewrap_process,
    bubblewrap_roots,
    cgroups,
    walls,
    worker,
)
from orchestrator.sandbox.backends.bubblewrap_command import Place, Tools
from orchestrator.sandbox.backends.bubblewrap_process import Process
from orchestrator.sandbox.backends.bubblewrap_roots import Roots
from orchestrator.sandbox.backends.cgroups import Bounds, Group, Groups
from orchestrator.sandbox.backends.names import Names
from orchestrator.sandbox.backends.port import Backend, Facts, Image
from orchestrator.sandbox.backends.worker import RunnerWorker
from orchestrator.sandbox.frames import BrokenStream
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.settings import SandboxSettings

log = structlog.get_logger("sandbox")
T = TypeVar("T")

UNENFORCED: tuple[LimitName, ...] = ("memory_bytes", "cpu_ms")
"""What only a control group can hold. Without one each process has a bound of its own, and the runner counts."""
_OUTSIDE = 1
"""Processes of a worker that are not in its namespace: `bwrap` itself, which waits."""


def backend(settings: SandboxSettings, daemon_id: str) -> Backend:
    """As the settings name it."""
    return BubblewrapBackend(settings, daemon_id)


shelf = bubblewrap_roots.shelf


class BubblewrapBackend:
    """This machine's `bwrap`, and the workers that this process made with it."""

    def __init__(self, settings: SandboxSettings, daemon_id: str) -> None:
        self.settings = settings
        self._daemon_id = daemon_id
        self._threads = DaemonThreads("bubblewrap", settings.max_starting + 4)
        self._starting = asyncio.Semaphore(settings.max_starting)
        self._names = Names(settings.uid_first)
        self._roots = Roots(Path(settings.roots))
        self._images: dict[str, Image] = {}
        self._held: list[int] = []
        self._live: dict[str, Process] = {}
        self._tools: Tools | None = None
        self._groups: Groups | None = None

    async def connect(self, profiles: Mapping[str, Profile]) -> Facts:
        return await self._in_thread(lambda: self._connect(profiles))

    async def ping(self) -> None:
        for path in (Path(self._known.bwrap), *map(self._roots.root, self._images.values())):
            if not path.exists():
                raise Unavailable(f"{path} is not there any more")

    async def launch(self, kind: WorkerClass, execution_id: str | None) -> RunnerWorker:
        async with self._starting:
            name, uids = self._names.take()
            try:
                async with asyncio.timeout(self.settings.start_timeout_ms / 1e3):
                    return await self._launch(name, uids, kind)
            except (TimeoutError, BrokenStream, OSError) as fault:
                said = await self._give_up(name)
                raise Unavailable(f"a worker did not start: {said or fault or 'it took too long'}") from fault
            except BaseException:
                await asyncio.shield(self.remove(name))
                raise

    async def reap(self) -> int:
        return await self._in_thread(self._reap)

    def close(self) -> None:
        self._threads.close()
        self._hold([])

    async def kill(self, name: str, *, ended: bool) -> bool:
        """Kill a worker and wait for its death; whether the kernel took it for memory. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(self.settings.engine_timeout_ms / 1e3):
                await self._live[name].end()
        except (TimeoutError, KeyError):
            raise Unavailable("a worker that was killed does not end, or is gone") from None
        group = self._group(name)
        return group is not None and await self._in_thread(group.oom_kills) > 0

    async def remove(self, name: str) -> None:
        """Kill a worker and remove its control group. Never raises: what stays is reaped later."""
        process = self._live.pop(name, None)
        try:
            async with asyncio.timeout(self.settings.engine_timeout_ms / 1e3):
                if process is not None:
                    await process.end()
                if (group := self._group(name)) is not None:
                    await self._in_thread(group.dissolve)
        except (TimeoutError, Unavailable) as fault:
            log.warning("sandbox.not_removed", worker=name, reason=str(fault))
        finally:
            self._names.free(name)
            if process is not None:
                process.let_go()

    async def _launch(self, name: str, uids: range, kind: WorkerClass) -> RunnerWorker:
        tools = self._known
        place = await self._in_thread(lambda: self._place(name, kind))
        runner = worker.command(self.settings, uids, "runner" if place.group is None else "group")
        process = self._live[name] = await bubblewrap_process.start(
            lambda filter_fd, told: bubblewrap_command.command(tools, place, runner, filter_fd, told), bpf.program()
        )
        await dialogue.greet(process)
        process.find_inner()
        return RunnerWorker(self, name, kind, process)

    def _place(self, name: str, kind: WorkerClass) -> Place:
        image, group = self._images.get(kind.image), None
        if image is None:
            raise Unavailable(f"there is no image {kind.image} any more")
        if self._groups is not None:
            bounds = Bounds(kind.memory_bytes, kind.pids + _OUTSIDE, self.settings.cpus)
            group = self._groups.make(self._full_name(name), bounds)
        return Place(
            self._roots.root(image), self._roots.stage(image), walls.tmpfs(self.settings, kind), group,
            data_bytes=2 * kind.memory_bytes,  # each thread reserves a stack, and hardly uses it
            file_bytes=kind.memory_bytes,
        )  # fmt: skip

    async def _give_up(self, name: str) -> str:
        """Remove a worker that did not come up; its last words."""
        process = self._live.get(name)
        said = b"" if process is None else process.stderr_tail
        await self.remove(name)
        return said.decode(errors="replace").strip()

    @property
    def _known(self) -> Tools:
        if self._tools is None:
            raise Unavailable("bubblewrap was not looked for yet")
        return self._tools

    def _full_name(self, name: str) -> str:
        return f"{self._daemon_id}.{name}"

    def _group(self, name: str) -> Group | None:
        return None if self._groups is None else self._groups.group(self._full_name(name))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await self._threads.run(work)
        except (OSError, ValueError, RuntimeError) as fault:  # the last where the threads are closed already
            raise Unavailable(f"this machine failed: {fault}") from fault

    def _connect(self, profiles: Mapping[str, Profile]) -> Facts:
        tools = bubblewrap_command.tools(rootless=os.geteuid() != 0)
        groups = _groups()
        there = {name: images.current(self._roots, profile) for name, profile in profiles.items()}
        found = {name: image for name, image in there.items() if image is not None}
        self._hold(list(found.values()))
        self._images = {image.id: image for image in found.values()}
        self._tools, self._groups = tools, groups
        references = {name: image.reference for name, image in found.items()}
        key = digest_of([
            [bubblewrap_command.version(tools), tools.rootless, platform.release(), groups and groups.version],
            [sha256_hex(bpf.program()), self.settings.cpus, self.settings.shm_bytes],
        ])  # fmt: skip
        packages = {name: image.versions for name, image in found.items()}
        lacking = UNENFORCED if groups is None else ()
        return Facts("bubblewrap", "bwrap", key, references, lacking, dev=True, packages=packages)

    def _hold(self, wanted: list[Image]) -> None:
        """Keep these images from being removed, and no others any more."""
        before, self._held = self._held, []
        try:
            for image in wanted:
                self._held.append(self._roots.hold(image))
        finally:
            for fd in before:
                os.close(fd)

    def _reap(self) -> int:
        """What is left of our own earlier lives, and what others left empty long ago: a worker dies with its daemon."""
        gone = 0
        for group in self._groups.all() if self._groups else ():
            daemon, _, name = group.name.partition(".")
            if self._is_dead(group) if daemon != self._daemon_id else name not in self._names:
                group.dissolve()
                gone += 1
        return gone

    def _is_dead(self, group: Group) -> bool:
        """Whether another daemon's group is left over."""
        age_s = time.time() - max(place.stat().st_mtime for place in group.places)
        return age_s > self.settings.lease_s and not group.processes()


def _groups() -> Groups | None:
    """Where control groups can be made, ready for that; None where they cannot, and limits are lacking then."""
    found = cgroups.find(Path("/proc/mounts").read_text())
    try:
        if found is not None:
            found.prepare()
    except OSError as fault:
        log.warning("sandbox.no_control_groups", reason=str(fault))
        return None
    return found
