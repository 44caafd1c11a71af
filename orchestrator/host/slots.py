"""What the host knows of one place where a plugin lies: the files last seen, the version in service, the error."""

import asyncio
from collections import deque
from statistics import median
from typing import Any

from orchestrator.contracts.plugins import PluginError, PluginView, State
from orchestrator.host.breakers import Breaker
from orchestrator.host.generations import Generation
from orchestrator.host.manifests import Hint, Manifest
from orchestrator.host.reading import Signature
from orchestrator.host.settings import HostSettings
from orchestrator.host.sources import Snapshot, Source
from orchestrator.host.tables import Entry, capability_of

_KEPT = 200


class Counts:
    """Calls, failures, and the times of the last 200 calls in milliseconds."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self._times: deque[float] = deque(maxlen=_KEPT)

    def add(self, ms: float, *, failed: bool) -> None:
        """Count one call."""
        self.calls += 1
        self.failures += failed
        self._times.append(ms)

    def p50_ms(self) -> float | None:
        """The median of the last calls' times, or None before the first."""
        return round(median(self._times), 3) if self._times else None


class Slot:
    """One plugin file, package or distribution, through all its versions."""

    def __init__(self, source: Source, settings: HostSettings) -> None:
        self._settings = settings
        self.source = source
        self.signature: Signature | None = None
        self.snapshot: Snapshot | None = None
        self.hint = Hint(source.name, "inline", Manifest(name="unnamed", timeout_s=settings.timeout_s))
        self.generation: Generation | None = None
        self.generations = 0
        self.error: PluginError | None = PluginError(message="it is still being imported")
        self.disabled = False
        self.conflict: str | None = None
        self.missing_since: float | None = None
        self.loading: asyncio.Task[Any] | None = None
        self.counts = Counts()
        self.breaker, self.route_breaker = self._breaker(), self._breaker()

    def serve(self, generation: Generation) -> Generation | None:
        """Put a version into service; answers the one that it replaces."""
        replaced, self.generation = self.generation, generation
        self.error, self.conflict = None, None
        self.breaker, self.route_breaker = self._breaker(), self._breaker()
        return replaced

    def withdraw(self) -> Generation | None:
        """Take the version out of service, and answer it."""
        withdrawn, self.generation = self.generation, None
        return withdrawn

    @property
    def name(self) -> str:
        """The name that it is listed by: that of the version in service, else what its file says, else the file's.

        A second plugin of one name goes by its file's, lest it be taken for the first.
        """
        if self.generation is not None:
            return self.generation.manifest.name
        return self.source.name if self.conflict is not None else self.hint.name

    @property
    def state(self) -> State:
        """Whether it serves, and if not, why not."""
        if self.disabled:
            return "disabled"
        return "active" if self.generation is not None else "broken"

    def _manifest(self) -> Manifest:
        return self.generation.manifest if self.generation is not None else self.hint.manifest

    def _digest(self) -> str:
        snapshot = self.generation.snapshot if self.generation is not None else self.snapshot
        return snapshot.digest if snapshot is not None else ""

    def _breaker(self) -> Breaker:
        return Breaker(self._settings.breaker_failures, self._settings.breaker_cooldown_s)

    def entry(self) -> Entry:
        """As routing sees it."""
        manifest = self._manifest()
        hooks = self.generation.version.hooks if self.generation is not None else frozenset()
        return Entry(
            self.name, self.state, manifest.version, manifest.intents, manifest.keywords, manifest.examples,
            self._digest(), capability_of(self.name, self._digest()), "handle" in hooks, "route" in hooks,
            manifest.description, manifest.effects, manifest.timeout_s,
        )  # fmt: skip

    def view(self, *, admin: bool) -> PluginView:
        """As clients see it; the traceback is for admins."""
        manifest = self._manifest()
        error = self.error if not self.disabled else None
        if error is not None and not admin:
            error = PluginError(message=error.message)
        return PluginView(
            name=self.name, version=manifest.version, description=manifest.description, state=self.state,
            intents=list(manifest.intents), keywords=list(manifest.keywords), examples=list(manifest.examples),
            isolation=manifest.isolation, effects=manifest.effects, generation=self.generations,
            origin=self.source.origin, digest=self._digest(), error=error, calls=self.counts.calls,
            failures=self.counts.failures, p50_ms=self.counts.p50_ms(),
        )  # fmt: skip
