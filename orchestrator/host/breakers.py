"""A breaker: a plugin that only fails is left alone for a while. Pure; `now` is in seconds of a monotonic clock."""

from enum import StrEnum


class Phase(StrEnum):
    """Closed lets all calls pass, open none, half-open one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after `failures` in a row; after `cooldown_s` one probe decides whether it closes again."""

    def __init__(self, failures: int, cooldown_s: float) -> None:
        self._most = failures
        self._cooldown_s = cooldown_s
        self._failed = 0
        self._opened_at = 0.0
        self.phase = Phase.CLOSED

    def admit(self, now: float) -> float | None:
        """None if a call may pass, otherwise the seconds after which to try again."""
        if self.phase is Phase.CLOSED:
            return None
        left = self._opened_at + self._cooldown_s - now
        if self.phase is Phase.HALF_OPEN or left > 0:
            return max(left, 0.1)
        self.phase = Phase.HALF_OPEN
        return None

    def succeeded(self) -> None:
        """A call ended well."""
        self._failed = 0
        self.phase = Phase.CLOSED

    def failed(self, now: float) -> None:
        """A call failed; one that began before the breaker opened prolongs nothing."""
        self._failed += 1
        if self.phase is Phase.HALF_OPEN or (self.phase is Phase.CLOSED and self._failed >= self._most):
            self.phase = Phase.OPEN
            self._opened_at = now

    def abandoned(self) -> None:
        """A call was given up by its caller and says nothing; an abandoned probe lets the next one try at once."""
        if self.phase is Phase.HALF_OPEN:
            self.phase = Phase.OPEN
