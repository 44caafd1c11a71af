"""What the check of one invariant says."""

from collections.abc import Iterable
from dataclasses import dataclass

_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant: whether it holds (None: nothing here can break it yet), what was counted, what breaks it."""

    name: str
    says: str
    holds: bool | None
    counted: str
    broken: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        """In one line: what breaks it, else what it says."""
        if not self.broken:
            return f"{self.says} ({self.counted})"
        more = f" and {len(self.broken) - _MOST_TOLD} more" if len(self.broken) > _MOST_TOLD else ""
        return f"{'; '.join(self.broken[:_MOST_TOLD])}{more} ({self.counted})"


def judged(name: str, says: str, counted: str, broken: Iterable[str]) -> Finding:
    """A finding: it holds where nothing breaks it."""
    found = tuple(broken)
    return Finding(name, says, not found, counted, found)
