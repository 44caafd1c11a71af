"""A version of a plugin in child processes (isolation `process`): one request at a time, killed on its deadline."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

from orchestrator.contracts.errors import OrchestratorError, PluginFailed, PluginTimeout
from orchestrator.host.answers import NotJson, encode
from orchestrator.host.calls import Call, Reply
from orchestrator.host.children import Child
from orchestrator.host.frames import fault_to_json
from orchestrator.host.inline import Inline
from orchestrator.host.manifests import Manifest
from orchestrator.host.registry import NAMES
from orchestrator.host.sources import Snapshot
from orchestrator.host.versions import Broken, Tools, broken_init
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.threads import DaemonThreads

log = structlog.get_logger("plugin")
_LEVELS = ("debug", "info", "warning", "error", "critical")


class ProcessVersion:
    """Up to `process_children` processes of one version; the first is kept, others end when idle."""

    root: str | None = None

    def __init__(self, snapshot: Snapshot, tools: Tools, clock: Clock) -> None:
        self._snapshot = snapshot
        self._tools = tools
        self._settings = tools.settings
        self._clock = clock
        self._name = snapshot.source.name
        self._threads = DaemonThreads(f"plugin-{self._name}", 1)
        self._inline = Inline(self._name, tools.tasks, self._threads, self._settings.max_response_bytes, _no_line)
        self._slots = asyncio.Semaphore(self._settings.process_children)
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._started: tuple[str, dict[str, Any], dict[str, str]] | None = None
        self._subscriptions: dict[tuple[int, str], Callable[[], None]] = {}
        self._initialised = False
        self._closed = False
        self.raw: Any = {}
        self.hooks: frozenset[str] = frozenset()

    async def load(self) -> None:
        """Spawn the first child and import the plugin there. Raises `Broken`."""
        child = await self._spawn()
        self._idle.append(child)

    async def off_loop(self, work: Callable[[], Any], seconds: float) -> Any:
        return await self._inline.in_thread(work, seconds)

    async def init(self, manifest: Manifest, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self._started = (manifest.name, dict(config), dict(secrets))
        try:
            await self._init(self._idle[0])
        except OrchestratorError as fault:
            raise broken_init(fault) from None
        self._initialised = True

    async def handle(self, request: dict[str, Any], call: Call, seconds: float, hook: str = "handle") -> Reply:
        value = await self._call(hook, request, None, call, seconds)
        return await self._checked(value, seconds)

    async def route(self, request: dict[str, Any], candidates: list[dict[str, Any]], seconds: float) -> Any:
        return await self._call("route", request, candidates, None, seconds)

    async def close(self) -> None:
        self._closed = True
        for end in self._subscriptions.values():
            end()
        seconds = self._settings.init_timeout_s
        if "close" in self.hooks and self._idle and self._initialised:
            try:
                async with asyncio.timeout(seconds):
                    await self._idle[0].exchange("close", seconds=seconds)
            except (TimeoutError, OrchestratorError) as fault:
                log.warning("plugin.close_failed", plugin=self._name, why=str(fault))
        for child in list(self._all):
            await child.end()
        self._threads.close()

    async def _call(self, hook: str, request: Any, candidates: Any, call: Call | None, seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds), self._child() as child:
                number = child.answering(call)
                known = self._tools.capabilities()
                news = None if child.told_capabilities is known else known
                child.told_capabilities = known
                return await child.exchange(
                    "call", hook=hook, request=request, candidates=candidates, call=number, seconds=seconds,
                    capabilities=news,
                )  # fmt: skip
        except TimeoutError:
            raise PluginTimeout(f"the plugin {self._name} did not answer within {seconds:.3g} s") from None
        except Broken as fault:
            why = f"the plugin {self._name} could not be started again"
            raise PluginFailed(why, traceback=fault.traceback) from None

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[Child]:
        """A child for one exchange. One whose exchange was given up is killed: it may still be at it."""
        async with self._slots:
            child = self._taken() or await self._ready()
            try:
                yield child
            except OrchestratorError:
                self._put_back(child)
                raise
            except BaseException:
                self._put_away(child)
                raise
            else:
                self._put_back(child)

    def _taken(self) -> Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
        return None

    async def _ready(self) -> Child:
        child = await self._spawn()
        try:
            await self._init(child)
        except BaseException:
            self._put_away(child)
            raise
        return child

    def _put_back(self, child: Child) -> None:
        child.answering(None)
        if not child.alive or self._closed:
            self._put_away(child)
            return
        child.idle_since = self._clock.monotonic()
        self._idle.append(child)
        if len(self._idle) > 1:
            asyncio.get_running_loop().call_later(self._settings.process_idle_s, self._trim)

    def _put_away(self, child: Child) -> None:
        child.kill()
        self._all = {known for known in self._all if not known.gone}
        if not self._closed and not any(known.alive for known in self._all):
            self._tools.tasks.child(f"plugin.{self._name}.warm", self._warm())

    async def _warm(self) -> None:
        """Have a child ready again after the last one was lost. That none can start, the next request will be told."""
        async with self._slots:
            if self._idle or self._closed:
                return
            try:
                self._idle.append(await self._ready())
            except (Broken, OrchestratorError) as fault:
                if not self._closed:
                    log.warning("plugin.not_restarted", plugin=self._name, why=str(fault))

    def _trim(self) -> None:
        """End children that have idled for long, but for one."""
        since = self._clock.monotonic() - self._settings.process_idle_s
        for child in self._idle[:-1]:
            if child.idle_since <= since:
                self._idle.remove(child)
                self._put_away(child)

    async def _spawn(self) -> Child:
        child = Child(self._name, self._settings, self._tools.tasks, self._clock, self._asked)
        seconds = self._settings.import_timeout_s
        self._all.add(child)
        try:
            async with asyncio.timeout(seconds):
                await child.start()
                loaded = await child.exchange("load", seconds=seconds, **_shipped(self._snapshot, self._settings))
        except (TimeoutError, OrchestratorError, OSError) as fault:
            child.kill()
            late = isinstance(fault, TimeoutError | PluginTimeout)
            raise Broken(f"importing it took longer than {seconds:g} s" if late else f"importing it: {fault}") from None
        except BaseException:
            child.kill()
            raise
        if not isinstance(loaded, dict) or "broken" in loaded:
            child.kill()
            told = loaded if isinstance(loaded, dict) else {"broken": "its process answered nothing intelligible"}
            raise Broken(str(told["broken"])[:2000], str(told.get("traceback") or "")[:20_000] or None)
        self.raw, self.hooks = loaded.get("plugin"), frozenset(NAMES) & frozenset(loaded.get("hooks", ()))
        return child

    async def _init(self, child: Child) -> None:
        if self._started is None:
            raise PluginFailed(f"the plugin {self._name} is not ready")
        name, config, secrets = self._started
        seconds = self._settings.init_timeout_s
        try:
            async with asyncio.timeout(seconds + 1):
                await child.exchange(
                    "init", name=name, config=config, secrets=secrets, seconds=seconds,
                    capabilities=self._tools.capabilities(),
                )  # fmt: skip
        except TimeoutError:
            child.kill()
            raise PluginTimeout(f"init took longer than {seconds:g} s") from None

    async def _checked(self, value: Any, seconds: float) -> Reply:
        try:
            most = self._settings.max_response_bytes
            reply: Reply = await self._inline.in_thread(lambda: encode(value, most), seconds)
        except NotJson as fault:
            why = fault.of("answer")
            raise PluginFailed(f"the plugin {self._name} answered what is not JSON: {why}") from None
        return reply

    async def _asked(self, child: Child, frame: dict[str, Any]) -> None:
        """A frame from a child that is no answer."""
        kind = frame.get("kind")
        if kind == "ask":
            self._tools.tasks.child(f"plugin.{self._name}.ask", self._answer(child, frame))
        elif kind == "log":
            level = frame.get("level")
            getattr(log, level if level in _LEVELS else "info")(
                str(frame.get("event"))[:500], plugin=self._name, fields=frame.get("fields")
            )
        elif kind == "subscribe":
            self._subscribe(child, int(frame["listener"]), str(frame["pattern"]))

    async def _answer(self, child: Child, frame: dict[str, Any]) -> None:
        try:
            value = await self._served(child, frame)
        except OrchestratorError as fault:
            child.tell("answer", number=frame.get("number"), fault=fault_to_json(fault))
        else:
            child.tell("answer", number=frame.get("number"), value=value)

    async def _served(self, child: Child, frame: dict[str, Any]) -> Any:
        services, call = self._tools.services, child.call_of(frame.get("call"))
        what, text, fields = frame.get("what"), frame.get("text"), frame.get("fields")
        if not isinstance(text, str) or not isinstance(fields, dict):
            raise PluginFailed(f"the process of the plugin {self._name} asked for nothing intelligible")
        if what == "publish":
            return await services.publish(self._public_name(), text, fields, call)
        if call is None:
            raise PluginFailed(f"the plugin {self._name} asked for a permit outside of any query")
        if what == "run_code":
            return await services.run_code(call, text, fields)
        return await services.query(call, text, fields)

    def _public_name(self) -> str:
        return self._started[0] if self._started is not None else self._name

    def _subscribe(self, child: Child, listener: int, pattern: str) -> None:
        """Subscribe once for all children: each numbers its listeners in the order in which `init` makes them."""
        child.listeners.add(listener)
        if (listener, pattern) in self._subscriptions or self._closed:
            return

        async def deliver(event: dict[str, Any]) -> None:
            async with self._child() as ready:
                if listener in ready.listeners:
                    async with asyncio.timeout(self._settings.timeout_s):
                        await ready.exchange("event", listener=listener, event=event)

        self._subscriptions[listener, pattern] = self._tools.services.subscribe(self._public_name(), pattern, deliver)


def _shipped(snapshot: Snapshot, settings: Any) -> dict[str, Any]:
    """A version as a child gets it: where it lies, and the checked bytes."""
    source = snapshot.source
    shown = {
        "kind": source.kind, "path": str(source.path), "folder": str(source.folder), "name": source.name,
        "origin": source.origin, "entry": source.entry, "attribute": source.attribute,
    }  # fmt: skip
    files = {n: base64.b64encode(content).decode() for n, content in snapshot.files.items() if n.endswith(".py")}
    return {"source": shown, "files": files, "digest": snapshot.digest, "max_bytes": settings.max_response_bytes}


def _no_line(_module: str, _line: int) -> str:
    return ""
