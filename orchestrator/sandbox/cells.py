"""Cells at rest: workers that ran a job and were told to wipe themselves, each only for whom it ran before.

A cell serves one key and subject alone (CONTRACT 4), so wiping protects from mistakes, never from strangers.
"""

from collections import OrderedDict
from dataclasses import dataclass

from orchestrator.sandbox.backends.port import Worker
from orchestrator.sandbox.jobs import WorkerClass


@dataclass(frozen=True, slots=True)
class Domain:
    """Whose code may share a cell: one owner's, sent with one key, of one subject."""

    owner: str
    key_id: str | None
    subject: str | None


class Cells:
    """Cells at rest, at most `most`, none longer than `idle_s`, none used more than `uses` times. Pure but for them."""

    def __init__(self, most: int, idle_s: float, uses: int) -> None:
        self._most = most
        self._idle_s = idle_s
        self._uses = uses
        self._resting: OrderedDict[Worker, tuple[Domain, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._resting)

    def take(self, domain: Domain, kind: WorkerClass) -> Worker | None:
        """The domain's cell of a class that has rested longest, so that its wipe is done if any is."""
        for worker, (whose, _) in self._resting.items():
            if whose == domain and worker.kind == kind and worker.alive:
                del self._resting[worker]
                return worker
        return None

    def give(self, worker: Worker, domain: Domain, now: float) -> list[Worker]:
        """Have a worker wiped and kept; those that have to go in its stead."""
        if worker.jobs >= self._uses or not worker.alive or self._most == 0:
            return [worker]
        worker.wipe()
        self._resting[worker] = domain, now
        return [self._resting.popitem(last=False)[0] for _ in range(len(self._resting) - self._most)]

    def expired(self, now: float) -> list[Worker]:
        """Take out those that rested too long, or died."""
        old = [w for w, (_, since) in self._resting.items() if now - since >= self._idle_s or not w.alive]
        for worker in old:
            del self._resting[worker]
        return old

    def clear(self) -> list[Worker]:
        """Take out all."""
        gone = list(self._resting)
        self._resting.clear()
        return gone
