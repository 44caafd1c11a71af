"""Plans that were given, act by act: each is done by a command, by the same rules as any other (seed 001, CONTRACT 5).

A plan is priced, reserved and put to a person in the transaction that takes it in. Its approval, its execution and its
end are its command's; here they are found by the plan's id and told in seed 001's words.
"""

from collections.abc import Sequence
from typing import Any

import pydantic_core
from pydantic import ValidationError
from sqlalchemy import RowMapping, insert

from orchestrator.audit.entries import Entry
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.commands import ApproveCommand
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import Conflict, Invalid
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plan_acts import GivenPlan, PlanDetail, as_answer
from orchestrator.contracts.plans import Goal, Plan, PlanEvent, StepResult
from orchestrator.governance.commands import drafts, machine
from orchestrator.governance.commands import records as commands_of
from orchestrator.governance.commands.service import Commands
from orchestrator.governance.identities import Context
from orchestrator.governance.plans import records
from orchestrator.governance.plans.reading import Histories, plan_in
from orchestrator.governance.plans.telling import PlanJournal, created
from orchestrator.governance.policies.policies import Policies
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.plans import archives, content, replan
from orchestrator.sdk.policies import PolicyHook
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import commands as command_rows

_MOST_LISTED_BYTES = 8 * 2**20
_CONSTRAINTS = ("maxBudget", "maxDuration", "requiredApprovals")


