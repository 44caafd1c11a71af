"""What the host hands to `init(manager)`: a plugin's only way to the rest of the daemon (CONTRACT 3)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from orchestrator.sdk.records import Record


class SandboxDoor(Protocol):
    """Runs code in a container without a network, under the permit of the query being answered."""

    async def run(self, code: str, **fields: Any) -> Record:
        """Run `code`; `fields` and the result are those of `POST /v1/sandbox/executions`."""
        ...

    def run_blocking(self, code: str, **fields: Any) -> Record:
        """The same for sync code."""
        ...


class Manager(Protocol):
    """The daemon as one plugin sees it. Each async method has a twin `NAME_blocking` for sync code."""

    sandbox: SandboxDoor
    config: Mapping[str, Any]
    secrets: Mapping[str, str]
    log: Any

    async def query(self, text: str, **fields: Any) -> Record:
        """Send a query as the caller of the query being answered; the result is the answer's object."""
        ...

    def query_blocking(self, text: str, **fields: Any) -> Record: ...

    async def publish(self, topic: str, data: Mapping[str, Any] | None = None) -> None:
        """Tell an event on the bus, under `plugin.NAME.` unless the topic already starts so."""
        ...

    def publish_blocking(self, topic: str, data: Mapping[str, Any] | None = None) -> None: ...

    async def subscribe(self, pattern: str, listener: Callable[[Record], Awaitable[None] | None]) -> None:
        """Call `listener` for each event whose topic matches (`query.*`), until this version is replaced."""
        ...

    def subscribe_blocking(self, pattern: str, listener: Callable[[Record], Awaitable[None] | None]) -> None: ...

    def capabilities(self) -> list[Record]:
        """The plugins that are there, as `GET /plugins` lists them."""
        ...
