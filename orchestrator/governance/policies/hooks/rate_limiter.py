"""`rate_limiter`: so many runs of one step's name within a minute for one user (R1-21)."""

from collections import deque
from typing import Any

from orchestrator.governance.policies.finding import Parts
from orchestrator.kernel.clock import Clock
from orchestrator.sdk.policies import PolicyHook, user_of

WINDOW_S = 60.0
MOST_KEYS = 10_000
"""Users and names that are counted at once; when there are more that count, nobody new gets on."""
_DENIED = {"allow": False, "reason": "Rate limit exceeded"}
_Key = tuple[str, str, str]


def make(parts: Parts) -> PolicyHook:
    """The hook, by the setting `policy_rate_per_minute`."""
    return RateLimiter(parts.clock, parts.settings.policy_rate_per_minute)


class RateLimiter(PolicyHook):
    """Counts in a sliding window; a daemon that starts counts from nothing."""

    name = "rate_limiter"

    def __init__(self, clock: Clock, most: int) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        self._seen: dict[_Key, deque[float]] = {}

    async def pre_execution(self, step: Any, context: Any) -> Any:
        """On the loop, so that two at once are counted one after the other."""
        now = self._clock.monotonic()
        key = (str(context.get("identityId")), user_of(context), step["name"])
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= MOST_KEYS and not self._forget(now):
                return _DENIED
            seen = self._seen[key] = deque()
        while seen and seen[0] <= now - WINDOW_S:
            seen.popleft()
        if len(seen) >= self._most:
            return _DENIED
        seen.append(now)
        return {"allow": True}

    def _forget(self, now: float) -> bool:
        """Drop what counts no more; whether there is room then."""
        self._seen = {key: seen for key, seen in self._seen.items() if seen and seen[-1] > now - WINDOW_S}
        return len(self._seen) < MOST_KEYS