class Plans:
    """All plans that were given to this store."""

    def __init__(
        self, store: Store, journal: PlanJournal, blobs: Blobs, commands: Commands, clock: Clock,
        settings: GovernanceSettings, policies: Policies,
    ) -> None:  # fmt: skip
        self.policies = policies
        self._store = store
        self._journal = journal
        self._blobs = blobs
        self._commands = commands
        self._clock = clock
        self._settings = settings
        self.histories = Histories(store, blobs)

    async def create(
        self, given: GivenPlan, context: Context, caller: Caller, intent: str | None = None
    ) -> JsonObject:  # fmt: skip
        """Take in a plan: judged, priced, and put to a person.

        Raises `Invalid` (`plan_invalid` with all faults, `budget_exceeded`), `Conflict` (`plan_exists`).
        """
        own_id = new_id()
        plan = given.plan(given.id or own_id, self._clock.now())
        planning = self._commands.planning
        draft = drafts.draft(plan, planning.capabilities(), self._settings)
        command = commands_of.new_row(given.command(plan, intent), context, self._now())
        row = self._row(own_id, plan, context, command["id"])

        def before(tx: Tx) -> list[Entry]:
            tx.execute(insert(command_rows), command)
            records.add(tx, row)
            taken_in = commands_of.load(tx, command["id"])
            return [
                commands_of.event(taken_in, "command.created", caller.owner),
                created(row, content.digest(plan), caller.owner),
            ]

        await self._blobs.put(_encoded(plan))
        await planning.put(command, draft, context, caller, before=before)
        return await self.get(own_id, context)

    async def for_goal(self, goal: Goal, context: Context, caller: Caller) -> JsonObject:
        """Plan a goal with the planner that commands use, and take the plan in.

        Of the goal's constraints, those that a command knows bound it; each step is told all of them. Raises
        `NoCandidate`, `Forbidden`, and what `create` raises.
        """
        planning = self._commands.planning
        made = planning.planner().for_goal(goal, new_id(), self._now())
        known = {name: value for name, value in (goal.constraints or {}).items() if name in _CONSTRAINTS}
        try:
            given = GivenPlan.model_validate({**made.model_dump(), "constraints": known or None})
        except ValidationError as fault:
            errors = [{"loc": list(error["loc"]), "msg": error["msg"]} for error in fault.errors(include_url=False)]
            raise Invalid(f"the goal: {errors[0]['msg']}", code="plan_invalid", errors=errors) from None
        return await self.create(given, context, caller, goal.description.strip() or None)

    async def get(self, plan_id: str, context: Context) -> JsonObject:
        """A plan, where it is, and how its execution goes. Raises `NotFound`."""
        row, command = await self._store.read(lambda tx: self._both(tx, plan_id, context))
        return await self._view(row, command)

    async def page(self, context: Context, *, limit: int, before: str | None) -> tuple[list[JsonObject], bool]:
        """Plans of an identity, newest first, without their executions; and whether there may be more.

        Fewer than `limit` where they are large.
        """

        def work(tx: Tx) -> list[tuple[RowMapping, RowMapping | None]]:
            return [(row, _command_of(tx, row)) for row in records.page(tx, context.identity_id, limit, before)]

        found = await self._store.read(work)
        told: list[JsonObject] = []
        size = 0
        for both in found:
            if size > _MOST_LISTED_BYTES:
                return told, True
            told.append(await self._view(*both, whole=False))
            size += len(pydantic_core.to_json(told[-1]))
        return told, len(told) == limit

    async def approve(self, plan_id: str, asked: ApproveCommand, context: Context, caller: Caller) -> JsonObject:
        """Give the approval that the plan awaits, or refuse it. Raises as `Commands.approve` does."""
        row = await self._doable(plan_id, context)
        await self._commands.approve(row["command_id"], asked, context, caller)
        return await self.get(row["id"], context)

    async def execute(
        self, plan_id: str, told: JsonObject | None, context: Context, caller: Caller, hooks: Sequence[PolicyHook] = ()
    ) -> str:  # fmt: skip
        """Begin to do the plan, once it is approved; the execution's id. Raises as `Commands.execute` does.

        `told` is what policy hooks are told; `hooks` are those that Python code gives, beside the ones of the settings.
        """
        row = await self._doable(plan_id, context)
        if hooks:
            self.policies.give(row["command_id"], hooks)
        with_ = {"told": told or {}, "hooks": [hook.name for hook in hooks]}
        return await self._commands.execute(row["command_id"], context, caller, with_)

    async def replan(
        self, plan_id: str, step_id: str | None, error: str | None, context: Context, caller: Caller
    ) -> JsonObject:  # fmt: skip
        """A new plan without the step that failed, under the same command, to be approved (R1-31, X-07).

        Steps that completed are not done again where nothing that they rest on has changed. Raises `Invalid`
        (`plan_invalid`) with the reasons where the others cannot do without the step, `Conflict` where none failed.
        """
        row = await self._doable(plan_id, context)
        planning = self._commands.planning
        command, results = await self._store.read(lambda tx: _standing(tx, row["command_id"]))
        machine.require("retry", command["status"])
        failed = step_id or next((one.step_id for one in results.values() if one.status == "failed"), None)
        if failed is None:
            raise Conflict("no step of it failed", extra={"state": command["status"]})
        own_id = new_id()
        made = replan.replan(
            await self.histories.plan(row), failed, results, new_id=own_id, created_at=rfc3339(self._clock.now())
        )
        if made.plan is None:
            errors = [fault.as_json() for fault in made.faults]
            raise Invalid(
                f"it cannot be done without {failed!r}: {errors[0]['msg']}", code="plan_invalid", errors=errors
            )
        plan = made.plan
        old = await planning.draft_of(command)
        tools = {one.step.id: one.capability.tool for one in old.steps if one.capability is not None}
        draft = drafts.draft(plan, planning.capabilities(), self._settings, tools)
        new = self._row(own_id, plan, context, command["id"]) | {"replaces": row["id"]}
        why = {"replaces": row["external_id"], "without": failed, **({"error": error} if error else {})}

        def before(tx: Tx) -> list[Entry]:
            records.supersede(tx, row, own_id)
            records.add(tx, new)
            return [created(new, content.digest(plan), caller.owner, **why)]

        await self._blobs.put(_encoded(plan))
        await planning.put(command, draft, context, caller, "retry", frozenset(made.reusable), before)
        return await self.get(own_id, context)

    async def history(self, plan_id: str, context: Context) -> tuple[str, list[PlanEvent]]:
        """A plan's id as it was given, and all that was recorded of it. Raises `NotFound`."""
        row = await self._store.read(lambda tx: records.load(tx, plan_id, context.identity_id))
        return row["external_id"], await self.histories.events(row)

    async def take_in(self, text: bytes, context: Context, caller: Caller) -> JsonObject:
        """Import a history, to be read like one of here; nothing of it is executed, now or ever (R1-27).

        Raises `Invalid` (`history_invalid`), `Conflict` (`plan_exists`).
        """
        external_id, events = archives.imported(text)
        plan = plan_in(events)
        if plan is None:
            raise Invalid("the history does not begin with its plan", code="history_invalid")
        row = self._row(new_id(), plan.model_copy(update={"id": external_id}), context, None)
        row["history_ref"] = await self._blobs.put(archives.exported(events, external_id))
        row["plan_ref"] = await self._blobs.put(_encoded(plan))

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            records.add(tx, row)
            data = {"planId": external_id, "historyRef": row["history_ref"], "events": len(events)}
            return None, [Entry("plan.imported", row["id"], caller.owner, data=data, owner=context.identity_id)]

        await self._journal.write(work)
        return await self.get(row["id"], context)

    def _row(self, own_id: str, plan: Plan, context: Context, command_id: str | None) -> JsonObject:
        (plan_ref,), _ = self._blobs.part(_encoded(plan))
        return {
            "id": own_id, "identity_id": context.identity_id, "external_id": plan.id, "goal_id": plan.goal_id,
            "command_id": command_id, "plan_ref": plan_ref, "history_ref": None, "replaces": None,
            "superseded_by": None, "created_at": self._now(),
        }  # fmt: skip

    async def _doable(self, plan_id: str, context: Context) -> RowMapping:
        """A plan that a command does. Raises `Conflict` for one that was superseded or imported."""
        row = await self._store.read(lambda tx: records.load(tx, plan_id, context.identity_id))
        if row["superseded_by"] is not None:
            told = f"another plan has taken its place: {row['superseded_by']}"
            raise Conflict(told, extra={"state": "superseded", "superseded_by": row["superseded_by"]})
        if row["command_id"] is None:
            raise Conflict("it is the record of a plan from elsewhere", extra={"state": "imported"})
        return row

    def _both(self, tx: Tx, plan_id: str, context: Context) -> tuple[RowMapping, RowMapping | None]:
        row = records.load(tx, plan_id, context.identity_id)
        return row, _command_of(tx, row)

    async def _view(self, row: RowMapping, command: RowMapping | None, *, whole: bool = True) -> JsonObject:
        plan = await self.histories.plan(row)
        told: dict[str, Any] = {
            **plan.model_dump(), "id": row["external_id"], "uuid": row["id"], "open": False,
            "command_id": row["command_id"], "replaces": row["replaces"], "superseded_by": row["superseded_by"],
            "status": "imported" if command is None else "superseded",
        }  # fmt: skip
        if command is not None and row["superseded_by"] is None:
            told |= await self._store.read(lambda tx: _approval_of(tx, command))
            told.setdefault("estimatedCost", float(told["estimate"].usd))
        if whole:
            told["execution"] = await self.histories.execution(row)
        return as_answer(PlanDetail.model_validate(told))

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def _command_of(tx: Tx, row: RowMapping) -> RowMapping | None:
    return None if row["command_id"] is None else commands_of.load(tx, row["command_id"])


def _approval_of(tx: Tx, command: RowMapping) -> dict[str, Any]:
    """Where a plan's command is, and what an approval of it is bound to."""
    version = commands_of.version_of(tx, command["id"], command["plan_version"])
    return {
        "status": command["status"], "open": commands_of.view(command)["open"], "digest": version["digest"],
        "estimate": Cost.model_validate(version["estimated_cost"]),
        "expires_at": commands_of.expires_at(tx, command["id"]),
    }  # fmt: skip


def _standing(tx: Tx, command_id: str) -> tuple[RowMapping, dict[str, StepResult]]:
    """A command, and how its steps ended. A step that a policy denied can be left out like one that failed."""
    found = {}
    for step in commands_of.steps_of(tx, command_id):
        denied = step["skip_reason"] == "policy_denied"
        status: Any = "failed" if denied else "pending" if step["status"] == "approved" else step["status"]
        found[step["step_id"]] = StepResult(step_id=step["step_id"], status=status)
    return commands_of.load(tx, command_id), found


def _encoded(plan: Plan) -> bytes:
    return pydantic_core.to_json(plan.model_dump(mode="json"))
