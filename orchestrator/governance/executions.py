"""The one path to the sandbox: admitted, permitted, written down before it starts and after it ends (R4-08, R4-43).

Whoever wants code run, a client, a plugin or the Python interface, comes through here.
"""

from collections.abc import Callable
from typing import Any, Protocol

import pydantic_core
from sqlalchemy import insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.errors import NotFound, OrchestratorError
from orchestrator.contracts.executions import Execution, ExecutionRequest, Limits
from orchestrator.contracts.permits import Permit
from orchestrator.governance.grants import EXECUTE, Grants
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.metrics import Metrics
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import executions

_OUTPUTS = ("stdout", "stderr", "artifacts")
_KILLED = {"timeout", "oom", "output_limit", "cancelled"}


class SandboxPort(Protocol):
    """What is needed of the sandbox room."""

    def admit(self, request: ExecutionRequest) -> Limits:
        """The limits that will hold. Raises `Invalid` with all faults of the request."""
        ...

    async def run(
        self,
        execution_id: str,
        request: ExecutionRequest,
        *,
        owner: str,
        permit: Permit,
        on_status: Callable[[str], None],
    ) -> Execution:
        """Run it. Raises `Unavailable` or `TooMany` if it did not start; otherwise every outcome is an `Execution`."""
        ...


