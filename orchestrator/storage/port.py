"""What every store does. A transaction is a synchronous function, so that a batch of them can share one commit."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
Tx = Connection


class Store(Protocol):
    """Rows, durable when `write` returns."""

    def submit(self, work: Callable[[Tx], T], after: Callable[[T], None] | None = None) -> "asyncio.Future[T]":
        """Queue `work` as a transaction, in order; the future has its result once that is committed and on disk.

        `after` is called with the result on the event loop, in commit order, even if nobody waits any more.
        The future raises what `work` raises, with nothing written, or `Unavailable` (`store_unavailable`).
        """
        ...

    async def write(self, work: Callable[[Tx], T], after: Callable[[T], None] | None = None) -> T:
        """`submit`, and wait."""
        ...

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` against what is committed."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, and close."""
        ...


Rows = list[dict[str, Any]]
