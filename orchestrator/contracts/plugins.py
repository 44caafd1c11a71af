"""What the outside sees of a plugin (CONTRACT 3)."""

from typing import Literal

from pydantic import Field

from orchestrator.contracts.model import View

State = Literal["active", "canary", "broken", "disabled", "quarantined"]
Isolation = Literal["inline", "process", "sandbox"]
Effects = Literal["pure", "versioned", "compensated", "deferred"]


class PluginError(View):
    """Why a plugin, or its newest file, does not serve."""

    message: str
    traceback: str | None = Field(None, description="Its own frames; admins only.")


class PluginView(View):
    """One plugin. `error` beside state `active` means that the last good version serves in place of a broken file."""

    name: str
    version: str
    description: str
    state: State
    intents: list[str]
    keywords: list[str]
    examples: list[str]
    isolation: Isolation
    effects: Effects
    generation: int
    origin: str = Field(description="folder:NAME.py, or entry_point:DISTRIBUTION")
    digest: str = Field(description="SHA-256 over its files: what a standing approval is bound to.")
    error: PluginError | None
    calls: int
    failures: int
    p50_ms: float | None
