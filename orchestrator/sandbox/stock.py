"""Fresh workers of one class: those that are armed, those that are being made, and who waits for one.

Whoever waits gets the next that is ready, whatever it was begun for. It starts and removes nothing itself.
"""

import asyncio
from collections import deque

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox.backends.port import Worker


class Stock:
    """What there is of one class. Workers that it lets go are the caller's to remove."""

    def __init__(self) -> None:
        self._armed: deque[tuple[float, Worker]] = deque()
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._making = 0

    @property
    def armed(self) -> int:
        """How many workers wait for a job."""
        return sum(worker.alive for _, worker in self._armed)

    @property
    def empty(self) -> bool:
        """Whether there is nothing of this class, and nothing on its way."""
        return not (self._armed or self._waiting or self._making)

    def take(self) -> tuple[float, Worker] | None:
        """The worker that was armed first, and when that was; it may have died since."""
        return self._armed.popleft() if self._armed else None

    def surplus(self, wanted: int) -> list[Worker]:
        """Let go of the oldest beyond so many."""
        return [self._armed.popleft()[1] for _ in range(len(self._armed) - wanted)]

    def missing(self, wanted: int) -> int:
        """How many more have to be made so that so many are armed when all who wait have theirs."""
        return max(0, wanted + len(self._waiting) - len(self._armed) - self._making)

    def making(self) -> None:
        """One more is being made."""
        self._making += 1

    def made(self, worker: Worker, now: float) -> bool:
        """One is ready: it goes to who has waited longest, or is armed. Whether it was armed."""
        self._making -= 1
        if (waiter := self._first()) is not None:
            waiter.set_result(worker)
            return False
        self._armed.append((now, worker))
        return True

    def failed(self, fault: Unavailable) -> None:
        """One could not be made: who has waited longest is told so, unless there is still one for each who waits."""
        self._making -= 1
        if self._making < len(self._waiting) and (waiter := self._first()) is not None:
            waiter.set_exception(fault)

    def join(self) -> asyncio.Future[Worker]:
        """Wait for the next worker that is ready; the future fails with `Unavailable` where none can be made."""
        self._waiting.append(asyncio.get_running_loop().create_future())
        return self._waiting[-1]

    def leave(self, waiter: asyncio.Future[Worker]) -> Worker | None:
        """Wait no longer; the worker that came at the same moment, if one did."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        return None if waiter.cancelled() or not waiter.done() or waiter.exception() else waiter.result()

    def _first(self) -> asyncio.Future[Worker] | None:
        """Who has waited longest and still does."""
        while self._waiting:
            if not (waiter := self._waiting.popleft()).done():
                return waiter
        return None
