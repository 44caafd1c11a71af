"""One version of a plugin, ready to be called: the port, and the version that lives in the daemon's process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from orchestrator.contracts.errors import OrchestratorError, PluginTimeout
from orchestrator.host.calls import Call, Reply
from orchestrator.host.faults import described, import_advice, own_traceback
from orchestrator.host.importing import Shelf, import_version, stated
from orchestrator.host.inline import Inline, Tasks
from orchestrator.host.managers import HostManager, Listener, Loop
from orchestrator.host.manifests import Manifest
from orchestrator.host.ports import Services
from orchestrator.host.registry import BadHooks, Hook, hooks_of
from orchestrator.host.settings import HostSettings
from orchestrator.host.sources import Snapshot
from orchestrator.kernel.threads import DaemonThreads
from orchestrator.sdk.records import Record, Request


class Broken(Exception):
    """This version cannot serve; the text says what mends it, `traceback` holds the plugin's own frames."""

    def __init__(self, message: str, traceback: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class Tools:
    """What all versions share."""

    settings: HostSettings
    services: Services
    tasks: Tasks
    shelf: Shelf
    loop: Loop
    capabilities: Callable[[], list[dict[str, Any]]]


class Version(Protocol):
    """What the host does with a version, whatever walls it stands behind."""

    @property
    def raw(self) -> Any:
        """`PLUGIN` as the plugin has it, not yet checked."""
        ...

    @property
    def hooks(self) -> frozenset[str]:
        """The hooks that it has."""
        ...

    @property
    def root(self) -> str | None:
        """The module name that its frames carry in this process."""
        ...

    async def off_loop(self, work: Callable[[], Any], seconds: float) -> Any:
        """Run `work` in a thread of this version."""
        ...

    async def init(self, manifest: Manifest, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Hand the manager over. Raises `Broken`."""
        ...

    async def handle(self, request: dict[str, Any], call: Call, seconds: float, hook: str = "handle") -> Reply:
        """Answer a query, by `handle` or a hook that comes after it. Raises `OrchestratorError`."""
        ...

    async def route(self, request: dict[str, Any], candidates: list[dict[str, Any]], seconds: float) -> Any:
        """The routing hook's opinion. Raises `OrchestratorError`."""
        ...

    async def close(self) -> None:
        """Let the plugin put things away, and end all that belongs to this version. Never raises."""
        ...


class InlineVersion:
    """A version imported into the daemon's process."""

    def __init__(self, snapshot: Snapshot, tools: Tools) -> None:
        self._snapshot = snapshot
        self._tools = tools
        self._name = snapshot.source.name
        self._threads = DaemonThreads(f"plugin-{self._name}", tools.settings.threads)
        self._inline = Inline(
            self._name, tools.tasks, self._threads, tools.settings.max_response_bytes, tools.shelf.source_line
        )
        self._manager: HostManager | None = None
        self._initialised = False
        self._functions: dict[str, Hook] = {}
        self.root: str | None = tools.shelf.add(snapshot)
        self.raw: Any = {}

    @property
    def hooks(self) -> frozenset[str]:
        return frozenset(self._functions)

    async def load(self) -> None:
        """Import it in one of its threads. Raises `Broken`, after which nothing of it is left but a hanging thread."""
        seconds = self._tools.settings.import_timeout_s
        try:
            fault = await self._inline.in_thread(self._import, seconds)
        except PluginTimeout:
            fault = Broken(f"importing it took longer than {seconds:g} s; what takes long belongs into `handle`")
        if fault is not None:
            raise fault

    async def off_loop(self, work: Callable[[], Any], seconds: float) -> Any:
        return await self._inline.in_thread(work, seconds)

    async def init(self, manifest: Manifest, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        log = structlog.get_logger("plugin").bind(plugin=manifest.name)
        self._manager = HostManager(
            manifest.name, self._tools.services, self._tools.loop, log, self._tools.capabilities, config, secrets,
            self._hear,
        )  # fmt: skip
        if "init" in self._functions:
            try:
                seconds = self._tools.settings.init_timeout_s
                await self._inline.perform(self._functions["init"], {"manager": self._manager}, seconds)
            except OrchestratorError as fault:
                raise broken_init(fault) from None
        self._initialised = True

    async def handle(self, request: dict[str, Any], call: Call, seconds: float, hook: str = "handle") -> Reply:
        return await self._inline.call(self._functions[hook], {"request": Request(request)}, seconds, call)

    async def route(self, request: dict[str, Any], candidates: list[dict[str, Any]], seconds: float) -> Any:
        arguments = {"request": Request(request), "candidates": [Record(c) for c in candidates]}
        return (await self._inline.call(self._functions["route"], arguments, seconds)).value

    async def close(self) -> None:
        if self._manager is not None:
            self._manager.end()
        if "close" in self._functions and self._initialised:
            try:
                await self._inline.perform(self._functions["close"], {}, self._tools.settings.init_timeout_s)
            except OrchestratorError as fault:
                structlog.get_logger("host").warning("plugin.close_failed", plugin=self._name, why=fault.detail)
        self._threads.close()
        if self.root is not None:
            self._tools.shelf.drop(self.root)

    async def _hear(self, listener: Listener, event: dict[str, Any]) -> None:
        await self._inline.deliver(listener, event, self._tools.settings.timeout_s)

    def _import(self) -> Broken | None:
        """Runs in a thread, in which the texts of the plugin's exceptions are made too."""
        root = self.root or ""
        try:
            module, target = import_version(self._snapshot, root)
            self.raw = stated(module, target)
            self._functions = hooks_of(target, root)
        except BadHooks as fault:
            return Broken(str(fault))
        except BaseException as fault:  # noqa: BLE001 - SystemExit at import is a broken plugin too
            return _broken_import(fault, self._name, self._tools.shelf)
        return None


def broken_init(fault: OrchestratorError) -> Broken:
    """An `init` that failed, as the reason why a version cannot serve."""
    traceback = getattr(fault, "traceback", None)
    last = str(traceback).splitlines()[-1] if traceback else fault.detail
    return Broken(f"its init failed: {last}", traceback)


def _broken_import(fault: BaseException, name: str, shelf: Shelf) -> Broken:
    try:
        return Broken(import_advice(fault, name), own_traceback(fault, shelf.source_line))
    except BaseException as worse:  # noqa: BLE001 - an exception made to break whoever looks at it
        return Broken(f"importing it raised an exception that cannot be told ({described(worse)})")
