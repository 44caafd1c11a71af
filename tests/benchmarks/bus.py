"""Deliveries of the bus to ten listeners, with and without a stuck one."""

import asyncio
import time
from collections.abc import AsyncIterator

from orchestrator.bus.local import LocalBus
from orchestrator.contracts.events import Event
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor


async def measure(events: int = 20_000) -> AsyncIterator[str]:
    """Lines of the table, as they are known."""
    yield f"{'bus, 10 listeners':34} {'deliveries/s':>13}"
    for stuck in (False, True):
        yield f"{'beside a stuck one' if stuck else 'nobody stuck':34} {await _deliveries(events, stuck):13.0f}"


async def _deliveries(events: int, stuck: bool) -> float:
    supervisor = Supervisor()
    bus = LocalBus(supervisor, Metrics())
    done, heard = asyncio.Event(), 0

    def listen(_: Event) -> None:
        nonlocal heard
        heard += 1
        if heard == 10 * events:
            done.set()

    async def hang(_: Event) -> None:
        await asyncio.Event().wait()

    for n in range(10):
        bus.subscribe("query.*", listen, name=f"listener-{n}", queue_size=events)
    if stuck:
        bus.subscribe("query.*", hang, name="stuck", queue_size=100)
    event = Event(1, "id", "query.completed", "query.completed", "2026-01-01T00:00:00.000Z", "bench", None)
    began = time.perf_counter()
    for n in range(events):
        bus.tell(event)
        if n % 100 == 0:
            await asyncio.sleep(0)
    await done.wait()
    took = time.perf_counter() - began
    await supervisor.close()
    return 10 * events / took
