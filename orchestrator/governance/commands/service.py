"""Commands, act by act: what a person asks of them, each in one transaction with its event, audit row and budget."""

import asyncio
from functools import partial
from typing import Any

import structlog
from sqlalchemy import RowMapping, insert, select

from orchestrator.audit.entries import Entry
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.commands import Action, ApproveCommand, CreateCommand
from orchestrator.contracts.errors import Conflict, OrchestratorError, Unavailable
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.commands import approvals, budgets, effects, journal, locks, machine, outputs, records
from orchestrator.governance.commands.aftercare import Aftercare
from orchestrator.governance.commands.drafts import Draft
from orchestrator.governance.commands.locks import Locked
from orchestrator.governance.commands.planning import Planning, digest_of
from orchestrator.governance.commands.runner import Runner
from orchestrator.governance.commands.runs import Run
from orchestrator.governance.contexts import scope_of
from orchestrator.governance.halts import Halts
from orchestrator.governance.identities import Context
from orchestrator.governance.plans.telling import PlanJournal
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.kernel.clock import Clock, later, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import admissions, commands

Written = tuple[Any, list[Entry]]
log = structlog.get_logger("commands")
_OFTEN_S, _SELDOM_S = 0.2, 30.0
_CHANGED = "what was approved is not what would have run: a tool or the rules have changed since"


