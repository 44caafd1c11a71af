"""Watches a job from the host, where its runner has no counts that it could trust: processor time, and memory's end."""

import asyncio
from collections.abc import Callable

from orchestrator.sandbox.backends.gvisor import Counts, Group
from orchestrator.sandbox.jobs import Evidence

LOOK_S = 0.02
"""How often it looks: twice in the 40 ms at the least that a dead container's group stays for."""


class Meter:
    """One worker's. `ran_out_of_memory` says whether the kernel was seen to kill for memory."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._timer: asyncio.TimerHandle | None = None
        self._before: Counts | None = None
        self.ran_out_of_memory = False

    def begin(self) -> None:
        """Count from now on: before the job is handed over, since a short one has ended when its start is heard of."""
        self._before = self._group.counts()

    def watch(self, cpu_ms: int, over: Callable[[], None] | None) -> None:
        """Look on until `stop`; call `over` once if more than `cpu_ms` is used."""
        now = self._group.counts()
        if now is None or self._before is None:
            return
        self.ran_out_of_memory |= now.oom_kills > self._before.oom_kills
        if over is not None and now.cpu_ns - self._before.cpu_ns > cpu_ms * 1e6:
            over()
            over = None
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.watch, cpu_ms, over)

    def end(self, seen: Evidence) -> Evidence:
        """The evidence with the host's counts in it."""
        now, before = self._group.counts(), self._before
        if now is None or before is None:
            return seen
        peak = now.peak_bytes if now.peak_bytes > before.peak_bytes else seen.peak_memory_bytes
        return seen.model_copy(update={"cpu_ms": (now.cpu_ns - before.cpu_ns) / 1e6, "peak_memory_bytes": peak})

    def stop(self) -> None:
        """Look no more, whatever came of the job."""
        if self._timer is not None:
            self._timer.cancel()
