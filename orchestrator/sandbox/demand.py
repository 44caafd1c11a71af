"""How many fresh workers of which class to keep armed, from what was asked for lately: pure, `now` is passed in.

As many are wanted as were taken at most within the time that one takes to be replaced: so many must be at hand for the
next such burst to find them. What was not asked for any more is forgotten, and the number falls again.
"""

from collections import deque
from dataclasses import dataclass, field

from orchestrator.sandbox.jobs import WorkerClass

WINDOW_S = 60.0
"""How long something that was asked for counts."""
POPULAR = 3
"""How often an unusual class must have been asked for within the window before any of it are armed."""
_SHORTEST_REFILL_S = 0.25
_SMOOTHING = 0.2
_MOST_NOTED = 256


@dataclass(slots=True)
class _Takes:
    """Of one class: when workers were taken lately, and with how many others in the time of one refill."""

    times: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_NOTED))
    bursts: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST_NOTED))

    def note(self, now: float, refill_s: float) -> None:
        """One was taken just now."""
        together = 1
        for time in reversed(self.times):
            if now - time > refill_s:
                break
            together += 1
        self.times.append(now)
        self.bursts.append(together)

    def forget(self, before: float) -> None:
        """Let go of what was earlier than that."""
        while self.times and self.times[0] < before:
            self.times.popleft()
            self.bursts.popleft()


class Demand:
    """What was taken lately. `least` of the usual class are always wanted, and never more than `most` in all."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = max(least, most)
        self._takes: dict[WorkerClass, _Takes] = {}
        self._refill_s = _SHORTEST_REFILL_S

    def took(self, kind: WorkerClass, now: float) -> None:
        """A fresh worker was asked for, whether one was armed or not."""
        self._takes.setdefault(kind, _Takes()).note(now, self._refill_s)

    def replaced(self, took_s: float) -> None:
        """One that was taken has been replaced after this time."""
        self._refill_s += _SMOOTHING * (max(took_s, _SHORTEST_REFILL_S) - self._refill_s)

    def clear(self) -> None:
        """Forget all that was taken."""
        self._takes.clear()

    def wanted(self, usual: WorkerClass, now: float) -> dict[WorkerClass, int]:
        """How many of each class to keep armed now: the usual class first, then the most popular of the others."""
        for kind, takes in list(self._takes.items()):
            takes.forget(now - WINDOW_S)
            if not takes.times:
                del self._takes[kind]
        mine = self._takes.get(usual)
        wanted = {usual: min(self._most, max(self._least, max(mine.bursts, default=0) if mine else 0))}
        left = self._most - wanted[usual]
        for kind, takes in sorted(self._takes.items(), key=lambda item: -len(item[1].times)):
            if kind != usual and len(takes.times) >= POPULAR and left > 0:
                wanted[kind] = min(left, max(takes.bursts))
                left -= wanted[kind]
        return wanted
