"""From a change in the folders to a new version in service; the last good one serves until then, and beside a fault."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from orchestrator.contracts.plugins import PluginError
from orchestrator.host import discovery, reading
from orchestrator.host.generations import Generation
from orchestrator.host.inline import Tasks
from orchestrator.host.loading import Loader
from orchestrator.host.manifests import Hint, hint_of
from orchestrator.host.ownership import Owners, Refused
from orchestrator.host.ports import Record
from orchestrator.host.roster import Key, Roster
from orchestrator.host.settings import HostSettings
from orchestrator.host.slots import Slot
from orchestrator.host.sources import Snapshot, Source
from orchestrator.host.switches import Switches
from orchestrator.host.versions import Broken
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.threads import DaemonThreads

log = structlog.get_logger("host")

Found = list[tuple[Source, reading.Signature]]


class Nursery:
    """Keeps a roster in step with the folders."""

    def __init__(
        self, roster: Roster, loader: Loader, switches: Switches, owners: Owners, settings: HostSettings, tasks: Tasks,
        clock: Clock, metrics: Metrics, record: Record, folders: Sequence[Path], entry_points: bool,
    ) -> None:  # fmt: skip
        self._roster = roster
        self._loader = loader
        self._switches = switches
        self._owners = owners
        self._settings = settings
        self._tasks = tasks
        self._clock = clock
        self._metrics = metrics
        self._record = record
        self._folders = folders
        self._entry_points = entry_points
        self._installed: list[Source] | None = None
        self._files = DaemonThreads("host-files", 1)
        self._one_at_a_time = asyncio.Lock()
        self._retiring: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.changed = asyncio.Event()

    async def scan(self) -> None:
        """Look at all places once, and begin to load what is new or has changed."""
        async with self._one_at_a_time:
            if self._closed:
                return
            found: Found = await self._files.run(self._look)
            here = {_key(source): (source, signature) for source, signature in found}
            for key, (source, signature) in here.items():
                await self._see(key, source, signature, here)
            for key, slot in self._roster:
                if key not in here:
                    await self._missing(key, slot)
            for slot in self._roster.waiting():
                self._begin(slot)
            self._roster.publish()

    async def keep_scanning(self) -> None:
        """Scan whenever `changed` is set."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            await self.scan()

    async def settled(self, seconds: float) -> None:
        """Wait until nothing is being loaded, at most so long."""
        loading = [slot.loading for _, slot in self._roster if slot.loading is not None]
        if loading:
            await asyncio.wait(loading, timeout=seconds)

    async def again(self, slot: Slot) -> None:
        """Read and load a plugin's files though they may be the same, and wait for it."""
        async with self._one_at_a_time:
            await self._read(slot, forced=True)
            self._roster.publish()
        if slot.loading is not None:
            await asyncio.wait([slot.loading])

    async def switch_off(self, slot: Slot) -> None:
        """Take a plugin out of service at once; requests under way end."""
        slot.disabled = True
        if slot.loading is not None:
            slot.loading.cancel()
        if (withdrawn := slot.withdraw()) is not None:
            self._retire(slot, withdrawn, linger=False)
        self._roster.publish()

    async def close(self) -> None:
        """Close all versions, those being loaded and those on their way out too."""
        self._closed = True
        async with self._one_at_a_time:
            slots = [slot for _, slot in self._roster]
        loading = [slot.loading for slot in slots if slot.loading is not None]
        for task in (*loading, *self._retiring):
            task.cancel()
        await asyncio.gather(*loading, *self._retiring, return_exceptions=True)
        for slot in slots:
            if (generation := slot.withdraw()) is not None:
                await generation.version.close()
        self._roster.publish()
        self._files.close()

    def _look(self) -> Found:
        """Runs in a thread: where plugins are now."""
        sources = discovery.in_folders(self._folders)
        if self._entry_points and self._installed is None:
            self._installed = discovery.installed()  # once: distributions come and go with the daemon's environment
        sources += self._installed or []
        return [(source, _signature(source, self._settings)) for source in sources]

    def _opened(self, source: Source) -> tuple[Snapshot, Hint]:
        """Runs in a thread: the checked files of a source, and what can be known of them without running them."""
        snapshot = reading.read(source, self._settings, self._owners)
        return snapshot, hint_of(snapshot.main, name=source.name, timeout_s=self._settings.timeout_s)

    async def _see(self, key: Key, source: Source, signature: reading.Signature, here: dict[Key, Any]) -> None:
        slot = self._roster.get(key)
        if slot is None:
            slot = Slot(source, self._settings)
            self._roster.put(key, slot)
        slot.missing_since = None
        if slot.signature != signature:
            slot.signature = signature
            await self._read(slot, forced=False)
            if slot.conflict is not None:
                self._adopt(key, slot, here)

    def _adopt(self, key: Key, slot: Slot, here: dict[Key, Any]) -> None:
        """A renamed file that keeps its plugin's name: the version in service goes on until the new one is there."""
        for old, former in self._roster:
            if old not in here and former.name == slot.conflict:
                former.source, former.signature, former.missing_since = slot.source, slot.signature, None
                self._roster.remove(key)
                self._roster.move(old, key)
                former.snapshot, former.hint = slot.snapshot, slot.hint
                self._begin(former)
                return

    async def _missing(self, key: Key, slot: Slot) -> None:
        """A file is not there. Editors put a new one into an old one's place, so it counts as deleted after a while."""
        now = self._clock.monotonic()
        grace_s = self._settings.delete_grace_ms / 1000
        if slot.missing_since is None:
            slot.missing_since = now
            asyncio.get_running_loop().call_later(grace_s + 0.01, self.changed.set)
        elif now - slot.missing_since >= grace_s:
            await self.switch_off(slot)
            self._roster.remove(key)
            await self._tell("plugin.removed", slot.name, {"origin": slot.source.origin})

    async def _read(self, slot: Slot, *, forced: bool) -> None:
        """Read a slot's files and begin to load them, unless they are what is in service already."""
        try:
            snapshot, hint = await self._files.run(lambda: self._opened(slot.source))
        except Refused as fault:
            await self._broke(slot, Broken(str(fault)))
        except OSError as fault:
            await self._broke(slot, Broken(f"its files cannot be read: {fault.strerror or fault}"))
        else:
            same = slot.generation is not None and slot.generation.snapshot.digest == snapshot.digest
            if same and not forced:
                self._cancel(slot)
                slot.error = None
            elif forced or slot.snapshot is None or slot.snapshot.digest != snapshot.digest or not _tried(slot):
                slot.snapshot, slot.hint = snapshot, hint
                self._begin(slot)

    def _begin(self, slot: Slot) -> None:
        """Load what a slot holds, in the background; what is being loaded of it is given up."""
        self._cancel(slot)
        slot.disabled = self._switches.is_off(slot.hint.name)
        if slot.disabled or slot.snapshot is None:
            return
        try:
            self._roster.claim(slot, slot.hint.name)
        except Broken as fault:
            slot.error = PluginError(message=fault.message)
            return
        slot.conflict = None
        slot.loading = self._tasks.child(f"plugin.{slot.source.name}.load", self._load(slot, slot.snapshot))

    def _cancel(self, slot: Slot) -> None:
        if slot.loading is not None:
            slot.loading.cancel()
            slot.loading = None

    async def _load(self, slot: Slot, snapshot: Snapshot) -> None:
        began = self._clock.monotonic()
        try:
            claim = self._claim_of(slot)
            generation = await self._loader.load(snapshot, slot.hint.isolation, slot.generations + 1, claim)
        except Broken as fault:
            await self._broke(slot, fault)
        else:
            await self._swap(slot, generation, (self._clock.monotonic() - began) * 1000)
        self._roster.settle(slot)
        self._roster.publish()
        if self._roster.waiting():
            self.changed.set()

    def _claim_of(self, slot: Slot) -> Any:
        def claim(name: str) -> None:
            if self._switches.is_off(name):
                slot.disabled = True
                raise Broken(f"the plugin {name} is disabled")
            self._roster.claim(slot, name)

        return claim

    async def _swap(self, slot: Slot, generation: Generation, ms: float) -> None:
        slot.generations = generation.number
        replaced = slot.serve(generation)
        self._roster.settle(slot)
        self._roster.publish()
        if replaced is not None:
            self._retire(slot, replaced, linger=True)
        manifest = generation.manifest
        self._metrics.plugin_reloads.labels("loaded").inc()
        topic = "plugin.loaded" if generation.number == 1 else "plugin.reloaded"
        facts = {"version": manifest.version, "generation": generation.number, "digest": generation.snapshot.digest}
        log.info(topic, plugin=manifest.name, ms=round(ms, 1), **facts)
        origin = {"origin": slot.source.origin, "isolation": manifest.isolation, "effects": manifest.effects}
        await self._tell(topic, manifest.name, {**facts, **origin})

    async def _broke(self, slot: Slot, fault: Broken) -> None:
        self._cancel_other(slot)
        slot.error = PluginError(message=fault.message, traceback=fault.traceback)
        self._roster.publish()
        if slot.disabled:
            return
        self._metrics.plugin_reloads.labels("broken").inc()
        serving = slot.generation.number if slot.generation is not None else None
        log.warning("plugin.broken", plugin=slot.name, why=fault.message, traceback=fault.traceback, serving=serving)
        await self._tell("plugin.failed", slot.name, {"message": fault.message, "serving_generation": serving})

    def _cancel_other(self, slot: Slot) -> None:
        if slot.loading is not None and slot.loading is not asyncio.current_task():
            self._cancel(slot)

    def _retire(self, slot: Slot, generation: Generation, *, linger: bool) -> None:
        name = f"plugin.{generation.manifest.name}.retire"
        task = self._tasks.child(name, self._retired(slot, generation, linger))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retired(self, slot: Slot, generation: Generation, linger: bool) -> None:
        """Requests that were routed to it before are let in for a moment; after the last it is closed."""
        try:
            if linger:
                self._roster.retire(slot, generation)
                await asyncio.sleep(self._settings.linger_ms / 1000)
            self._roster.forget(generation)
            await generation.close()
        except asyncio.CancelledError:
            self._roster.forget(generation)
            await generation.version.close()
            raise

    async def _tell(self, topic: str, subject: str, data: dict[str, Any]) -> None:
        """Write an event down. That the journal fails must not keep a plugin from being served or taken away."""
        try:
            await self._record(topic, subject, data)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is logged, and the journal tells its own state
            log.error("plugin.event_lost", topic=topic, plugin=subject, why=str(fault))


def _tried(slot: Slot) -> bool:
    """Whether what a slot holds has been tried, or is being tried."""
    return slot.loading is not None


def _key(source: Source) -> Key:
    return source.path, source.name if source.kind == "entry_point" else ""


def _signature(source: Source, settings: HostSettings) -> reading.Signature:
    try:
        return reading.signature(source, settings)
    except Refused:
        return ()
