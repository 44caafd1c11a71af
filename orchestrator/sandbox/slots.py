"""Who runs next: so many at a time in so much memory, a bounded queue, and turns by owner.

Nobody's thousand jobs hold up another's one, and no batch holds up what somebody waits for.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Literal

from orchestrator.contracts.errors import TooMany

Priority = Literal["interactive", "batch"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much runs and waits: jobs and bytes of memory at a time, then jobs in all, of one owner, and their bytes."""

    jobs: int
    memory_bytes: int
    queue: int
    queue_per_owner: int
    queue_bytes: int


class Turn:
    """A place in the queue, and then a slot; `come` is done when it is its turn. Whoever has one gives it back."""

    def __init__(self, slots: "Slots", owner: str, weight: int, memory_bytes: int, priority: Priority) -> None:
        self.come: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.owner = owner
        self.weight = weight
        self.memory_bytes = memory_bytes
        self.priority = priority
        self._slots = slots

    def leave(self) -> None:
        """Give the slot back, or the place in the queue where its turn had not come."""
        self._slots.leave(self)


class Slots:
    """Those who wait are served owner by owner in turn, and each owner's in their order; a batch when nobody waits."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._holding: dict[Turn, None] = {}
        self._lanes: dict[Priority, OrderedDict[str, deque[Turn]]] = {
            "interactive": OrderedDict(), "batch": OrderedDict()
        }  # fmt: skip

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(queue) for lane in self._lanes.values() for queue in lane.values())

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return len(self._holding)

    def join(self, owner: str, weight: int = 0, memory_bytes: int = 0, priority: Priority = "interactive") -> Turn:
        """A turn, which may have come already; `weight` bytes wait along. Raises `TooMany` where the queue is full."""
        turn = Turn(self, owner, weight, memory_bytes, priority)
        if not self.waiting and self._fits(turn):
            self._give(turn)
            return turn
        lane = self._lanes[priority]
        mine = len(lane.get(owner, ()))
        heavy = weight + self._waiting_bytes() > self._capacity.queue_bytes
        if heavy or self.waiting >= self._capacity.queue or mine >= self._capacity.queue_per_owner:
            whose = "of one key " if mine >= self._capacity.queue_per_owner else ""
            raise TooMany(f"too many executions {whose}wait already", retry_after_s=self.patience_s())
        lane.setdefault(owner, deque()).append(turn)
        self._serve()
        return turn

    def patience_s(self) -> float:
        """A guess at when it may be worth to ask again."""
        return 1 + self.waiting / self._capacity.jobs

    def leave(self, turn: Turn) -> None:
        """Take a turn back, wherever it is."""
        if turn in self._holding:
            del self._holding[turn]
        else:
            self._forget(turn)
        self._serve()

    def _serve(self) -> None:
        """Give slots to those whose turn it is, as long as the next one fits."""
        for lane in self._lanes.values():
            while lane and self._fits(turn := next(iter(lane.values()))[0]):
                owner, queue = lane.popitem(last=False)
                queue.popleft()
                if queue:
                    lane[owner] = queue  # behind all other owners
                self._give(turn)
            if lane:
                return  # who comes after must not overtake by being smaller

    def _give(self, turn: Turn) -> None:
        self._holding[turn] = None
        if not turn.come.done():
            turn.come.set_result(None)

    def _fits(self, turn: Turn) -> bool:
        """Whether a job can begin now. One that is larger than all memory runs alone; a batch leaves one slot free."""
        if not self._holding:
            return True
        jobs = self._capacity.jobs - (1 if turn.priority == "batch" else 0)
        used = sum(held.memory_bytes for held in self._holding)
        return len(self._holding) < jobs and used + turn.memory_bytes <= self._capacity.memory_bytes

    def _waiting_bytes(self) -> int:
        return sum(turn.weight for lane in self._lanes.values() for queue in lane.values() for turn in queue)

    def _forget(self, turn: Turn) -> None:
        lane = self._lanes[turn.priority]
        queue = lane.get(turn.owner, deque())
        if turn in queue:
            queue.remove(turn)
            if not queue:
                del lane[turn.owner]
