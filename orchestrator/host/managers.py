"""The manager that `init(manager)` gets: the daemon's services, bound to one version of one plugin (CONTRACT 3).

What needs a permit acts for the query being answered and for nobody else: the call is found by context, and without
one the door stays shut.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from orchestrator.host.calls import NoCall, current_call
from orchestrator.host.ports import Services
from orchestrator.kernel.clock import Clock
from orchestrator.sdk.records import Record

T = TypeVar("T")
Listener = Callable[[Record], Awaitable[None] | None]
Deliver = Callable[[Listener, dict[str, Any]], Awaitable[None]]
_PATIENCE_S = 30.0


class Loop:
    """The event loop that services run on, reached from wherever plugin code happens to be."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` there, from this loop or from one that the plugin runs itself."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def block(self, name: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait in a thread for work there, no longer than the call's deadline.

        Raises `RuntimeError` on the event loop, which would wait for itself, and `TimeoutError`.
        """
        if threading.get_ident() == self._thread:
            raise RuntimeError(f"manager.{name}_blocking would stop the event loop; here: await manager.{name}(…)")
        call = current_call.get()
        left = _PATIENCE_S if call is None else max(0.0, call.deadline - self._clock.monotonic())
        future = asyncio.run_coroutine_threadsafe(start(), self._loop)
        try:
            return future.result(left)
        except BaseException:
            future.cancel()
            raise


class Sandbox:
    """`manager.sandbox`: runs code in a container without a network."""

    def __init__(self, services: Services, loop: Loop) -> None:
        self._services = services
        self._loop = loop

    async def run(self, code: str, **fields: Any) -> Record:
        """Run `code`; fields and result are those of an execution (CONTRACT 4)."""
        call = _call("manager.sandbox.run")
        return Record(await self._loop.run(_coroutine(self._services.run_code(call, code, fields))))

    def run_blocking(self, code: str, **fields: Any) -> Record:
        """The same for sync code."""
        return self._loop.block("sandbox.run", lambda: self.run(code, **fields))


class HostManager:
    """One plugin version's way to the daemon; `end` takes it away."""

    def __init__(
        self, plugin: str, services: Services, loop: Loop, log: Any, capabilities: Callable[[], list[dict[str, Any]]],
        config: Mapping[str, Any], secrets: Mapping[str, str], deliver: Deliver,
    ) -> None:  # fmt: skip
        self._plugin = plugin
        self._services = services
        self._loop = loop
        self._capabilities = capabilities
        self._deliver = deliver
        self._endings: list[Callable[[], None]] = []
        self._ended = False
        self.sandbox = Sandbox(services, loop)
        self.config: Mapping[str, Any] = MappingProxyType(dict(config))
        self.secrets: Mapping[str, str] = _Secrets(secrets)
        self.log = log

    async def query(self, text: str, **fields: Any) -> Record:
        """Send a query as the caller of the query being answered."""
        call = _call("manager.query")
        return Record(await self._loop.run(_coroutine(self._services.query(call, text, fields))))

    def query_blocking(self, text: str, **fields: Any) -> Record:
        """The same for sync code."""
        return self._loop.block("query", lambda: self.query(text, **fields))

    async def publish(self, topic: str, data: Mapping[str, Any] | None = None) -> None:
        """Tell an event, under `plugin.NAME.` unless the topic already starts so."""
        prefix = f"plugin.{self._plugin}."
        full = topic if topic.startswith(prefix) else prefix + topic
        told = self._services.publish(self._plugin, full, dict(data or {}), current_call.get())
        await self._loop.run(_coroutine(told))

    def publish_blocking(self, topic: str, data: Mapping[str, Any] | None = None) -> None:
        """The same for sync code."""
        self._loop.block("publish", lambda: self.publish(topic, data))

    async def subscribe(self, pattern: str, listener: Listener) -> None:
        """Call `listener` with each matching event until this version of the plugin is replaced."""
        await self._loop.run(self._subscribe(pattern, listener))

    def subscribe_blocking(self, pattern: str, listener: Listener) -> None:
        """The same for sync code."""
        self._loop.block("subscribe", lambda: self.subscribe(pattern, listener))

    def capabilities(self) -> list[Record]:
        """The plugins that are there, as `GET /plugins` lists them."""
        return [Record(view) for view in self._capabilities()]

    def end(self) -> None:
        """This version is over: its subscriptions end."""
        self._ended = True
        while self._endings:
            self._endings.pop()()

    async def _subscribe(self, pattern: str, listener: Listener) -> None:
        if self._ended:
            raise RuntimeError("this version of the plugin has been replaced")
        if not callable(listener):
            raise TypeError("a listener is a function of one event")

        async def deliver(event: dict[str, Any]) -> None:
            await self._deliver(listener, event)

        self._endings.append(self._services.subscribe(self._plugin, pattern, deliver))


class _Secrets(dict[str, str]):
    """Secrets by name. Printing them by accident shows names alone."""

    def __repr__(self) -> str:
        return f"secrets({', '.join(sorted(self))})"

    __str__ = __repr__


def _call(what: str) -> Any:
    call = current_call.get()
    if call is None:
        raise NoCall(what)
    return call


async def _coroutine(work: Awaitable[T]) -> T:
    return await work
