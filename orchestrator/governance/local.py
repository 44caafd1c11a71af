"""Capabilities that Python code registered in this process: its owner's own trusted code, not generated code (R1-13).

They are planned, approved, budgeted and audited like those of plugins, and called with a permit by the same way. What
was approved is bound to a digest of name, version, schemas and source, so a capability that was changed since is
another one. A version that a run may still need stays until the process ends (R1-17).
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from orchestrator.contracts.errors import PluginFailed, PluginTimeout
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.values import plain
from orchestrator.governance.capabilities import Capability
from orchestrator.host.answers import NotJson, encode
from orchestrator.kernel.canonical import digest_of
from orchestrator.kernel.threads import DaemonThreads
from orchestrator.sdk.records import Record

log = structlog.get_logger("capabilities")
Handler = Callable[[Any], Any]
TOOL = "python"
MOST_BYTES = 8 * 2**20
_THREADS = 16
_MOST_TOLD = 1000


class LocalCapabilities:
    """What was registered; empty in a daemon that serves."""

    def __init__(self) -> None:
        self._current: dict[str, Capability] = {}
        self._handlers: dict[str, Handler] = {}
        self._threads = DaemonThreads("capabilities", _THREADS)
        self.version = 0

    def close(self) -> None:
        """Let the threads of handlers end."""
        self._threads.close()

    def current(self) -> Mapping[str, Capability]:
        """By name. `version` grows with every change."""
        return self._current

    def put(self, capability: Capability, handler: Handler) -> None:
        """Add one, or replace that of the same name."""
        self._current[capability.skill] = capability
        self._handlers[capability.permit_for] = handler
        self.version += 1

    def remove(self, name: str) -> None:
        """Plan it no more."""
        if self._current.pop(name, None) is not None:
            self.version += 1

    def has(self, permit_for: str) -> bool:
        """Whether the code that a permit names is here."""
        return permit_for in self._handlers

    async def call(self, permit_for: str, params: JsonObject, seconds: float) -> tuple[Any, bytes]:
        """What it answers, and the same as JSON. Raises `PluginFailed`, `PluginTimeout`."""
        name = permit_for.partition("@")[0]
        handler = self._handlers[permit_for]
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                value = await self._run(handler, Record(params))
        except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError) as fault:
            task = asyncio.current_task()
            if isinstance(fault, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            if limit.expired():
                raise PluginTimeout(f"{name} did not answer in {seconds:g} s") from None
            log.warning("capability.raised", name=name, exc_info=fault)
            told = f": {fault}" if str(fault) else ""
            raise PluginFailed(plain(f"{name} raised {type(fault).__name__}{told}", _MOST_TOLD)) from None
        try:
            reply = encode(value, MOST_BYTES)
        except NotJson as fault:
            raise PluginFailed(f"{name} answered what is not JSON: {fault}") from None
        return reply.value, reply.encoded

    async def _run(self, handler: Handler, params: Record) -> Any:
        if inspect.iscoroutinefunction(handler):
            return await handler(params)
        value = await self._threads.run(lambda: handler(params))
        return await value if inspect.isawaitable(value) else value


def permit_of(name: str, version: str, said: JsonObject, handler: Handler) -> tuple[str, str]:
    """The digest of a capability and what a permit to call it names."""
    try:
        source = inspect.getsource(handler)
    except (OSError, TypeError):
        source = getattr(handler, "__qualname__", repr(type(handler)))
    digest = digest_of({"name": name, "version": version, "said": said, "source": source})
    return digest, f"python:{name}@{digest}"