class Executions:
    """Governed executions, running and past."""

    def __init__(
        self,
        sandbox: SandboxPort,
        grants: Grants,
        journal: Journal,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._sandbox = sandbox
        self._grants = grants
        self._journal = journal
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._metrics = metrics
        self._running: dict[str, str] = {}

    async def open(self) -> None:
        """Say of executions that a dead daemon left behind what is true of them: they may have run."""
        query = select(executions.c.id).where(executions.c.status.in_(("queued", "running")))
        left = [row.id for row in await self._store.read(lambda tx: tx.execute(query).all())]
        for execution_id in left:
            lost = Execution(
                id=execution_id, status="infra", reason="The daemon ended while this ran: it may have run."
            )
            entry = Entry("sandbox.completed", execution_id, "daemon", outcome="infra", data={"reason": lost.reason})
            await self._finish(lost, entry)

    async def run(self, request: ExecutionRequest, caller: Caller, *, query_id: str | None = None) -> Execution:
        """Run code for a caller. Refusals raise; whatever the code did is an `Execution`."""
        execution_id, created_at = new_id(), rfc3339(self._clock.now())
        facts: dict[str, Any] = {"key_id": caller.key_id, "query_id": query_id, "source": caller.source}
        try:
            limits = self._sandbox.admit(request)
            permit = self._grants.permit(EXECUTE, execution_id, caller)
        except OrchestratorError as fault:
            await self._refused(execution_id, caller, facts, fault, None)
            raise
        facts |= {"permit_id": permit.id, "approved_by": permit.approved_by}
        await self._begin(execution_id, created_at, request, limits, caller, permit, facts)
        try:
            outcome = await self._sandbox.run(
                execution_id,
                request,
                owner=caller.owner,
                permit=permit,
                on_status=lambda s: self._mark(execution_id, s),
            )
        except OrchestratorError as fault:
            await self._refused(execution_id, caller, facts, fault, permit)
            raise
        finally:
            self._running.pop(execution_id, None)
        told = {
            "language": request.language,
            "profile": request.profile,
            "subject": request.subject,
            "created_at": created_at,
        }
        outcome = outcome.model_copy(update=told)
        await self._finish(outcome, _completed(outcome, caller, permit, facts))
        self._metrics.executions.labels(outcome.status, request.isolation).inc()
        self._metrics.execution_seconds.observe(outcome.usage.wall_ms / 1000)
        return outcome

    async def get(self, execution_id: str, caller: Caller) -> Execution:
        """One execution with its outputs. Raises `NotFound` for another's, too."""
        query = select(executions).where(executions.c.id == execution_id)
        row = await self._store.read(lambda tx: tx.execute(query).mappings().first())
        if row is None or not caller.sees(row["owner"]):
            raise NotFound("no such execution")
        outputs = pydantic_core.from_json(await self._blobs.get(row["outputs_ref"])) if row["outputs_ref"] else {}
        return Execution.model_validate({**self._summary(row), **outputs})

    async def page(
        self, caller: Caller, *, limit: int, before: str | None = None, subject: str | None = None
    ) -> list[dict[str, Any]]:
        """Executions without their outputs, newest first."""
        query = select(executions).order_by(executions.c.id.desc()).limit(limit)
        if not caller.may(Scope.ADMIN):
            query = query.where(executions.c.owner == caller.owner)
        if before is not None:
            query = query.where(executions.c.id < before)
        if subject is not None:
            query = query.where(executions.c.subject == subject)
        rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        return [self._summary(row) for row in rows]

    def _summary(self, row: Any) -> dict[str, Any]:
        summary = {n: row[n] for n in ("id", "status", "language", "profile", "subject", "created_at")}
        summary |= row["summary"] or {}
        summary["status"] = self._running.get(row["id"], row["status"])
        return summary

    def _mark(self, execution_id: str, status: str) -> None:
        self._running[execution_id] = status

    async def _begin(
        self,
        execution_id: str,
        created_at: str,
        request: ExecutionRequest,
        limits: Limits,
        caller: Caller,
        permit: Permit,
        facts: dict[str, Any],
    ) -> None:
        (request_ref,), kept = self._blobs.part(request.model_dump_json(exclude_defaults=True).encode())
        row = {
            "id": execution_id,
            "owner": caller.owner,
            "query_id": facts["query_id"],
            "created_at": created_at,
            "status": "queued",
            "language": request.language,
            "profile": request.profile,
            "subject": request.subject,
            "permit_id": permit.id,
            "request_ref": request_ref,
        }
        data = {**facts, "request_ref": request_ref, "limits": limits.model_dump()}
        entry = Entry("sandbox.started", execution_id, caller.owner, "started", data, caller.owner, permit.basis_id)

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(insert(executions), row)
            return None, [entry]

        self._mark(execution_id, "queued")
        await self._journal.write(work, [kept])

    async def _finish(self, outcome: Execution, entry: Entry) -> None:
        dump = outcome.model_dump(mode="json", exclude_none=True)
        outputs = {name: dump.pop(name) for name in _OUTPUTS}
        parts, ref = [], None
        if any(outputs.values()):
            (ref,), kept = self._blobs.part(pydantic_core.to_json(outputs))
            parts.append(kept)
            entry.data["outputs_ref"] = ref
        values = {"status": outcome.status, "summary": dump, "outputs_ref": ref}

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(update(executions).where(executions.c.id == outcome.id).values(**values))
            return None, [entry]

        await self._journal.write(work, parts)

    async def _refused(
        self, execution_id: str, caller: Caller, facts: dict[str, Any], fault: OrchestratorError, permit: Permit | None
    ) -> None:
        entry = Entry(
            "sandbox.refused",
            execution_id,
            caller.owner,
            fault.code,
            {**facts, "detail": fault.detail},
            caller.owner,
            permit.basis_id if permit else None,
        )

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            refused = {"reason": fault.detail, "id": execution_id}
            tx.execute(
                update(executions).where(executions.c.id == execution_id).values(status="infra", summary=refused)
            )
            return None, [entry]

        await self._journal.write(work)


def _completed(outcome: Execution, caller: Caller, permit: Permit, facts: dict[str, Any]) -> Entry:
    data = {
        **facts,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "limits_hit": outcome.limits_hit,
        "reason": outcome.reason,
        "usage": outcome.usage.model_dump(),
        "sandbox": outcome.sandbox.model_dump(exclude_none=True) if outcome.sandbox else None,
    }
    topic = "sandbox.killed" if outcome.status in _KILLED else "sandbox.completed"
    return Entry(topic, outcome.id, caller.owner, outcome.status, data, caller.owner, permit.basis_id)
