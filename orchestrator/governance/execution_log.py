"""What is written of executions: a row and an audit entry before one starts, and again when it has ended (R4-43).

Outputs and requests are blobs; rows and entries hold references to them.
"""

import asyncio
from typing import Any

import pydantic_core
from sqlalchemy import bindparam, delete, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.errors import NotFound, OrchestratorError
from orchestrator.contracts.executions import Execution, ExecutionRequest, Limits
from orchestrator.contracts.permits import Permit
from orchestrator.governance import alarms
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.bulk import insert_rows
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import audit, executions

_OUTPUTS = ("stdout", "stderr", "artifacts", "artifacts_skipped", "cases")
_STARTED = ("key_id", "query_id", "source", "permit_id", "approved_by", "isolation", "limits", "request_ref")
"""What the entry of a start says that holds for its end as well."""
_KILLED = {"timeout", "oom", "output_limit", "cancelled"}


class ExecutionLog:
    """The rows of the table `executions`, and the entries that go with them."""

    def __init__(self, journal: Journal, store: Store, blobs: Blobs) -> None:
        self._journal = journal
        self._store = store
        self._blobs = blobs

    async def unfinished(self) -> list[str]:
        """Executions that were under way when an earlier daemon died."""
        query = select(executions.c.id).where(executions.c.status.in_(("queued", "running")))
        return [row.id for row in await self._store.read(lambda tx: tx.execute(query).all())]

    def begin(
        self, execution_id: str, created_at: str, request: ExecutionRequest, limits: Limits, caller: Caller,
        permit: Permit, facts: dict[str, Any],
    ) -> "asyncio.Future[None]":  # fmt: skip
        """Write that it starts; done when that is durable. What is written of it later is durable later."""
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
        data = {**facts, "request_ref": request_ref, "isolation": request.isolation, "limits": limits.model_dump()}
        entry = Entry("sandbox.started", execution_id, caller.owner, "started", data, caller.owner, permit.basis_id)
        return self._journal.append(entry, parts=[kept, (_insert, row)])

    async def finish(
        self, outcome: Execution, limits: Limits, caller: Caller, permit: Permit, facts: dict[str, Any]
    ) -> None:
        """Write how it ended, and which limits it came near to; durable when this returns."""
        near = alarms.of_execution(outcome.usage, limits)
        about = (outcome.id, caller.owner)
        told = [Entry("sandbox.alert", *about, one["limit"], one, caller.owner, permit.basis_id) for one in near]
        await self._finish(outcome, _completed(outcome, caller, permit, facts), *told)

    async def lost(self, execution_id: str) -> None:
        """Write of one that a dead daemon left behind what is true of it: it may have run."""
        reason = "The daemon ended while this ran: it may have run."
        row, started = await self._store.read(lambda tx: _begun(tx, execution_id))
        data, owner, basis = {"reason": reason}, row["owner"], None
        if started is not None:
            facts = pydantic_core.from_json(started["data"])
            data = {**{name: facts[name] for name in _STARTED if name in facts}, **data}
            basis = started["approval_id"]
        entry = Entry("sandbox.completed", execution_id, "daemon", "infra", data, owner, basis)
        told = {**_summary(row), "status": "infra", "reason": reason}
        await self._finish(Execution.model_validate(told), entry)

    async def request(self, request_ref: str) -> bytes:
        """A request as it was kept."""
        return await self._blobs.get(request_ref)

    async def forget(self, execution_id: str) -> None:
        """Take away the row of an execution that is begun anew; the audit keeps what it says of it."""
        await self._store.write(lambda tx: _delete(tx, execution_id))

    async def refused(
        self, execution_id: str, caller: Caller, facts: dict[str, Any], fault: OrchestratorError, permit: Permit | None
    ) -> None:
        """Write that it did not start, and why."""
        data = {**facts, "detail": fault.detail}
        basis = permit.basis_id if permit else None
        entry = Entry("sandbox.refused", execution_id, caller.owner, fault.code, data, caller.owner, basis)
        summary = {"reason": fault.detail, "id": execution_id}

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            row = executions.c.id == execution_id
            tx.execute(update(executions).where(row).values(status="infra", summary=summary))
            return None, [entry]

        await self._journal.write(work)

    async def get(self, execution_id: str, caller: Caller) -> Execution:
        """One execution with its outputs. Raises `NotFound` for another's, too."""
        query = select(executions).where(executions.c.id == execution_id)
        row = await self._store.read(lambda tx: tx.execute(query).mappings().first())
        if row is None or not caller.sees(row["owner"]):
            raise NotFound("no such execution")
        outputs = pydantic_core.from_json(await self._blobs.get(row["outputs_ref"])) if row["outputs_ref"] else {}
        return Execution.model_validate({**_summary(row), **outputs})

    async def page(
        self, caller: Caller, *, limit: int, before: str | None, subject: str | None
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
        found = [Execution.model_validate(_summary(row)) for row in rows]
        return [execution.model_dump(mode="json", exclude=set(_OUTPUTS)) for execution in found]

    async def _finish(self, outcome: Execution, entry: Entry, *more: Entry) -> None:
        dump = outcome.model_dump(mode="json", exclude_none=True)
        outputs = {name: found for name in _OUTPUTS if (found := dump.pop(name, None))}
        parts, ref = [], None
        if outputs:
            (ref,), kept = self._blobs.part(pydantic_core.to_json(outputs))
            parts.append(kept)
            entry.data["outputs_ref"] = ref
        ended = {"of": outcome.id, "to_status": outcome.status, "to_summary": dump, "to_outputs_ref": ref}
        await self._journal.append(entry, *more, parts=[*parts, (_update, ended)])


_ENDED = (
    update(executions)
    .where(executions.c.id == bindparam("of"))
    .values(
        status=bindparam("to_status"), summary=bindparam("to_summary"), outputs_ref=bindparam("to_outputs_ref")
    )
)  # fmt: skip


def _insert(tx: Tx, rows: list[dict[str, Any]]) -> None:
    insert_rows(tx, executions, rows)


def _update(tx: Tx, rows: list[dict[str, Any]]) -> None:
    """Of rows that are there: an end is written only when the beginning is durable."""
    tx.execute(_ENDED, rows)


def _delete(tx: Tx, execution_id: str) -> None:
    tx.execute(delete(executions).where(executions.c.id == execution_id))


def _summary(row: Any) -> dict[str, Any]:
    summary = {n: row[n] for n in ("id", "status", "language", "profile", "subject", "created_at")}
    return {**summary, **(row["summary"] or {}), "status": row["status"]}


def _begun(tx: Tx, execution_id: str) -> tuple[Any, Any]:
    """The row of an execution, and the audit's of its start."""
    row = tx.execute(select(executions).where(executions.c.id == execution_id)).mappings().one()
    about = select(audit).where(audit.c.subject == execution_id, audit.c.action == "sandbox.started")
    return row, tx.execute(about).mappings().first()


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
