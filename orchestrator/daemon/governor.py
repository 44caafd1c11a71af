"""Who does what has effects: commands, the plans that they do, what becomes of their results, and who is told."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from orchestrator.config.settings import Settings
from orchestrator.daemon.authority import Authority
from orchestrator.daemon.frontdesk import FrontDesk
from orchestrator.daemon.ground import Ground
from orchestrator.daemon.posting import Poster
from orchestrator.daemon.workshop import Workshop
from orchestrator.governance.commands.admissions import Admissions
from orchestrator.governance.commands.aftercare import Aftercare
from orchestrator.governance.commands.calls import Calls
from orchestrator.governance.commands.planning import Planning
from orchestrator.governance.commands.results import Results
from orchestrator.governance.commands.runner import Runner
from orchestrator.governance.commands.service import Commands
from orchestrator.governance.couriers import Couriers
from orchestrator.governance.local import LocalCapabilities
from orchestrator.governance.plans.service import Plans
from orchestrator.governance.plans.telling import PlanJournal
from orchestrator.governance.policies import finding
from orchestrator.governance.policies.policies import Policies


@dataclass(frozen=True, slots=True)
class Governor:
    """See above."""

    commands: Commands
    results: Results
    plans: Plans
    couriers: Couriers


async def build(
    ground: Ground, authority: Authority, workshop: Workshop, front: FrontDesk, stack: AsyncExitStack
) -> Governor:
    """Take up what a dead daemon left executing, and what waits for its turn."""
    settings, store, blobs = ground.settings.governance, ground.store, ground.blobs
    clock, supervisor, host, halts = ground.clock, ground.supervisor, front.host, authority.halts
    local, told = LocalCapabilities(), PlanJournal(ground.journal)
    stack.callback(local.close)
    policies = Policies(
        finding.found(finding.Parts(settings, clock, ground.journal)), supervisor, settings.policy_timeout_s
    )
    stack.callback(policies.close)
    calls = Calls(ground.bus, authority.office, local, store, blobs, clock)
    runner = Runner(store, told, blobs, calls, policies, clock, supervisor, settings)
    stack.push_async_callback(runner.close)
    planning = Planning(store, told, blobs, host, front.desk.rank, clock, settings, local)
    aftercare = Aftercare(store, ground.journal, blobs, ground.bus, host, authority.office, halts, clock, settings)
    await aftercare.open()
    supervisor.root("commands.aftercare", aftercare.keep_going())
    commands = Commands(store, told, planning, runner, aftercare, halts, clock, supervisor, settings)
    _let_wait(calls, commands, workshop, front, Admissions(store, blobs, planning, authority.operator.id))
    await commands.open()
    supervisor.root("commands.expiry", commands.keep_expiring())
    results = Results(store, ground.journal, blobs, planning, aftercare)
    plans = Plans(store, told, blobs, commands, clock, settings, policies)
    return Governor(commands, results, plans, await _couriers(ground, stack))


def _let_wait(
    calls: Calls, commands: Commands, workshop: Workshop, front: FrontDesk, admissions: Admissions
) -> None:  # fmt: skip
    """Let queries, executions and sessions that no grant covers wait for a person, behind a command each."""
    executions, sessions, desk = workshop.executions, workshop.sessions, front.desk
    executions.withdraw = sessions.withdraw = commands.withdraw
    desk.admissions = executions.admissions = sessions.admissions = admissions
    calls.performers |= {"query": desk.perform, "execution": executions.perform, "session": sessions.perform}


async def _couriers(ground: Ground, stack: AsyncExitStack) -> Couriers:
    settings = ground.settings.governance
    poster = Poster(settings.webhook_timeout_s)
    stack.push_async_callback(poster.close)
    base = _public_url(ground.settings)
    couriers = Couriers(ground.store, ground.journal, poster.post, base, ground.clock, ground.supervisor, settings)
    await couriers.open()
    stack.push_async_callback(couriers.close)
    return couriers


def _public_url(settings: Settings) -> str:
    """Where people reach the daemon; where it takes any free port, addresses in webhooks are paths alone."""
    api = settings.api
    host = f"[{api.host}]" if ":" in api.host else api.host
    return settings.governance.public_url.rstrip("/") or (f"http://{host}:{api.port}" if api.port else "")
