"""What every store does. A transaction is a synchronous function, so that a batch of them can share one commit."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
Tx = Connection
Part = tuple[Callable[[Tx, list[Any]], None], Any]
"""A bulk writer and one item for it: called once a commit, with the items of all transactions that share it."""


class Store(Protocol):
    """Rows, durable when `write` returns."""

    @property
    def fault(self) -> str | None:
        """Why nothing could be written of late; None while writing works."""
        ...

    def now(self, tx: Tx) -> str:
        """The store's own time, RFC 3339 with milliseconds: what deadlines in rows are judged by (REQUIREMENTS 3.3)."""
        ...

    def submit(
        self, work: Callable[[Tx], T] | None, *parts: Part, after: Callable[[], None] | None = None
    ) -> "asyncio.Future[T]":
        """Queue a transaction, in order: `work`, then its parts. The future has the result once that is on disk.

        `after` is called on the event loop, in commit order, even if nobody waits any more. The future raises what
        `work` raises, with nothing written, or `Unavailable` (`store_unavailable`). `work` may be run again after a
        roll-back, so it does nothing but read and write.
        """
        ...

    async def write(self, work: Callable[[Tx], T]) -> T:
        """`submit`, and wait."""
        ...

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` against what is committed."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, and close."""
        ...
