"""Building the daemon, bottom up, in five parts; this room alone names concrete classes.

Each part registers its end at its birth.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator import __version__
from orchestrator.api.rooms import Rooms
from orchestrator.audit.anchors import known
from orchestrator.audit.reading import AuditReader
from orchestrator.bus.local import LocalBus
from orchestrator.config.load import Configuration
from orchestrator.config.places import Places
from orchestrator.daemon import authority, frontdesk, governor, ground, lock, workshop
from orchestrator.daemon.authority import Authority
from orchestrator.daemon.frontdesk import FrontDesk
from orchestrator.daemon.governor import Governor
from orchestrator.daemon.ground import Ground
from orchestrator.daemon.workshop import Workshop
from orchestrator.governance.contexts import Contexts
from orchestrator.governance.granting import Granting
from orchestrator.governance.identities import Identity
from orchestrator.governance.webhooks import Webhooks
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox.service import Sandbox


@dataclass(slots=True)
class Daemon:
    """A built daemon: its rooms, and the tasks that keep it going."""

    rooms: Rooms
    supervisor: Supervisor
    operator: Identity
    places: Places
    sandbox: Sandbox
    bus: LocalBus


@asynccontextmanager
async def build(configuration: Configuration, places: Places) -> AsyncIterator[Daemon]:
    """Build everything below the doors; take it down in reverse."""
    async with AsyncExitStack() as stack:
        places.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        stack.enter_context(lock.hold(places.lock))
        base = await ground.build(configuration.settings, places, stack)
        who = await authority.build(base)
        shop = await workshop.build(base, who, stack)
        front = await frontdesk.build(base, who, shop, stack)
        acts = await governor.build(base, who, shop, front, stack)
        rooms = _rooms(base, who, shop, front, acts)
        yield Daemon(rooms, base.supervisor, who.operator, places, shop.sandbox, base.bus)


def _rooms(base: Ground, who: Authority, shop: Workshop, front: FrontDesk, acts: Governor) -> Rooms:
    """What the doors lead to."""
    store, journal, settings = base.store, base.journal, base.settings
    return Rooms(
        settings=settings.api,
        governance=settings.governance,
        clock=base.clock,
        metrics=base.metrics,
        store=store,
        blobs=base.blobs,
        journal=journal,
        audit=AuditReader(store, partial(known, base.anchors, journal)),
        identities=who.identities,
        granting=Granting(store, journal, who.grants, who.identities, four_eyes=settings.governance.four_eyes),
        contexts=Contexts(store, journal, who.identities, base.clock),
        keys=who.keys,
        executions=shop.executions,
        sessions=shop.sessions,
        commands=acts.commands,
        results=acts.results,
        incidents=who.incidents,
        halts=who.halts,
        webhooks=Webhooks(store, journal),
        couriers=acts.couriers,
        plans=acts.plans,
        host=front.host,
        desk=front.desk,
        profiles=shop.sandbox.profiles,
        checks=partial(_checks, base, shop.sandbox),
        version=__version__,
    )


def _checks(base: Ground, sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    engine_status, engine_detail = sandbox.health()
    subscriptions, fault = base.bus.subscriptions, base.store.fault
    missed = sum(s.missed for s in subscriptions)
    return {
        "engine": {"status": engine_status, "detail": engine_detail},
        "store": {"status": "failed" if fault else "ok", "detail": fault or "durable"},
        "bus": {"status": "ok", "detail": f"{len(subscriptions)} subscribers, {missed} events missed"},
        "pool": {"status": engine_status, "detail": sandbox.load()},
    }
