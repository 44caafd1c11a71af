"""The plugin host: what the rest of the daemon sees of this room."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from orchestrator.contracts.errors import NotFound
from orchestrator.contracts.permits import PermitCheck
from orchestrator.contracts.plugins import PluginView
from orchestrator.host.calls import Call, HandleMessage, Reply
from orchestrator.host.dispatch import Dispatch
from orchestrator.host.importing import Shelf
from orchestrator.host.loading import Loader
from orchestrator.host.managers import Loop
from orchestrator.host.nursery import Nursery
from orchestrator.host.ownership import Owners
from orchestrator.host.ports import Record, Services
from orchestrator.host.roster import Roster
from orchestrator.host.settings import HostSettings
from orchestrator.host.slots import Slot
from orchestrator.host.switches import Switches
from orchestrator.host.tables import Table
from orchestrator.host.versions import Tools
from orchestrator.host.watchdog import Watchdog
from orchestrator.host.watching import Watcher
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor

log = structlog.get_logger("host")
_CHECKOUT = Path(__file__).parents[2]


class Host:
    """Finds, loads, swaps, calls and ends plugins (CONTRACT 3). Lives on one event loop."""

    def __init__(
        self, settings: HostSettings, *, folders: Sequence[Path], services: Services, check: PermitCheck, clock: Clock,
        metrics: Metrics, supervisor: Supervisor, record: Record, state_dir: Path, entry_points: bool = True,
        plugin_config: Mapping[str, Mapping[str, Any]] | None = None,
        secrets: Mapping[str, Mapping[str, str]] | None = None, checkout: Path = _CHECKOUT,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._metrics = metrics
        self._supervisor = supervisor
        self._record = record
        self._shelf = Shelf()
        self._switches = Switches(state_dir)
        self._roster = Roster(metrics)
        self._listed: tuple[Table, list[dict[str, Any]]] | None = None
        tools = Tools(settings, services, supervisor, self._shelf, Loop(clock), self._capabilities)
        loader = Loader(tools, clock, plugin_config or {}, secrets or {})
        folders = [folder.absolute() for folder in folders]
        self._nursery = Nursery(
            self._roster, loader, self._switches, Owners.of(checkout), settings, supervisor, clock, metrics, record,
            folders, entry_points,
        )  # fmt: skip
        self._dispatch = Dispatch(self._roster, check, clock, settings.route_hook_ms / 1000)
        self._watcher = Watcher(folders, settings.debounce_ms, settings.rescan_s, self._nursery.changed.set)
        self._watchdog = Watchdog(settings.block_warn_ms / 1000, settings.block_interrupt_ms / 1000, self._blame)

    async def start(self) -> None:
        """Load all plugins and watch their folders. A broken one is listed and harms none.

        Raises `StartRefused` if it cannot be known which plugins are disabled.
        """
        self._switches.load()
        self._shelf.open()
        self._watchdog.start()
        await self._nursery.scan()
        await self._nursery.settled(self._settings.start_wait_s)
        self._supervisor.root("host.scan", self._nursery.keep_scanning())
        self._watcher.start()

    async def close(self) -> None:
        """Watch no more, let each plugin put its things away, end all children."""
        await self._watcher.close()
        await self._nursery.close()
        self._watchdog.close()
        self._shelf.close()

    def table(self) -> Table:
        """All plugins as routing sees them: an immutable mapping, the same object until something changes."""
        return self._roster.table

    def has_route_hooks(self) -> bool:
        """Whether any plugin wants a say in routing."""
        return any(entry.routes for entry in self._roster.table.values())

    async def handle(self, name: str, request: dict[str, Any], call: Call) -> Reply:
        """Let a plugin answer, against the permit in `call`.

        Raises `NotFound`, `Invalid` (it does not serve, or it refused), `Forbidden` (no permit for this version),
        `PluginFailed` (it raised, left, answered what is not JSON, or its breaker is open), `PluginTimeout`, and what
        the daemon's services raised if the plugin let it through.
        """
        return await self._dispatch.handle(name, request, call)

    async def handle_message(self, message: HandleMessage) -> Reply:
        """`handle` for a message from the bus."""
        return await self._dispatch.handle(message.plugin, message.request, message.call, message.hook)

    async def route_hooks(self, request: dict[str, Any], candidates: list[dict[str, Any]]) -> tuple[str, float] | None:
        """The plugin that a routing hook names, and its score in [0, 1]; None if none has an opinion. Never raises."""
        return await self._dispatch.route_hooks(request, candidates)

    def views(self, *, admin: bool) -> list[PluginView]:
        """All plugins by name, for `GET /plugins`."""
        return self._roster.views(admin=admin)

    def view(self, name: str, *, admin: bool) -> PluginView:
        """One plugin. Raises `NotFound`."""
        return self._slot(name).view(admin=admin)

    async def reload(self, name: str) -> PluginView:
        """Load a plugin's files again, changed or not. Raises `NotFound`; what is wrong is in the view's `error`."""
        slot = self._slot(name)
        await self._nursery.again(slot)
        return slot.view(admin=True)

    async def enable(self, name: str) -> PluginView:
        """Let a disabled plugin serve again. Raises `NotFound`."""
        slot = self._slot(name)
        self._switches.set(slot.name, off=False)
        if slot.disabled:
            await self._nursery.again(slot)
            await self._record("plugin.enabled", name, {"origin": slot.source.origin})
        return slot.view(admin=True)

    async def disable(self, name: str) -> PluginView:
        """Take a plugin out of service, until it is enabled, restarts included. Raises `NotFound`."""
        slot = self._slot(name)
        self._switches.set(slot.name, off=True)
        if not slot.disabled:
            await self._nursery.switch_off(slot)
            await self._record("plugin.disabled", name, {"origin": slot.source.origin})
        return slot.view(admin=True)

    def _slot(self, name: str) -> Slot:
        slot = self._roster.slot(name)
        if slot is None:
            raise NotFound(f"there is no plugin {name}")
        return slot

    def _capabilities(self) -> list[dict[str, Any]]:
        """What `manager.capabilities()` lists, made once for each change of the table."""
        table = self._roster.table
        if self._listed is None or self._listed[0] is not table:
            self._listed = (table, [view.model_dump(mode="json") for view in self._roster.views(admin=False)])
        return self._listed[1]

    def _blame(self, root: str, file: str, line: int, held_s: float) -> None:
        """A plugin holds the event loop (called in the watchdog's thread)."""
        name = next((s.name for _, s in self._roster if s.generation and s.generation.version.root == root), root)
        log.warning(
            "plugin.blocked_loop", plugin=name, file=Path(file).name, line=line, held_ms=round(held_s * 1000),
            advice="call what waits from a function that is not async, or await it",
        )  # fmt: skip
        self._metrics.plugin_blocked.labels(name).inc()
