"""What routing needs to know of all plugins: an immutable table, replaced whole when anything changes."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.contracts.plugins import Effects, State


@dataclass(frozen=True, slots=True)
class Entry:
    """One plugin. `capability` is what a permit for it names; `handles` and `routes` say which hooks it has."""

    name: str
    state: State
    version: str
    intents: tuple[str, ...]
    keywords: tuple[str, ...]
    examples: tuple[str, ...]
    digest: str
    capability: str
    handles: bool
    routes: bool
    description: str = ""
    effects: Effects = "pure"
    timeout_s: float = 30.0


Table = Mapping[str, Entry]
"""By name. The same object as long as nothing has changed, so an index over it may be kept by its identity."""


def capability_of(name: str, digest: str) -> str:
    """What a permit to call a plugin at one digest names (X-01)."""
    return f"plugin:{name}@{digest}"