class Commands:
    """All commands of this store (seed 004, CONTRACT 5)."""

    def __init__(
        self, store: Store, journal: PlanJournal, planning: Planning, runner: Runner, aftercare: Aftercare,
        halts: Halts, clock: Clock, supervisor: Supervisor, settings: GovernanceSettings,
    ) -> None:  # fmt: skip
        self._store = store
        self._journal = journal
        self.planning = planning
        self._runner = runner
        self._aftercare = aftercare
        self._halts = halts
        self._clock = clock
        self._supervisor = supervisor
        self._settings = settings

    async def open(self) -> None:
        """Take up what a dead daemon left executing; what it left open otherwise waits for a person as before."""
        query = select(commands).where(commands.c.status == "executing")
        for row in await self._store.read(lambda tx: tx.execute(query).mappings().all()):
            await self._take_up(row)
        waited = select(commands.c.id).join(admissions).where(commands.c.status == "approved")
        for command_id in await self._store.read(lambda tx: tx.execute(waited).scalars().all()):
            self._by_itself(command_id)

    def _by_itself(self, command_id: str) -> None:
        """Execute what was admitted after all as soon as its context is free: who asked waits for the answer alone."""
        self._supervisor.child(f"command {command_id} by itself", self._execute_when_free(command_id))

    async def _execute_when_free(self, command_id: str) -> None:
        while True:
            try:
                await self._execute(command_id, None, "daemon")
            except (Locked, Unavailable):
                await asyncio.sleep(_OFTEN_S)
            except OrchestratorError as fault:  # refused meanwhile, or its plugin is another one: a person decides
                log.info("command.not_executed", command=command_id, reason=fault.detail)
                return
            else:
                return

    async def keep_expiring(self) -> None:
        """Cancel what nobody approved in time, for those who only look; no act rests on it (R4-17)."""
        while True:
            await asyncio.sleep(min(max(self._settings.approval_ttl_s / 20, _OFTEN_S), _SELDOM_S))
            try:
                for command_id in await self._store.read(lambda tx: approvals.overdue(tx, self._store.now(tx))):
                    await self._journal.write(partial(self._expire, command_id=command_id))
            except OrchestratorError as fault:
                log.warning("commands.not_swept", reason=fault.detail)  # the store is away; it is asked again

    def _expire(self, tx: Tx, command_id: str) -> Written:
        row, now = records.load(tx, command_id), self._store.now(tx)
        approval = approvals.current(tx, command_id)
        waits = row["status"] in machine.EDGES["expire"]
        if not waits or approval is None or not approvals.expire(tx, approval["id"], now):
            return None, []
        return None, self._cancelled(tx, row, "expire", now, "daemon", "expired", None)

    async def _take_up(self, row: RowMapping) -> None:
        version = await self._store.read(lambda tx: records.version_of(tx, row["id"], row["plan_version"]))
        draft: Draft | None = None
        try:
            draft = await self.planning.draft_of(row)
            same = digest_of(row, draft) == version["digest"]
            fault = None if same else "what was approved has changed while no daemon ran"
        except OrchestratorError as invalid:
            fault = invalid.detail

        def work(tx: Tx) -> Written:
            now = self._store.now(tx)
            if draft is not None and fault is None:
                return self._lock(tx, row, draft, now), []
            budgets.release(tx, row["id"])
            locks.release(tx, scope_of(row["context_id"]), row["id"])
            records.stop_steps(tx, row, now, str(fault))
            failed = records.move(tx, row, "fail", "failed", now, failure={"error": fault})
            told = records.event(failed, "command.execution_failed", "daemon", "failed", failure=failed["failure"])
            return 0, [told, records.violation(tx, failed, "digest_mismatch", str(fault), now)]

        fence = await self._journal.write(work)
        if fence and draft is not None:
            await self._runner.take_up(Run.of(row, draft, fence))

    async def create(self, asked: CreateCommand, context: Context, caller: Caller) -> JsonObject:
        """Take in an intent; nothing is planned yet."""
        row = records.new_row(asked, context, self._now())

        def work(tx: Tx) -> Written:
            tx.execute(insert(commands), row)
            made = records.load(tx, str(row["id"]))
            return {**records.view(made), "results": []}, [records.event(made, "command.created", caller.owner)]

        return dict(await self._journal.write(work))

    async def get(self, command_id: str, context: Context) -> JsonObject:
        """One command. Raises `NotFound`."""
        return await self._store.read(lambda tx: records.view(records.load(tx, command_id, context.judges)))

    async def status(self, command_id: str, context: Context) -> JsonObject:
        """Where it is. Raises `NotFound`."""
        return await self._store.read(lambda tx: records.status_view(records.load(tx, command_id, context.judges)))

    async def page(self, context: Context, *, limit: int, before: str | None, only_open: bool) -> list[JsonObject]:
        """Commands that a context may see, newest first."""
        query = select(commands).order_by(commands.c.id.desc())
        if context.judges is not None:
            query = query.where(commands.c.identity_id == context.judges)
        if before is not None:
            query = query.where(commands.c.id < before)
        if only_open:
            undecided = (commands.c.status == "failed") & commands.c.resolution.is_(None)
            query = query.where(commands.c.status.in_(("awaiting_approval", "approved")) | undecided)
        rows = await self._store.read(lambda tx: tx.execute(query.limit(limit)).mappings().all())
        return [records.view(row) for row in rows]

    async def approve(self, command_id: str, asked: ApproveCommand, context: Context, caller: Caller) -> JsonObject:
        """Give the approval that is asked for; `approved: false` refuses it. Raises `Forbidden` for all but persons."""
        if not asked.approved:
            return await self.reject(command_id, asked.notes, context, caller)
        person = approvals.person_of(caller)
        row = await self._store.read(lambda tx: records.load(tx, command_id, context.judges))
        machine.require("approve", row["status"])
        if asked.modifications is not None:
            await self.planning.modify(row, asked.modifications, context, caller)
            return await self.get(command_id, context)
        paused = row["execution_id"] is not None and self._halts.current is None
        draft = await self.planning.draft_of(row) if paused else None
        begun = {"fence": 0}

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            machine.require("approve", row["status"])
            approval = approvals.current(tx, command_id)
            assert approval is not None, "what awaits an approval has asked for one"
            if self._settings.four_eyes:
                approvals.require_another(tx, approval["requested_by"], person)
            version = records.version_of(tx, command_id, row["plan_version"])
            digest = asked.digest or version["digest"]
            if (fault := approvals.approve(tx, approval["id"], digest, person, now, asked.notes)) is not None:
                return fault, self._expired(tx, row, now, fault)
            told = {"digest": digest, "approved_by": person, "approval_id": approval["id"]}
            if draft is None:
                row = records.move(tx, row, "approve", "approved", now)
                return None, [records.event(row, "command.approved", person, **told)]
            begun["fence"] = self._lock(tx, row, draft, now)
            if (fault := approvals.consume(tx, approval["id"], digest_of(row, draft), now)) is not None:
                raise fault
            row = records.move(tx, row, "approve", "executing", now)
            return None, [records.event(row, "command.approved", person, **told)]

        view = await self._act(command_id, context.judges, work)
        if draft is not None:  # in step mode the approval itself resumes
            self._runner.start(Run.of(row, draft, begun["fence"]))
        elif await self._store.read(lambda tx: records.is_admission(tx, command_id)):
            self._by_itself(command_id)
        return view

    async def reject(self, command_id: str, notes: str | None, context: Context, caller: Caller) -> JsonObject:
        """Refuse a plan: the command is cancelled. Raises `Forbidden` for all but persons."""
        person = approvals.person_of(caller)

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            machine.require("reject", row["status"])
            approval = approvals.current(tx, command_id)
            waits = approval is not None and approval["state"] == "pending"
            fault = approvals.reject(tx, approval["id"], person, now, notes) if waits and approval else None
            if fault is not None:
                return fault, self._expired(tx, row, now, fault)
            return None, self._cancelled(tx, row, "reject", now, person, "rejected", notes)

        return await self._act(command_id, context.judges, work)

    async def execute(
        self, command_id: str, context: Context, caller: Caller, told: JsonObject | None = None
    ) -> str:  # fmt: skip
        """Begin to do what was approved, and answer the execution's id; while it goes on, the same id again.

        `told` is what policy hooks are told of this execution.

        Raises `Conflict` (`illegal_transition`, `approval_expired`, `plan_changed`), `Locked`, `Unavailable`.
        """
        return await self._execute(command_id, context.touches, caller.owner, told)

    async def _execute(
        self, command_id: str, whose: str | None, actor: str, told: JsonObject | None = None
    ) -> str:  # fmt: skip
        row = await self._store.read(lambda tx: records.load(tx, command_id, whose))
        if row["status"] == "executing":
            return str(row["execution_id"])
        machine.require("execute", row["status"])
        self._halts.check()
        draft = await self.planning.draft_of(row)
        digest = digest_of(row, draft)
        execution_id, begun = new_id(), {"fence": 0}

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            if row["status"] == "executing":
                return None, []
            machine.require("execute", row["status"])
            if effects.pending(tx, command_id):
                raise Conflict("what it did before is still being undone; ask again", code="effects_pending")
            basis_id = None
            if row["status"] == "planned":  # nothing in it needs a person; each step takes its use of a grant
                if records.version_of(tx, command_id, row["plan_version"])["digest"] != digest:
                    return Conflict("a tool has changed since: plan again", code="plan_changed"), []
            else:
                approval = approvals.current(tx, command_id)
                assert approval is not None, "what was approved has an approval"
                basis_id = approval["id"]
                if (fault := approvals.consume(tx, basis_id, digest, now)) is not None:
                    return fault, self._expired(tx, row, now, fault)
            fence = begun["fence"] = self._lock(tx, row, draft, now)
            begins = {"execution_id": execution_id, "execution_context": told}
            row = records.move(tx, row, "execute", "executing", now, **begins)
            data: dict[str, Any] = {"executionId": execution_id, "fence": fence, "approval_id": basis_id}
            started = records.event(row, "command.execution_started", actor, **data)
            return None, [started]

        view = await self._act(command_id, whose, work)
        if view["execution_id"] == execution_id:
            self._runner.start(Run.of({**row, "execution_context": told}, draft, begun["fence"]))
        return str(view["execution_id"])

    async def cancel(self, command_id: str, context: Context, caller: Caller) -> JsonObject:
        """End a command; what runs of it is ended, too. Of a cancelled one nothing is left to do."""

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            if row["status"] == "cancelled":
                return None, []
            machine.require("cancel", row["status"])
            return None, self._cancelled(tx, row, "cancel", now, caller.owner, None, None)

        view = await self._act(command_id, context.touches, work)
        self._runner.cancel(command_id)
        return view

    async def stop(self, identity_id: str, actor: str) -> None:
        """Cancel all that an identity has open or under way: it has been switched off (R4-47)."""
        open_ = (commands.c.identity_id == identity_id, commands.c.status.not_in(machine.TERMINAL))
        for command_id in await self._store.read(
            lambda tx: tx.execute(select(commands.c.id).where(*open_)).scalars().all()
        ):
            await self.withdraw(command_id, actor, "the identity was switched off")

    async def withdraw(self, command_id: str, actor: str, why: str) -> None:
        """Cancel a command where it is; one that has ended stays as it is."""
        await self._journal.write(partial(self._withdrawn, command_id=command_id, actor=actor, why=why))
        self._runner.cancel(command_id)

    def _withdrawn(self, tx: Tx, command_id: str, actor: str, why: str) -> Written:
        row, now = records.load(tx, command_id), self._store.now(tx)
        if row["status"] in machine.TERMINAL:
            return None, []
        return None, self._cancelled(tx, row, "cancel", now, actor, None, why)

    async def decide(self, command_id: str, action: Action, context: Context, caller: Caller) -> JsonObject:
        """What a person wants of a failed command: the same steps once more, another plan, or nothing (R4-37, X-31).

        A retry is a new version of the plan, to be approved; steps that completed are not done again.
        """
        person = approvals.person_of(caller)
        row = await self._store.read(lambda tx: records.load(tx, command_id, context.touches))
        machine.require("discard" if action == "discard" else "retry", row["status"], row["resolution"])
        if action == "discard":
            return await self._act(
                command_id, context.touches, lambda tx, now, row: (None, _discarded(tx, row, person, now))
            )
        if action == "modify":
            await self.planning.plan(command_id, context, caller, "retry")
        else:
            steps = await self._store.read(lambda tx: records.steps_of(tx, command_id))
            done = frozenset(step["step_id"] for step in steps if step["status"] == "completed")
            await self.planning.put(row, await self.planning.draft_of(row), context, caller, "retry", done)
        self._aftercare.wake()
        return await self.get(command_id, context)

    async def _act(self, command_id: str, whose: str | None, work: Any) -> JsonObject:
        """Do one act in a transaction. A refusal that it found is raised after what it found is on disk."""

        def transaction(tx: Tx) -> Written:
            row = records.load(tx, command_id, whose)
            fault, entries = work(tx, self._store.now(tx), row)
            return (fault, records.view(records.load(tx, command_id))), entries

        fault, view = await self._journal.write(transaction)
        self._aftercare.wake()
        if fault is not None:
            raise fault
        return dict(view)

    def _expired(self, tx: Tx, row: RowMapping, now: str, fault: Conflict) -> list[Entry]:
        """What a refused approval does: too late cancels the command (R4-17), for another plan asks anew (3.2)."""
        if fault.code == "plan_changed" and row["status"] == "approved":  # a tool is another one now: ask again
            approvals.void(tx, row["id"])
            row = records.move(tx, row, "void", "awaiting_approval", now)
            voided = records.event(row, "command.approval_voided", "daemon", "plan_changed")
            return [voided, records.violation(tx, row, "digest_mismatch", _CHANGED, now)]
        if fault.code != "approval_expired":
            return []
        return self._cancelled(tx, row, "expire", now, "daemon", "expired", None)

    def _cancelled(
        self, tx: Tx, row: RowMapping, act: machine.Act, now: str, actor: str, decision: str | None, notes: str | None
    ) -> list[Entry]:
        approvals.void(tx, row["id"])
        outputs.abandon(tx, row["id"], (), "rejected", now)
        effects.abandon(tx, row["id"], (), now)
        running = [attempt["step_index"] for attempt in journal.under_way(tx, row["id"], row["plan_version"])]
        effects.wait_for(tx, row["id"], running, later(now, self._settings.undo_grace_s))
        budgets.release(tx, row["id"])
        locks.release(tx, scope_of(row["context_id"]), row["id"])
        records.stop_steps(tx, row, now, decision or "cancelled")
        row = records.move(tx, row, act, "cancelled", now, decision=decision)
        return [records.event(row, "command.cancelled", actor, decision or "cancelled", decision=decision, notes=notes)]

    def _lock(self, tx: Tx, row: RowMapping, draft: Draft, now: str) -> int:
        """Take the scope of a command, shared where nothing in it has effects. Raises `Locked`."""
        mode: locks.Mode = "shared" if draft.pure else "exclusive"
        return locks.acquire(
            tx, scope_of(row["context_id"]), row["id"], mode, now, later(now, self._settings.lock_lease_s)
        )

    def _now(self) -> str:
        """For what no deadline rests on; those are judged by the store's clock."""
        return rfc3339(self._clock.now())


def _discarded(tx: Tx, row: RowMapping, person: str, now: str) -> list[Entry]:
    row = records.move(tx, row, "discard", "failed", now, resolution="discarded")
    outputs.abandon(tx, row["id"], (), "rejected", now)
    effects.abandon(tx, row["id"], (), now)
    return [records.event(row, "command.discarded", person, "discarded")]
