"""Doing what was approved: step by step, each written down before it begins and after it ended (R4-19, R4-34)."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core
import structlog
from sqlalchemy import RowMapping, insert, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.bus.port import Bus
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import OrchestratorError
from orchestrator.contracts.plans import StepResult
from orchestrator.governance.commands import approvals, budgets, drafts, locks, records
from orchestrator.governance.commands.drafts import Draft, DraftStep
from orchestrator.governance.permits import PermitOffice
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host.calls import HANDLE, Call, HandleMessage, Reply
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.tasks import Supervisor
from orchestrator.plans import scheduling, templates
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import attempts, execution_plans, execution_results

log = structlog.get_logger("commands")


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one attempt of a step ended: the text of its output, or what went wrong."""

    output: bytes = b""
    fault: OrchestratorError | None = None
    seconds: float = 0.0


class Runner:
    """Runs commands that are executing, each as a task of its own."""

    def __init__(
        self, store: Store, journal: Journal, blobs: Blobs, bus: Bus, office: PermitOffice, clock: Clock,
        supervisor: Supervisor, settings: GovernanceSettings,
    ) -> None:  # fmt: skip
        self._store = store
        self._journal = journal
        self._blobs = blobs
        self._bus = bus
        self._office = office
        self._clock = clock
        self._supervisor = supervisor
        self._settings = settings
        self._running: dict[str, asyncio.Task[Any]] = {}

    def start(self, command_id: str, draft: Draft) -> None:
        """Go on with a command that is executing, from where its rows say it is."""
        task = self._supervisor.child(f"command {command_id}", self._run(command_id, draft))
        self._running[command_id] = task
        task.add_done_callback(lambda _: self._running.pop(command_id, None))

    def cancel(self, command_id: str) -> None:
        """End the work of a command that was cancelled."""
        if (task := self._running.get(command_id)) is not None:
            task.cancel()

    async def _run(self, command_id: str, draft: Draft) -> None:
        with contextlib.suppress(_Stale):
            while (todo := await self._next(command_id, draft)) is not None:
                await asyncio.gather(*(self._step(command_id, draft, step) for step in todo))

    async def _next(self, command_id: str, draft: Draft) -> list[DraftStep] | None:
        """The steps to start now; None when the command has come to its end, which is written down then."""
        results, outputs = await self._known(command_id)
        decision = scheduling.decide(draft.plan, results, outputs)
        by_id = {one.step.id: one for one in draft.steps}

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            row, now = self._held(tx, command_id)
            entries = []
            for skip in decision.skip:
                entries.append(_ended_step(tx, row, by_id[skip.step_id], "skipped", skip.message, skip.reason))
            for step_id, why in decision.fail:
                entries.append(_ended_step(tx, row, by_id[step_id], "failed", why))
            if decision.done:
                entries.append(self._finish(tx, row, decision.status, now))
            return None, entries

        if decision.skip or decision.fail or decision.done:
            await self._journal.write(work)
        if decision.done:
            return None
        return [by_id[step_id] for step_id in decision.start]

    async def _step(self, command_id: str, draft: Draft, step: DraftStep) -> None:
        """One attempt: its row before it begins, its outcome after it ended; between them the work."""
        row, approval = await self._journal.write(lambda tx: self._begin(tx, command_id, step))
        _, outputs = await self._known(command_id)
        ended = await self._attempt(row, approval, step, outputs)
        cost = drafts.actual(ended.seconds, self._settings.estimated_gib, self._settings)
        (ref,), part = self._blobs.part(ended.output or b"null")
        reference = {"ref": ref, "sha256": ref, "size": len(ended.output), "type": "application/json"}
        await self._journal.write(lambda tx: self._end(tx, command_id, step, ended, cost, reference), [part])

    def _begin(self, tx: Tx, command_id: str, step: DraftStep) -> tuple[Any, list[Entry]]:
        row, now = self._held(tx, command_id)
        here = (execution_plans.c.command_id == command_id, execution_plans.c.step_index == step.index)
        tx.execute(update(execution_plans).where(*here).values(status="running"))
        attempt = {
            "command_id": command_id, "plan_version": row["plan_version"], "step_index": step.index, "attempt": 1,
            "fence": 0, "started_at": now, "due_at": None, "ended_at": None, "outcome": None,
        }  # fmt: skip
        tx.execute(insert(attempts), attempt)
        approval = approvals.current(tx, command_id)
        assert approval is not None
        told = {"metadata": {"stepIndex": step.index}, "skill": step.step.name, "approval_id": approval["id"]}
        return (row, approval), [records.event(row, "command.step_started", "daemon", "started", **told)]

    async def _attempt(self, row: RowMapping, approval: RowMapping, step: DraftStep, outputs: dict[str, Any]) -> _Ended:
        began = self._clock.monotonic()
        try:
            params = templates.bind(step.step.params, scheduling.scope_of(outputs))
            reply = await self._call(row, approval, step, params)
            return _Ended(reply.encoded, seconds=self._clock.monotonic() - began)
        except OrchestratorError as fault:
            return _Ended(fault=fault, seconds=self._clock.monotonic() - began)

    async def _call(self, row: RowMapping, approval: RowMapping, step: DraftStep, params: dict[str, Any]) -> Reply:
        capability = step.capability
        assert capability is not None
        call_id = new_id()
        caller = Caller(row["identity_id"], "person", frozenset(), source="daemon")
        permit = self._office.issue(
            capability.permit_for, call_id, caller, "approval", approval["id"], approval["decided_by"]
        )
        seconds = min(capability.timeout_s, (step.step.timeout or 86_400_000) / 1e3)
        request = {
            "id": call_id, "text": str(params.get("text", step.step.description)), "intent": capability.intent,
            "params": params, "source": "command",
        }  # fmt: skip
        call = Call(call_id, caller, permit, self._clock.monotonic() + seconds)
        reply: Reply = await self._bus.ask(HANDLE, HandleMessage(capability.tool, request, call))
        return reply

    def _end(
        self, tx: Tx, command_id: str, step: DraftStep, ended: _Ended, cost: Cost, reference: dict[str, Any]
    ) -> tuple[None, list[Entry]]:
        row, now = self._held(tx, command_id)
        outcome = "completed" if ended.fault is None else ended.fault.code
        key = (attempts.c.command_id == command_id, attempts.c.plan_version == row["plan_version"])
        here = (*key, attempts.c.step_index == step.index, attempts.c.ended_at.is_(None))
        tx.execute(update(attempts).where(*here).values(ended_at=now, outcome=outcome))
        budgets.spend(tx, command_id, cost)
        if ended.fault is not None:
            return None, [_ended_step(tx, row, step, "failed", ended.fault.detail)]
        steps = {one["step_index"]: one for one in records.steps_of(tx, command_id)}
        result = {
            "id": new_id(), "plan_step_id": steps[step.index]["id"], "agent_type": "tool",
            "output_reference": reference, "token_usage": cost.tokens, "cost": cost.model_dump(mode="json"),
            "created_at": now, "plan_version": row["plan_version"], "state": "proposed",
        }  # fmt: skip
        tx.execute(insert(execution_results), result)
        return None, [_ended_step(tx, row, step, "completed", None, cost=cost)]

    def _finish(self, tx: Tx, row: RowMapping, status: str, now: str) -> Entry:
        """The end of a command: nothing is held any more (I6)."""
        budgets.release(tx, row["id"])
        locks.release(tx, f"context:{row['context_id']}", row["id"])
        if status == "completed":
            row = records.move(tx, row, "complete", "completed", now)
            return records.event(row, "command.execution_completed", "daemon")
        failed = next((step for step in records.steps_of(tx, row["id"]) if step["status"] == "failed"), None)
        failure = None if failed is None else {"stepIndex": failed["step_index"], "error": failed["error"]}
        row = records.move(tx, row, "fail", "failed", now, failure=failure)
        return records.event(row, "command.execution_failed", "daemon", "failed", failure=failure)

    def _held(self, tx: Tx, command_id: str) -> tuple[RowMapping, str]:
        """The command, if it is still ours to work at. Raises `_Stale` where it was cancelled meanwhile."""
        row, now = records.load(tx, command_id), rfc3339(self._clock.now())
        if row["status"] != "executing":
            raise _Stale
        return row, now

    async def _known(self, command_id: str) -> tuple[dict[str, StepResult], dict[str, Any]]:
        """How the steps went so far, and the outputs of those that completed."""

        def work(tx: Tx) -> tuple[Sequence[RowMapping], dict[str, RowMapping]]:
            return records.steps_of(tx, command_id), records.results_of(tx, command_id)

        steps, results = await self._store.read(work)
        known: dict[str, StepResult] = {}
        outputs: dict[str, Any] = {}
        for step in steps:
            told = {name: step[name] for name in ("step_id", "status", "error", "skip_reason")}
            known[step["step_id"]] = StepResult(**told)
            if (result := results.get(step["id"])) is not None:
                outputs[step["step_id"]] = pydantic_core.from_json(
                    await self._blobs.get(result["output_reference"]["ref"])
                )
        return known, outputs


class _Stale(Exception):
    """The command is not executing any more: whoever works at it stops."""


def _ended_step(
    tx: Tx, row: RowMapping, step: DraftStep, status: str, error: str | None, reason: str | None = None,
    cost: Cost | None = None,
) -> Entry:  # fmt: skip
    """Write how a step ended; the event and audit row that tell it, with what R4-32 wants in it."""
    here = (execution_plans.c.command_id == row["id"], execution_plans.c.step_index == step.index)
    values = {"status": status, "error": error and error[:4000], "skip_reason": reason}
    tx.execute(update(execution_plans).where(*here).values(**values))
    used = cost or Cost()
    told: dict[str, Any] = {
        "metadata": {"stepIndex": step.index, "tokensUsed": used.tokens, "cost": used.model_dump(mode="json")},
        "agent_id": step.capability.agent_id if step.capability else None, "skill": step.step.name,
        "tool": step.capability.tool if step.capability else step.step.type, "error": error, "reason": reason,
    }  # fmt: skip
    return records.event(row, f"command.step_{status}", "daemon", status, **told)
