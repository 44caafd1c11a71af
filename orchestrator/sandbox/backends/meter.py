"""Watches a job's processor time from the host, where the runner has no counts that it could trust."""

import asyncio
from collections.abc import Callable

from orchestrator.sandbox.backends.gvisor import Group
from orchestrator.sandbox.jobs import Evidence

_SHORTEST_LOOK_S = 0.005


class Meter:
    """One worker's. It looks when the limit could at the earliest be reached, not in a tight loop."""

    def __init__(self, group: Group, cpus: float) -> None:
        self._group = group
        self._cpus = cpus
        self._timer: asyncio.TimerHandle | None = None
        self._before: tuple[int, int] | None = None

    def begin(self) -> None:
        """Count from now on: before the job is handed over, since a short one has ended when its start is heard of."""
        self._before = self._counts()

    def watch(self, cpu_ms: int, over: Callable[[], None]) -> None:
        """Call `over` once if more than `cpu_ms` is used."""
        now = self._counts()
        if now is None or self._before is None:
            return
        left_s = cpu_ms / 1e3 - (now[0] - self._before[0]) / 1e9
        if left_s <= 0:
            over()
            return
        pause_s = max(left_s / self._cpus, _SHORTEST_LOOK_S)
        self._timer = asyncio.get_running_loop().call_later(pause_s, self.watch, cpu_ms, over)

    def end(self, seen: Evidence) -> Evidence:
        """Stop; the evidence with the host's counts in it."""
        self.stop()
        now, before = self._counts(), self._before
        if now is None or before is None:
            return seen
        peak = now[1] if now[1] > before[1] else seen.peak_memory_bytes
        return seen.model_copy(update={"cpu_ms": (now[0] - before[0]) / 1e6, "peak_memory_bytes": peak})

    def stop(self) -> None:
        """Stop watching, whatever came of the job."""
        if self._timer is not None:
            self._timer.cancel()

    def _counts(self) -> tuple[int, int] | None:
        """Processor time and the peak of memory; None once the container is gone, as the stream tells."""
        try:
            return self._group.cpu_ns(), self._group.peak_bytes()
        except OSError:
            return None
