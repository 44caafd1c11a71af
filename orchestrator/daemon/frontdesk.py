"""Who answers queries: the plugins, and the desk that takes a query to one of them."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from orchestrator.audit.entries import Entry
from orchestrator.daemon.authority import Authority
from orchestrator.daemon.ground import Ground
from orchestrator.daemon.services import PluginServices
from orchestrator.daemon.workshop import Workshop
from orchestrator.host.calls import HANDLE
from orchestrator.host.host import Host
from orchestrator.routing.desk import Desk


@dataclass(frozen=True, slots=True)
class FrontDesk:
    """See above."""

    host: Host
    desk: Desk


async def build(ground: Ground, authority: Authority, workshop: Workshop, stack: AsyncExitStack) -> FrontDesk:
    """Load the plugins, and open the desk."""
    settings, journal, clock, metrics = ground.settings, ground.journal, ground.clock, ground.metrics

    async def record(topic: str, subject: str, data: dict[str, Any]) -> None:
        await journal.record(Entry(topic, subject, "daemon", data.pop("outcome", "ok"), data, source="host"))

    services = PluginServices(workshop.executions, journal, ground.bus)
    host = Host(
        settings.host,
        folders=ground.places.plugin_folders,
        services=services,
        check=authority.office.check,
        clock=clock,
        metrics=metrics,
        supervisor=ground.supervisor,
        record=record,
        plugin_config=settings.plugins,
        state_dir=ground.places.state,
    )
    await host.start()
    stack.push_async_callback(host.close)
    services.desk = desk = Desk(
        host, ground.bus, authority.grants, authority.quotas, authority.halts, journal, ground.store, ground.blobs,
        clock, metrics, settings.routing, settings.governance,
    )  # fmt: skip
    ground.bus.serve(HANDLE, host.handle_message)
    return FrontDesk(host, desk)
