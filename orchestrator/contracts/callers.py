"""Who asks: an identity, the key it came with, and what that key may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from orchestrator.contracts.costs import Quota
from orchestrator.contracts.executions import Kernel


class Scope(StrEnum):
    """What a key may do; `admin` implies all others."""

    QUERY = "query"
    EXECUTE = "execute"
    COMMAND = "command"
    APPROVE = "approve"
    EVOLVE = "evolve"
    ADMIN = "admin"


LOOPBACK = "loopback"
"""Owner of everything that callers without a key made. A caller of its own, not an identity."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated caller, for the length of one request.

    `owner` is what its creations belong to: its identity's id, or `LOOPBACK`. `kernel` is what its key demands of the
    sandbox: with `separate`, its code runs behind a kernel of its own or not at all. `quota` is the most that its key
    may spend.
    """

    owner: str
    kind: Literal["person", "service", "loopback"]
    scopes: frozenset[Scope]
    key_id: str | None = None
    source: Literal["http", "plugin", "python", "daemon"] = "http"
    kernel: Kernel = "shared"
    quota: Quota | None = None

    def may(self, scope: Scope) -> bool:
        """Whether its key carries `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def sees(self, owner: str | None) -> bool:
        """Whether it may see what belongs to `owner` (CONTRACT 1, "Whose")."""
        return owner == self.owner or Scope.ADMIN in self.scopes
