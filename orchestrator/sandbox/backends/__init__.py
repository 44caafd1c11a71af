"""What runs workers: one file a backend, one port before them all. The setting `sandbox.engine` names the file."""

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol, cast

from orchestrator.contracts.errors import StartRefused
from orchestrator.sandbox.backends.port import Backend, Shelf
from orchestrator.sandbox.settings import SandboxSettings


class Engine(Protocol):
    """What a backend's file has to offer."""

    def backend(self, settings: SandboxSettings, daemon_id: str) -> Backend:
        """The backend, not connected yet."""
        ...

    def shelf(self, settings: SandboxSettings) -> AbstractContextManager[Shelf]:
        """Its images, for one piece of work. Raises `Unavailable`."""
        ...


def engine(settings: SandboxSettings) -> Engine:
    """The engine that the settings name. Raises `StartRefused` where a library that it stands on is missing."""
    try:
        return cast(Engine, import_module(f"{__name__}.{settings.engine}"))
    except (ImportError, RuntimeError) as fault:
        raise StartRefused(f"the engine {settings.engine} cannot be loaded: {fault}") from fault
