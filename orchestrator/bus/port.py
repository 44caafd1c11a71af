"""What every bus does, in one process or over a network."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from orchestrator.contracts.events import Event

Handler = Callable[[Any], Awaitable[Any]]
Listener = Callable[[Event], Awaitable[None] | None]


class Subscription(Protocol):
    """One listener's place on the bus."""

    name: str
    pattern: str
    missed: int
    failed: int

    def close(self) -> None:
        """Hear nothing more."""
        ...


class Bus(Protocol):
    """Two kinds of message: `ask` has one handler and an answer, `tell` many listeners and none (R2-12)."""

    def serve(self, address: str, handler: Handler) -> None:
        """Make `handler` the one that answers at `address`. Raises `ValueError` if there is one."""
        ...

    async def ask(self, address: str, message: Any, timeout_s: float | None = None) -> Any:
        """The handler's answer. Raises what it raises, `LookupError` without one, `TimeoutError` past the deadline."""
        ...

    def subscribe(self, pattern: str, listener: Listener, *, name: str, queue_size: int = 1000) -> Subscription:
        """Call `listener`, sync or async, with each event whose topic matches, in order, one at a time."""
        ...

    def listens(self, topic: str) -> bool:
        """Whether anybody would hear an event of this topic, so that nobody makes one in vain."""
        ...

    def tell(self, event: Event) -> None:
        """Hand an event to all that listen. Never waits, never raises."""
        ...
