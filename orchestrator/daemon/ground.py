"""What every room stands on: the clock, the tasks, the store, the bus and the journal."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from orchestrator.audit.anchors import Anchors, anchor_head, keep_anchoring
from orchestrator.audit.journal import Journal
from orchestrator.bus.local import LocalBus
from orchestrator.config.places import Places
from orchestrator.config.settings import Settings
from orchestrator.kernel.clock import Clock, SystemClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.opening import open_store
from orchestrator.storage.port import Store


@dataclass(frozen=True, slots=True)
class Ground:
    """See above."""

    settings: Settings
    places: Places
    clock: Clock
    metrics: Metrics
    supervisor: Supervisor
    store: Store
    blobs: Blobs
    bus: LocalBus
    journal: Journal
    anchors: Anchors


async def build(settings: Settings, places: Places, stack: AsyncExitStack) -> Ground:
    """Open the store and all that writes to it. Raises `StartRefused` where that cannot be."""
    clock, metrics, supervisor = SystemClock(), Metrics(), Supervisor()
    stack.push_async_callback(supervisor.close)
    store = await open_store(
        settings.storage, places.database, places.blobs, metrics=metrics, clock=clock, supervisor=supervisor
    )
    stack.push_async_callback(store.close)
    blobs, bus = Blobs(store, settings.storage, clock), LocalBus(supervisor, metrics)
    journal = Journal(store, bus, clock)
    await journal.open()
    anchors = Anchors(places.state, clock)
    supervisor.root("audit.anchors", keep_anchoring(anchors, journal, clock))
    stack.callback(anchor_head, anchors, journal)
    return Ground(settings, places, clock, metrics, supervisor, store, blobs, bus, journal, anchors)
