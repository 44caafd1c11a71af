"""The Python interface of seed 002 to the sandbox's engine: `brain.docker_manager = DockerManager()` (R2-16)."""

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox import engines


class DockerManager:
    """Which Docker engine a `Brain` uses. Without an address it is looked for as the daemon does."""

    def __init__(self, base_url: str | None = None) -> None:
        self.base_url = base_url

    def available(self) -> bool:
        """Whether the engine answers now."""
        try:
            client = engines.connect(engines.find(self.base_url), timeout_s=5.0)
        except Unavailable:
            return False
        try:
            client.ping()
            return True
        except OSError:
            return False
        finally:
            client.close()
