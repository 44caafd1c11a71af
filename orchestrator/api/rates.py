"""How much one key or peer may ask, and what was refused before anybody knew who asked. Pure: `now` is passed in."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

_PEERS = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class KeyRates:
    """A token bucket for each key: `rate` a second, bursts of one second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.size = max(1.0, rate)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> tuple[float, float]:
        """Spend a token. Answers what is left, and the seconds to wait if there was none (else 0)."""
        bucket = self._buckets.setdefault(key, _Bucket(self.size, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > _PEERS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self.size, bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now
        if bucket.tokens < 1:
            return 0.0, (1 - bucket.tokens) / self.rate
        bucket.tokens -= 1
        return bucket.tokens, 0.0


class WrongKeys:
    """Wrong keys of each peer in the last minute."""

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, peer: str, now: float) -> float:
        """Count one. Answers 0, or the seconds until another is heard."""
        seen = self._seen.setdefault(peer, deque())
        self._seen.move_to_end(peer)
        if len(self._seen) > _PEERS:
            self._seen.popitem(last=False)
        while seen and seen[0] <= now - 60:
            seen.popleft()
        if len(seen) >= self._most:
            return seen[0] + 60 - now
        seen.append(now)
        return 0.0


class RefusalTally:
    """Refusals before authentication by peer and minute, so that a flood is one audit row and not a million."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], Counter[str]] = {}

    def add(self, peer: str, code: str, minute: int) -> None:
        """Count one refusal."""
        key = (peer, minute) if (peer, minute) in self._counts or len(self._counts) < _PEERS else ("others", minute)
        self._counts.setdefault(key, Counter())[code] += 1

    def take(self, before_minute: int | None = None) -> list[tuple[str, int, dict[str, int]]]:
        """Take out the minutes that are over, or all: peer, minute since the epoch, count by code."""
        done = [k for k in self._counts if before_minute is None or k[1] < before_minute]
        return [(*key, dict(self._counts.pop(key))) for key in done]
