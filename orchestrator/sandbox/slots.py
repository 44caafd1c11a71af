"""Who runs next: so many at a time, a bounded queue, and turns by owner.

Nobody's thousand jobs hold up another's one.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.contracts.errors import TooMany


class Turn:
    """One who waits: what comes when it is its turn, and how many bytes it keeps in memory until then."""

    def __init__(self, weight: int) -> None:
        self.come: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.weight = weight


class Slots:
    """`size` slots. Those who wait are served owner by owner in turn, and each owner's in their order."""

    def __init__(self, size: int, queue_size: int, queue_per_owner: int, queue_bytes: int = 2**30) -> None:
        self._free = size
        self._size = size
        self._queue_size = queue_size
        self._queue_per_owner = queue_per_owner
        self._queue_bytes = queue_bytes
        self._waiting: OrderedDict[str, deque[Turn]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return self._size - self._free

    @asynccontextmanager
    async def hold(self, owner: str, weight: int = 0) -> AsyncIterator[None]:
        """Wait for a slot and hold it; `weight` bytes wait along. Raises `TooMany` where the queue is full."""
        await self._take(owner, weight)
        try:
            yield
        finally:
            self._give()

    async def _take(self, owner: str, weight: int) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn = self._enqueue(owner, weight)
        try:
            await turn.come
        except asyncio.CancelledError:
            if turn.come.done() and not turn.come.cancelled():
                self._give()  # the turn had just come
            else:
                self._leave(owner, turn)
            raise

    def _enqueue(self, owner: str, weight: int) -> Turn:
        mine = len(self._waiting.get(owner, ()))
        heavy = weight + sum(turn.weight for queue in self._waiting.values() for turn in queue) > self._queue_bytes
        if heavy or self.waiting >= self._queue_size or mine >= self._queue_per_owner:
            whose = "of one identity " if mine >= self._queue_per_owner else ""
            raise TooMany(f"too many executions {whose}wait already", retry_after_s=1 + self.waiting / self._size)
        turn = Turn(weight)
        self._waiting.setdefault(owner, deque()).append(turn)
        return turn

    def _leave(self, owner: str, turn: Turn) -> None:
        """Forget a turn that nobody waits for any more, unless it was passed over already."""
        queue = self._waiting.get(owner, deque())
        if turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[owner]

    def _give(self) -> None:
        """Hand the slot to the next who still waits, or keep it."""
        while self._waiting:
            turn = self._next()
            if not turn.come.done():
                turn.come.set_result(None)
                return
        self._free += 1

    def _next(self) -> Turn:
        """The next owner's first turn; that owner's others go behind everybody else."""
        owner, queue = self._waiting.popitem(last=False)
        turn = queue.popleft()
        if queue:
            self._waiting[owner] = queue
        return turn
