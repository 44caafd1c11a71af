"""Which plugins there are, under which names, in which versions: the host's memory. Changed on the loop only."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from orchestrator.contracts.plugins import PluginView
from orchestrator.host.generations import Generation
from orchestrator.host.slots import Slot
from orchestrator.host.tables import Entry, Table
from orchestrator.host.versions import Broken
from orchestrator.kernel.metrics import Metrics

Key = tuple[Path, str]
"""Where a plugin lies, and (for installed ones, of which one file may hold several) its entry point's name."""
_STATES = ("active", "canary", "broken", "disabled", "quarantined")


class Roster:
    """All slots, who owns which name, and the versions that were replaced and still take requests."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._slots: dict[Key, Slot] = {}
        self._owners: dict[str, Slot] = {}
        self._retired: dict[str, tuple[Slot, Generation]] = {}
        self._table: Table = MappingProxyType({})
        self._stale = False

    def __iter__(self) -> Iterator[tuple[Key, Slot]]:
        return iter(list(self._slots.items()))

    def get(self, key: Key) -> Slot | None:
        """The slot of a place, if there is one."""
        return self._slots.get(key)

    def put(self, key: Key, slot: Slot) -> None:
        """A plugin has appeared at a place."""
        self._slots[key] = slot

    def move(self, old: Key, new: Key) -> None:
        """A plugin's file was renamed."""
        self._slots[new] = self._slots.pop(old)

    def remove(self, key: Key) -> None:
        """A plugin has gone."""
        slot = self._slots.pop(key)
        self._owners = {name: owner for name, owner in self._owners.items() if owner is not slot}

    def slot(self, name: str) -> Slot | None:
        """The plugin of a name; a second one of the same name is found by its file's."""
        owner = self._owners.get(name)
        return owner or next((slot for slot in self._slots.values() if slot.name == name), None)

    def claim(self, slot: Slot, name: str) -> None:
        """Give `name` to `slot`. Raises `Broken`, naming the first, if another has it."""
        owner = self._owners.setdefault(name, slot)
        if owner is not slot:
            slot.conflict = name
            raise Broken(f"the name {name!r} is taken by {owner.source.origin}; give one of them another name")

    def settle(self, slot: Slot) -> None:
        """Let go of the names that a slot had and has no more."""
        keep = slot.name
        self._owners = {n: owner for n, owner in self._owners.items() if owner is not slot or n == keep}

    def waiting(self) -> list[Slot]:
        """The slots that could not get a name that is free by now."""
        return [s for s in self._slots.values() if s.conflict is not None and s.conflict not in self._owners]

    def retire(self, slot: Slot, generation: Generation) -> None:
        """A version was replaced; requests that were routed to it still find it."""
        self._retired[generation.capability] = (slot, generation)

    def forget(self, generation: Generation) -> None:
        """A replaced version takes no more requests."""
        kept = self._retired.get(generation.capability)
        if kept is not None and kept[1] is generation:
            del self._retired[generation.capability]

    def serving(self, name: str, capability: str) -> tuple[Slot | None, Generation | None]:
        """Who answers: the version that `capability` names while it lives, else the one in service."""
        slot = self._owners.get(name)
        generation = slot.generation if slot is not None else None
        if generation is None or generation.capability != capability:
            kept = self._retired.get(capability)
            if kept is not None and kept[1].manifest.name == name:
                return kept
        return slot, generation

    @property
    def table(self) -> Table:
        """The table, made anew if anything that shows in it has changed since it was last looked at."""
        if self._stale:
            self._build()
        return self._table

    def publish(self) -> None:
        """Something has changed. However much changes in one go, the table is made once."""
        if not self._stale:
            self._stale = True
            asyncio.get_running_loop().call_soon(self._build)

    def _build(self) -> None:
        if not self._stale:
            return
        self._stale = False
        shown: dict[str, Entry] = {}
        for slot in sorted(self._slots.values(), key=lambda slot: slot.conflict is not None):
            entry = slot.entry()
            shown.setdefault(entry.name, entry)
        if shown != dict(self._table):
            self._table = MappingProxyType(dict(sorted(shown.items())))
        states: list[str] = [slot.state for slot in self._slots.values()]
        for state in _STATES:
            self._metrics.plugins.labels(state).set(states.count(state))

    def views(self, *, admin: bool) -> list[PluginView]:
        """All plugins by name."""
        views = [slot.view(admin=admin) for slot in self._slots.values()]
        return sorted(views, key=lambda view: (view.name, view.origin))
