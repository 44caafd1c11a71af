"""Where generated code runs: the sandbox, and the two governed ways into it."""

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from orchestrator.audit.entries import Entry
from orchestrator.daemon.authority import Authority
from orchestrator.daemon.ground import Ground
from orchestrator.governance.execution_log import ExecutionLog
from orchestrator.governance.executions import Executions
from orchestrator.governance.sessions import Sessions
from orchestrator.sandbox.service import Sandbox


@dataclass(frozen=True, slots=True)
class Workshop:
    """See above."""

    sandbox: Sandbox
    executions: Executions
    sessions: Sessions


async def build(ground: Ground, authority: Authority, stack: AsyncExitStack) -> Workshop:
    """Look for the engine, and for what a dead daemon left."""
    settings, clock, metrics, supervisor = ground.settings, ground.clock, ground.metrics, ground.supervisor
    store, journal, grants, halts = ground.store, ground.journal, authority.grants, authority.halts
    sandbox = Sandbox(
        settings.sandbox,
        images_dir=ground.places.images,
        state_dir=ground.places.state,
        daemon_id=_daemon_id(ground.places.state),
        check=authority.office.check,
        clock=clock,
        metrics=metrics,
        supervisor=supervisor,
        tell=lambda topic, outcome, data: journal.note(Entry(topic, None, "daemon", outcome, data)),
    )
    await sandbox.start()
    stack.push_async_callback(sandbox.close)
    log = ExecutionLog(journal, store, ground.blobs)
    executions = Executions(
        sandbox, grants, authority.quotas, halts, log, clock, metrics, supervisor, settings.governance
    )
    await executions.open()
    stack.push_async_callback(executions.drain, 0)
    sessions = Sessions(sandbox, sandbox.sessions, executions, grants, halts, journal, store, clock, supervisor)
    await sessions.load()
    sandbox.sessions.on_ended = sessions.ended
    stack.push_async_callback(sessions.close)
    return Workshop(sandbox, executions, sessions)


def _daemon_id(state: Path) -> str:
    """An id that stays with the state directory, so that a daemon knows its predecessor's containers."""
    path = state / "daemon.id"
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()
