"""The bus of one process: a bounded queue and a task for each listener."""

import asyncio
import inspect
from collections import deque

import structlog

from orchestrator.bus import topics
from orchestrator.bus.port import Handler, Listener
from orchestrator.contracts.events import Event
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor

log = structlog.get_logger("bus")


class LocalSubscription:
    """One listener: a slow one fills its own queue and then misses events, which are counted and readable."""

    def __init__(self, bus: "LocalBus", pattern: str, listener: Listener, name: str, queue_size: int) -> None:
        self.name = name
        self.pattern = pattern
        self.missed = 0
        self.failed = 0
        self._bus = bus
        self._listener = listener
        self._queue: deque[Event] = deque()
        self._queue_size = queue_size
        self._wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def offer(self, event: Event) -> bool:
        """Queue an event, or count it as missed."""
        if len(self._queue) >= self._queue_size:
            self.missed += 1
            return False
        self._queue.append(event)
        self._wake.set()
        return True

    def close(self) -> None:
        self._bus.forget(self)
        if self.task is not None:
            self.task.cancel()

    async def deliver(self) -> None:
        """Call the listener for ever, one event at a time."""
        while True:
            while self._queue:
                await self._call(self._queue.popleft())
            self._wake.clear()
            await self._wake.wait()

    async def _call(self, event: Event) -> None:
        try:
            outcome = self._listener(event)
            if inspect.isawaitable(outcome):
                await outcome
        except Exception:
            self.failed += 1
            log.warning("bus.listener_failed", subscriber=self.name, topic=event.topic, exc_info=True)


class LocalBus:
    """See `port.Bus`."""

    def __init__(self, supervisor: Supervisor, metrics: Metrics) -> None:
        self._supervisor = supervisor
        self._metrics = metrics
        self._handlers: dict[str, Handler] = {}
        self._subscriptions: list[LocalSubscription] = []
        self._by_topic: dict[str, list[LocalSubscription]] = {}

    @property
    def subscriptions(self) -> list[LocalSubscription]:
        """All listeners, with what they missed."""
        return list(self._subscriptions)

    def serve(self, address: str, handler: Handler) -> None:
        if address in self._handlers:
            raise ValueError(f"{address} is served already")
        self._handlers[address] = handler

    async def ask(self, address: str, message: object, timeout_s: float | None = None) -> object:
        handler = self._handlers.get(address)
        if handler is None:
            raise LookupError(f"nobody serves {address}")
        if timeout_s is None:
            return await handler(message)
        async with asyncio.timeout(timeout_s):
            return await handler(message)

    def subscribe(self, pattern: str, listener: Listener, *, name: str, queue_size: int = 1000) -> LocalSubscription:
        if not topics.is_pattern(pattern):
            raise ValueError(f"{pattern!r} is no topic pattern: words joined by dots, `*` for one, a last `>` for more")
        subscription = LocalSubscription(self, pattern, listener, name, queue_size)
        subscription.task = self._supervisor.child(f"bus:{name}", subscription.deliver())
        self._subscriptions.append(subscription)
        self._by_topic.clear()
        return subscription

    def forget(self, subscription: LocalSubscription) -> None:
        """Take a closed subscription off the list."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._by_topic.clear()

    def listens(self, topic: str) -> bool:
        return bool(self._listeners(topic))

    def tell(self, event: Event) -> None:
        for subscription in self._listeners(event.topic):
            if not subscription.offer(event):
                self._metrics.events_missed.labels(subscription.name).inc()

    def _listeners(self, topic: str) -> list[LocalSubscription]:
        found = self._by_topic.get(topic)
        return self._route(topic) if found is None else found

    def _route(self, topic: str) -> list[LocalSubscription]:
        if len(self._by_topic) > 10_000:  # topics of plugins are theirs to invent
            self._by_topic.clear()
        listeners = [s for s in self._subscriptions if topics.matches(s.pattern, topic)]
        self._by_topic[topic] = listeners
        return listeners
