"""The whole configuration: each room's own settings under the room's name."""

from typing import Any, Literal

from pydantic import Field

from orchestrator.api.settings import ApiSettings
from orchestrator.contracts.model import Model
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host.settings import HostSettings
from orchestrator.routing.settings import RoutingSettings
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.storage.settings import StorageSettings


class LogSettings(Model):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    style: Literal["auto", "json", "pretty"] = Field("auto", description="`auto` is pretty on a terminal, else JSON.")


class Settings(Model):
    """Everything that a user may set. Sizes end in `_bytes`, durations in `_ms` or `_s`."""

    dev: bool = Field(False, description="Development mode: backends that lack isolation may serve, on loopback only.")
    logs: LogSettings = Field(default_factory=LogSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    governance: GovernanceSettings = Field(default_factory=GovernanceSettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    host: HostSettings = Field(default_factory=HostSettings)
    sandbox: SandboxSettings = Field(default_factory=SandboxSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    plugins: dict[str, dict[str, Any]] = Field({}, description="Each plugin's own settings, by its name.")

    def contradictions(self) -> list[tuple[str, str]]:
        """Settings that are good alone and not together: the path to name, and why."""
        found = []
        local = self.api.host in ("127.0.0.1", "::1", "localhost")
        if not local and not self.governance.require_key:
            found.append(("api.host", f"{self.api.host} is not loopback: set governance.require_key = true first"))
        if self.sandbox.allow_network and not self.dev:
            found.append(("sandbox.allow_network", "a network is for development mode only: set dev = true"))
        if self.sandbox.engine == "bubblewrap" and not self.dev:
            found.append(("sandbox.engine", "bubblewrap is for development mode only: set dev = true"))
        if self.sandbox.engine == "bubblewrap" and self.sandbox.runtime != "runc":
            found.append(("sandbox.runtime", "runtimes are Docker's, and bubblewrap has none: leave it out"))
        if self.sandbox.engine == "bubblewrap" and self.sandbox.allow_network:
            found.append(("sandbox.allow_network", "bubblewrap has no network to give"))
        if not local and self.dev:
            found.append(("dev", "development mode listens on loopback only"))
        return found
