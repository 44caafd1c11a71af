"""What the host needs of the floors above it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from orchestrator.host.calls import Call

EventListener = Callable[[dict[str, Any]], Awaitable[None]]
Record = Callable[[str, str, dict[str, Any]], Awaitable[None]]
"""`record(topic, subject, data)` writes an event of a plugin's life; `subject` is the plugin's name."""


class Services(Protocol):
    """The daemon as plugins reach it. Faults are `OrchestratorError`, and pass through a plugin that lets them."""

    async def run_code(self, call: Call, code: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Run `code` in the sandbox for the caller of `call`; fields and result as in CONTRACT 4."""
        ...

    async def query(self, call: Call, text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Send a query as the caller of `call`; fields and result as in CONTRACT 2."""
        ...

    async def publish(self, plugin: str, topic: str, data: Mapping[str, Any], call: Call | None) -> None:
        """Tell an event of `plugin`; `topic` already starts with `plugin.NAME.`."""
        ...

    def subscribe(self, plugin: str, pattern: str, listener: EventListener) -> Callable[[], None]:
        """Call `listener` with each matching event as JSON; the result ends the subscription."""
        ...
