"""Commands, act by act: what a person asks of them, each in one transaction with its event, audit row and budget."""

from typing import Any

import pydantic_core
from sqlalchemy import RowMapping, insert, select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.commands import Action, ApproveCommand, CreateCommand
from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Conflict, Forbidden, OrchestratorError
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Plan
from orchestrator.governance.capabilities import Capabilities
from orchestrator.governance.commands import approvals, budgets, drafts, locks, machine, records
from orchestrator.governance.commands.drafts import Draft
from orchestrator.governance.commands.planner import Planner, Rank
from orchestrator.governance.commands.runner import Run, Runner, lock_scope
from orchestrator.governance.identities import Context
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host.host import Host
from orchestrator.kernel.clock import Clock, later, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import commands

Written = tuple[Any, list[Entry]]


class Commands:
    """All commands of this store (seed 004, CONTRACT 5)."""

    def __init__(
        self, store: Store, journal: Journal, blobs: Blobs, host: Host, runner: Runner, rank: Rank, clock: Clock,
        settings: GovernanceSettings,
    ) -> None:  # fmt: skip
        self._store = store
        self._journal = journal
        self._blobs = blobs
        self._host = host
        self._runner = runner
        self._rank = rank
        self._clock = clock
        self._settings = settings
        self._known: Capabilities | None = None

    async def open(self) -> None:
        """Take up what a dead daemon left executing; what it left open otherwise waits for a person as before."""
        query = select(commands).where(commands.c.status == "executing")
        for row in await self._store.read(lambda tx: tx.execute(query).mappings().all()):
            await self._take_up(row)

    async def _take_up(self, row: RowMapping) -> None:
        version = await self._store.read(lambda tx: records.version_of(tx, row["id"], row["plan_version"]))
        try:
            draft = await self._stored_draft(version)
            changed = draft.digest(row["plan_version"], _bound(row), row["context_id"], row["approval_mode"])
            fault = None if changed == version["digest"] else "what was approved has changed while no daemon ran"
        except OrchestratorError as invalid:
            draft, fault = None, invalid.detail

        def work(tx: Tx) -> Written:
            now = self._store.now(tx)
            if draft is not None and fault is None:
                return self._lock(tx, row, draft, now), []
            budgets.release(tx, row["id"])
            locks.release(tx, lock_scope(row["context_id"]), row["id"])
            failed = records.move(tx, row, "fail", "failed", now, failure={"error": fault})
            return 0, [records.event(failed, "command.execution_failed", "daemon", "failed", failure=failed["failure"])]

        fence = await self._journal.write(work)
        if fence and draft is not None:
            await self._runner.take_up(Run(row["id"], row["context_id"], row["plan_version"], draft, fence))

    def capabilities(self) -> Capabilities:
        """The registry as it is now."""
        if self._known is None or self._known.table is not self._host.table():
            self._known = Capabilities(self._host.table())
        return self._known

    async def create(self, asked: CreateCommand, context: Context, caller: Caller) -> JsonObject:
        """Take in an intent; nothing is planned yet."""
        now = self._now()
        row = {
            "id": new_id(), "identity_id": context.identity_id, "context_id": context.id,
            "sphere": asked.target_sphere or context.sphere, "intent": asked.intent, "status": "created",
            "estimated_cost": Cost().model_dump(mode="json"), "created_at": now, "updated_at": now,
            "asked": asked.model_dump(mode="json", exclude={"intent"}), "approval_mode": asked.approval_mode,
            "plan_version": 0, "execution_id": None, "decision": None, "resolution": None, "failure": None,
        }  # fmt: skip

        def work(tx: Tx) -> Written:
            tx.execute(insert(commands), row)
            made = records.load(tx, str(row["id"]))
            return records.view(made), [records.event(made, "command.created", caller.owner)]

        return dict(await self._journal.write(work))

    async def get(self, command_id: str, context: Context) -> JsonObject:
        """One command. Raises `NotFound`."""
        return await self._store.read(lambda tx: records.view(records.load(tx, command_id, context.identity_id)))

    async def status(self, command_id: str, context: Context) -> JsonObject:
        """Where it is. Raises `NotFound`."""
        return await self._store.read(lambda tx: records.status_view(records.load(tx, command_id, context.identity_id)))

    async def page(self, context: Context, *, limit: int, before: str | None, only_open: bool) -> list[JsonObject]:
        """Commands of an identity, newest first."""
        query = select(commands).where(commands.c.identity_id == context.identity_id).order_by(commands.c.id.desc())
        if before is not None:
            query = query.where(commands.c.id < before)
        if only_open:
            undecided = (commands.c.status == "failed") & commands.c.resolution.is_(None)
            query = query.where(commands.c.status.in_(("awaiting_approval", "approved")) | undecided)
        rows = await self._store.read(lambda tx: tx.execute(query.limit(limit)).mappings().all())
        return [records.view(row) for row in rows]

    async def plan(self, command_id: str, context: Context, caller: Caller) -> JsonObject:
        """Make a plan, reserve its cost, ask for its approval; again: another plan, and what was approved is void.

        Raises `NoCandidate`, `Invalid` (`budget_exceeded`, `plan_invalid`), `Conflict`, `NotFound`.
        """
        row = await self._store.read(lambda tx: records.load(tx, command_id, context.identity_id))
        machine.require("plan", row["status"])
        capabilities = self.capabilities()
        made = Planner(capabilities, self._rank).plan(command_id, command_id, row["intent"], self._now())
        return await self._put_plan(row, drafts.draft(made, capabilities, self._settings), context, caller)

    async def get_plan(self, command_id: str, context: Context) -> JsonObject:
        """The plan as it was shown for approval, with how its steps went. Raises `NotFound`."""

        def work(tx: Tx) -> tuple[RowMapping, RowMapping, list[RowMapping], dict[str, RowMapping], str | None]:
            row = records.load(tx, command_id, context.identity_id)
            version = records.version_of(tx, command_id, row["plan_version"])
            found = records.steps_of(tx, command_id), records.results_of(tx, command_id)
            return row, version, *found, records.expires_at(tx, command_id)

        row, version, steps, results, expires = await self._store.read(work)
        stored = pydantic_core.from_json(await self._blobs.get(version["plan_ref"]))
        params = {step["id"]: step["params"] for step in stored["plan"]["steps"]}
        told = [{**step, "params": params[step["step_id"]]} for step in steps]
        for step in told:
            if (result := results.get(step["id"])) is not None:
                step["output_reference"] = result["output_reference"]
                step["output"] = pydantic_core.from_json(await self._blobs.get(result["output_reference"]["ref"]))
        return {
            "command_id": command_id, "plan_version": row["plan_version"], "digest": version["digest"],
            "steps": told, "estimated_cost": version["estimated_cost"], "expires_at": expires,
        }  # fmt: skip

    async def approve(self, command_id: str, asked: ApproveCommand, context: Context, caller: Caller) -> JsonObject:
        """Give the approval that is asked for; `approved: false` refuses it. Raises `Forbidden` for all but persons."""
        if not asked.approved:
            return await self.reject(command_id, asked.notes, context, caller)
        person = _person(caller)

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            machine.require("approve", row["status"])
            approval = approvals.current(tx, command_id)
            assert approval is not None, "what awaits an approval has asked for one"
            version = records.version_of(tx, command_id, row["plan_version"])
            digest = asked.digest or version["digest"]
            if (fault := approvals.approve(tx, approval["id"], digest, person, now, asked.notes)) is not None:
                return fault, self._expired(tx, row, now, fault)
            row = records.move(tx, row, "approve", "approved", now)
            told = {"digest": digest, "approved_by": person, "approval_id": approval["id"]}
            return None, [records.event(row, "command.approved", person, **told)]

        return await self._act(command_id, context, work)

    async def reject(self, command_id: str, notes: str | None, context: Context, caller: Caller) -> JsonObject:
        """Refuse a plan: the command is cancelled. Raises `Forbidden` for all but persons."""
        person = _person(caller)

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            machine.require("reject", row["status"])
            approval = approvals.current(tx, command_id)
            waits = approval is not None and approval["state"] == "pending"
            fault = approvals.reject(tx, approval["id"], person, now, notes) if waits and approval else None
            if fault is not None:
                return fault, self._expired(tx, row, now, fault)
            return None, self._cancelled(tx, row, "reject", now, person, "rejected", notes)

        return await self._act(command_id, context, work)

    async def execute(self, command_id: str, context: Context, caller: Caller) -> str:
        """Begin to do what was approved, and answer the execution's id; while it goes on, the same id again.

        Raises `Conflict` (`illegal_transition`, `approval_expired`, `plan_changed`), `Locked`, `Unavailable`.
        """
        row = await self._store.read(lambda tx: records.load(tx, command_id, context.identity_id))
        if row["status"] == "executing":
            return str(row["execution_id"])
        machine.require("execute", row["status"])
        version = await self._store.read(lambda tx: records.version_of(tx, command_id, row["plan_version"]))
        draft = await self._stored_draft(version)
        digest = draft.digest(row["plan_version"], _bound(row), row["context_id"], row["approval_mode"])
        execution_id, begun = new_id(), {"fence": 0}

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            if row["status"] == "executing":
                return None, []
            machine.require("execute", row["status"])
            approval = approvals.current(tx, command_id)
            assert approval is not None
            if (fault := approvals.consume(tx, approval["id"], digest, now)) is not None:
                return fault, self._expired(tx, row, now, fault)
            fence = begun["fence"] = self._lock(tx, row, draft, now)
            row = records.move(tx, row, "execute", "executing", now, execution_id=execution_id)
            told = {"executionId": execution_id, "fence": fence, "approval_id": approval["id"]}
            started = records.event(row, "command.execution_started", caller.owner, **told)
            return None, [started]

        view = await self._act(command_id, context, work)
        if view["execution_id"] == execution_id:
            self._runner.start(Run(command_id, row["context_id"], row["plan_version"], draft, begun["fence"]))
        return str(view["execution_id"])

    async def cancel(self, command_id: str, context: Context, caller: Caller) -> JsonObject:
        """End a command; what runs of it is ended, too. Of a cancelled one nothing is left to do."""

        def work(tx: Tx, now: str, row: RowMapping) -> tuple[Conflict | None, list[Entry]]:
            if row["status"] == "cancelled":
                return None, []
            machine.require("cancel", row["status"])
            return None, self._cancelled(tx, row, "cancel", now, caller.owner, None, None)

        view = await self._act(command_id, context, work)
        self._runner.cancel(command_id)
        return view

    async def decide(self, command_id: str, action: Action, context: Context, caller: Caller) -> JsonObject:
        """What a person wants of a failed command: the same steps once more, another plan, or nothing (R4-37, X-31).

        A retry is a new version of the plan, to be approved; steps that completed are not done again.
        """
        person = _person(caller)
        row = await self._store.read(lambda tx: records.load(tx, command_id, context.identity_id))
        machine.require("discard" if action == "discard" else "retry", row["status"])
        if action == "discard":
            return await self._act(command_id, context, lambda tx, now, row: (None, _discarded(tx, row, person, now)))
        if action == "modify":
            made = Planner(self.capabilities(), self._rank).plan(command_id, command_id, row["intent"], self._now())
            await self._put_plan(row, drafts.draft(made, self.capabilities(), self._settings), context, caller, "retry")
        else:
            version = await self._store.read(lambda tx: records.version_of(tx, command_id, row["plan_version"]))
            steps = await self._store.read(lambda tx: records.steps_of(tx, command_id))
            done = frozenset(step["step_id"] for step in steps if step["status"] == "completed")
            await self._put_plan(row, await self._stored_draft(version), context, caller, "retry", done)
        return await self.get(command_id, context)

    async def _put_plan(
        self, row: RowMapping, draft: Draft, context: Context, caller: Caller, act: machine.Act = "plan",
        done: frozenset[str] = frozenset(),
    ) -> JsonObject:  # fmt: skip
        """Make a draft the command's plan. Steps in `done` are those of the plan before, and cost nothing more."""
        command_id, bound = row["id"], _bound(row)
        left = sum((step.estimate for step in draft.steps if step.step.id not in done), Cost())
        bounds = {f"command:{command_id}": bound, f"context:{context.id}": context.bound}
        encoded = pydantic_core.to_json(drafts.as_stored(draft))
        (plan_ref,), part = self._blobs.part(encoded)

        def work(tx: Tx) -> Written:
            now = self._store.now(tx)
            row = records.load(tx, command_id, context.identity_id)
            machine.require(act, row["status"])
            budgets.release(tx, command_id)
            budgets.reserve(tx, command_id, left, bounds)
            number = row["plan_version"] + 1
            digest = draft.digest(number, bound, row["context_id"], row["approval_mode"])
            estimate = left.model_dump(mode="json")
            version = {
                "command_id": command_id, "version": number, "digest": digest, "plan_ref": plan_ref,
                "estimated_cost": estimate, "created_at": now,
            }  # fmt: skip
            records.replace_plan(tx, command_id, drafts.rows(draft, command_id, new_id, now), version, done)
            ends = later(now, self._settings.approval_ttl_s)
            approval_id = approvals.request(tx, command_id, number, digest, caller.owner, now, ends)
            values = {"plan_version": number, "estimated_cost": estimate, "failure": None}
            row = records.move(tx, row, act, "awaiting_approval", now, **values)
            told = {"planVersion": number, "digest": digest, "planRef": plan_ref, "approvalRequest": approval_id}
            return None, [records.event(row, "command.planned", caller.owner, metadata={"cost": estimate}, **told)]

        await self._journal.write(work, [part])
        return await self.get_plan(command_id, context)

    async def _stored_draft(self, version: RowMapping) -> Draft:
        """The plan of a version over the registry of now: where a tool has changed since, its digest is another."""
        stored = pydantic_core.from_json(await self._blobs.get(version["plan_ref"]))
        return drafts.draft(Plan.model_validate(stored["plan"]), self.capabilities(), self._settings)

    async def _act(self, command_id: str, context: Context, work: Any) -> JsonObject:
        """Do one act in a transaction. A refusal that it found is raised after what it found is on disk."""

        def transaction(tx: Tx) -> Written:
            row = records.load(tx, command_id, context.identity_id)
            fault, entries = work(tx, self._store.now(tx), row)
            return (fault, records.view(records.load(tx, command_id))), entries

        fault, view = await self._journal.write(transaction)
        if fault is not None:
            raise fault
        return dict(view)

    def _expired(self, tx: Tx, row: RowMapping, now: str, fault: Conflict) -> list[Entry]:
        """What a refused approval does: too late cancels the command (R4-17), for another plan asks anew (3.2)."""
        if fault.code == "plan_changed" and row["status"] == "approved":  # a tool is another one now: ask again
            approvals.void(tx, row["id"])
            row = records.move(tx, row, "void", "awaiting_approval", now)
            return [records.event(row, "command.approval_voided", "daemon", "plan_changed")]
        if fault.code != "approval_expired":
            return []
        return self._cancelled(tx, row, "expire", now, "daemon", "expired", None)

    def _cancelled(
        self, tx: Tx, row: RowMapping, act: machine.Act, now: str, actor: str, decision: str | None, notes: str | None
    ) -> list[Entry]:
        approvals.void(tx, row["id"])
        budgets.release(tx, row["id"])
        locks.release(tx, lock_scope(row["context_id"]), row["id"])
        row = records.move(tx, row, act, "cancelled", now, decision=decision)
        return [records.event(row, "command.cancelled", actor, decision or "cancelled", decision=decision, notes=notes)]

    def _lock(self, tx: Tx, row: RowMapping, draft: Draft, now: str) -> int:
        """Take the scope of a command, shared where nothing in it has effects. Raises `Locked`."""
        mode: locks.Mode = "shared" if draft.pure else "exclusive"
        return locks.acquire(
            tx, lock_scope(row["context_id"]), row["id"], mode, now, later(now, self._settings.lock_lease_s)
        )

    def _now(self) -> str:
        """For what no deadline rests on; those are judged by the store's clock."""
        return rfc3339(self._clock.now())


def _discarded(tx: Tx, row: RowMapping, person: str, now: str) -> list[Entry]:
    row = records.move(tx, row, "discard", "failed", now, resolution="discarded")
    return [records.event(row, "command.discarded", person, "discarded")]


def _bound(row: RowMapping) -> Bound:
    return CreateCommand.model_validate({"intent": "-", **row["asked"]}).bound()


def _person(caller: Caller) -> str:
    """Raises `Forbidden`: agents, plugins, voice and services never approve (X-26)."""
    if caller.kind != "person" or caller.source != "http":
        raise Forbidden("only a person can approve or reject", code="person_required")
    return caller.owner
