"""Building the daemon: the only place that names concrete classes. Each part registers its end at its birth."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from orchestrator import __version__
from orchestrator.api.rooms import Rooms
from orchestrator.audit.anchors import Anchors, anchor_head, keep_anchoring, known
from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.audit.reading import AuditReader
from orchestrator.bus.local import LocalBus
from orchestrator.config.load import Configuration
from orchestrator.config.places import Places
from orchestrator.config.settings import Settings
from orchestrator.contracts.callers import Scope
from orchestrator.daemon import lock
from orchestrator.daemon.posting import Poster
from orchestrator.daemon.services import PluginServices
from orchestrator.governance.commands.admissions import Admissions
from orchestrator.governance.commands.aftercare import Aftercare
from orchestrator.governance.commands.calls import Calls
from orchestrator.governance.commands.planning import Planning
from orchestrator.governance.commands.results import Results
from orchestrator.governance.commands.runner import Runner
from orchestrator.governance.commands.service import Commands
from orchestrator.governance.contexts import Contexts
from orchestrator.governance.couriers import Couriers
from orchestrator.governance.execution_log import ExecutionLog
from orchestrator.governance.executions import Executions
from orchestrator.governance.granting import Granting
from orchestrator.governance.grants import Grants
from orchestrator.governance.halts import Halts
from orchestrator.governance.identities import Identities, Identity
from orchestrator.governance.incidents import Incidents
from orchestrator.governance.keys import PREFIX, Keys
from orchestrator.governance.local import LocalCapabilities
from orchestrator.governance.permits import PermitOffice
from orchestrator.governance.plans.service import Plans
from orchestrator.governance.plans.telling import PlanJournal
from orchestrator.governance.policies import finding
from orchestrator.governance.policies.policies import Policies
from orchestrator.governance.quotas import Quotas
from orchestrator.governance.sessions import Sessions
from orchestrator.governance.webhooks import Webhooks
from orchestrator.host.calls import HANDLE
from orchestrator.host.host import Host
from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.routing.desk import Desk
from orchestrator.sandbox.service import Sandbox
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.opening import open_store
from orchestrator.storage.port import Store

log = structlog.get_logger("daemon")


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
    """Build everything below the doors, bottom up; take it down in reverse."""
    settings = configuration.settings
    async with AsyncExitStack() as stack:
        _prepare_state(places.state)
        stack.enter_context(lock.hold(places.lock))
        clock, metrics, supervisor = SystemClock(), Metrics(), Supervisor()
        stack.push_async_callback(supervisor.close)
        store = await open_store(
            settings.storage, places.database, places.blobs, metrics=metrics, clock=clock, supervisor=supervisor
        )
        stack.push_async_callback(store.close)
        blobs = Blobs(store, settings.storage, clock)
        bus = LocalBus(supervisor, metrics)
        journal = Journal(store, bus, clock)
        await journal.open()
        anchors = Anchors(places.state, clock)
        supervisor.root("audit.anchors", keep_anchoring(anchors, journal, clock))
        stack.push_async_callback(_last_anchor, anchors, journal)

        identities = Identities(store, journal, clock)
        operator = await identities.open()
        keys = Keys(store, journal, identities, clock)
        await keys.open()
        await _admin_key(places.admin_key, keys, operator)
        incidents, halts = Incidents(store, journal), Halts(store, journal)
        await halts.open()
        office = PermitOffice(clock, settings.governance.permit_ttl_s, incidents.forged)
        grants = Grants(store, journal, office, clock, settings.governance)
        await grants.open(operator)

        sandbox = Sandbox(
            settings.sandbox,
            images_dir=places.images,
            state_dir=places.state,
            daemon_id=_daemon_id(places.state),
            check=office.check,
            clock=clock,
            metrics=metrics,
            supervisor=supervisor,
            tell=lambda topic, outcome, data: journal.note(Entry(topic, None, "daemon", outcome, data)),
        )
        await sandbox.start()
        stack.push_async_callback(sandbox.close)
        quotas = Quotas(store)
        await quotas.open()
        execution_log = ExecutionLog(journal, store, blobs)
        executions = Executions(
            sandbox, grants, quotas, halts, execution_log, clock, metrics, supervisor, settings.governance
        )
        await executions.open()
        stack.push_async_callback(executions.drain, 0)
        sessions = Sessions(sandbox, sandbox.sessions, executions, grants, halts, journal, store, clock, supervisor)
        await sessions.load()
        sandbox.sessions.on_ended = sessions.ended
        stack.push_async_callback(sessions.close)

        async def record(topic: str, subject: str, data: dict[str, Any]) -> None:
            await journal.record(Entry(topic, subject, "daemon", data.pop("outcome", "ok"), data, source="host"))

        services = PluginServices(executions, journal, bus)
        host = Host(
            settings.host,
            folders=places.plugin_folders,
            services=services,
            check=office.check,
            clock=clock,
            metrics=metrics,
            supervisor=supervisor,
            record=record,
            plugin_config=settings.plugins,
            state_dir=places.state,
        )
        await host.start()
        stack.push_async_callback(host.close)
        desk = Desk(
            host,
            bus,
            grants,
            quotas,
            halts,
            journal,
            store,
            blobs,
            clock,
            metrics,
            settings.routing,
            settings.governance,
        )
        services.desk = desk
        bus.serve(HANDLE, host.handle_message)

        local = LocalCapabilities()
        stack.callback(local.close)
        calls = Calls(bus, office, local, store, blobs, clock)
        told = PlanJournal(journal)
        hooks = finding.found(finding.Parts(settings.governance, clock, journal))
        policies = Policies(hooks, supervisor, settings.governance.policy_timeout_s)
        stack.callback(policies.close)
        runner = Runner(store, told, blobs, calls, policies, clock, supervisor, settings.governance)
        planning = Planning(store, told, blobs, host, desk.rank, clock, settings.governance, local)
        aftercare = Aftercare(store, journal, blobs, bus, host, office, halts, clock, settings.governance)
        await aftercare.open()
        supervisor.root("commands.aftercare", aftercare.keep_going())
        results = Results(store, journal, blobs, planning, aftercare)
        commands = Commands(store, told, planning, runner, aftercare, halts, clock, supervisor, settings.governance)
        plans = Plans(store, told, blobs, commands, clock, settings.governance, policies)
        executions.withdraw = sessions.withdraw = commands.withdraw
        desk.admissions = executions.admissions = sessions.admissions = Admissions(store, blobs, planning, operator.id)
        calls.performers |= {"query": desk.perform, "execution": executions.perform, "session": sessions.perform}
        await commands.open()
        supervisor.root("commands.expiry", commands.keep_expiring())

        poster = Poster(settings.governance.webhook_timeout_s)
        stack.push_async_callback(poster.close)
        base = _public_url(settings)
        couriers = Couriers(store, journal, poster.post, base, clock, supervisor, settings.governance)
        await couriers.open()
        stack.push_async_callback(couriers.close)

        def checks() -> dict[str, dict[str, Any]]:
            return _checks(sandbox, store, bus)

        rooms = Rooms(
            settings=settings.api,
            governance=settings.governance,
            clock=clock,
            metrics=metrics,
            store=store,
            blobs=blobs,
            journal=journal,
            audit=AuditReader(store, partial(known, anchors, journal)),
            identities=identities,
            granting=Granting(store, journal, grants, identities, four_eyes=settings.governance.four_eyes),
            contexts=Contexts(store, journal, identities, clock),
            keys=keys,
            executions=executions,
            sessions=sessions,
            commands=commands,
            results=results,
            incidents=incidents,
            halts=halts,
            webhooks=Webhooks(store, journal),
            couriers=couriers,
            plans=plans,
            host=host,
            desk=desk,
            profiles=sandbox.profiles,
            checks=checks,
            version=__version__,
        )
        yield Daemon(rooms, supervisor, operator, places, sandbox, bus)


def _checks(sandbox: Sandbox, store: Store, bus: LocalBus) -> dict[str, dict[str, Any]]:
    engine_status, engine_detail = sandbox.health()
    missed = sum(s.missed for s in bus.subscriptions)
    return {
        "engine": {"status": engine_status, "detail": engine_detail},
        "store": {"status": "failed" if store.fault else "ok", "detail": store.fault or "durable"},
        "bus": {"status": "ok", "detail": f"{len(bus.subscriptions)} subscribers, {missed} events missed"},
        "pool": {"status": engine_status, "detail": sandbox.load()},
    }


async def _last_anchor(anchors: Anchors, journal: Journal) -> None:
    anchor_head(anchors, journal)


def _public_url(settings: Settings) -> str:
    """Where people reach the daemon; where it takes any free port, addresses in webhooks are paths alone."""
    api = settings.api
    host = f"[{api.host}]" if ":" in api.host else api.host
    return settings.governance.public_url.rstrip("/") or (f"http://{host}:{api.port}" if api.port else "")


def _prepare_state(state: Path) -> None:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)


def _daemon_id(state: Path) -> str:
    """An id that stays with the state directory, so that a daemon knows its predecessor's containers."""
    path = state / "daemon.id"
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()


async def _admin_key(path: Path, keys: Keys, operator: Identity) -> None:
    """The operator's admin key, made where the file is not there: mode 0600, the key alone on one line (CONTRACT 0)."""
    if path.exists() and keys.caller(path.read_text().strip()) is not None:
        return
    secret = PREFIX + secrets.token_urlsafe(32)
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    await keys.create("admin", frozenset({Scope.ADMIN}), operator.id, "daemon", secret=secret)
    draft.replace(path)
