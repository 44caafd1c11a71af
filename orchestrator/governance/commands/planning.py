"""A command's plan: made, modified, priced, reserved and put to a person; and what it looks like (R4-18)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pydantic_core
from pydantic import ValidationError
from sqlalchemy import RowMapping

from orchestrator.audit.entries import Entry
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.commands import Constraints, CreateCommand, Modifications
from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Conflict, Invalid
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Plan
from orchestrator.governance import contexts, quotas
from orchestrator.governance.capabilities import Capabilities, Capability
from orchestrator.governance.commands import (
    admitted,
    approvals,
    bases,
    budgets,
    drafts,
    effects,
    machine,
    outputs,
    records,
)
from orchestrator.governance.commands.drafts import Draft
from orchestrator.governance.commands.planner import Planner, Rank
from orchestrator.governance.identities import Context
from orchestrator.governance.local import LocalCapabilities
from orchestrator.governance.plans import records as plan_records
from orchestrator.governance.plans.telling import PlanJournal
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host.host import Host
from orchestrator.kernel.clock import Clock, later, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx

Before = Callable[[Tx], list[Entry]]


class Planning:
    """Plans of commands."""

    def __init__(
        self, store: Store, journal: PlanJournal, blobs: Blobs, host: Host, rank: Rank, clock: Clock,
        settings: GovernanceSettings, local: LocalCapabilities,
    ) -> None:  # fmt: skip
        self.local = local
        self._known_local = -1
        self._store = store
        self._journal = journal
        self._blobs = blobs
        self._host = host
        self._rank = rank
        self._clock = clock
        self._settings = settings
        self._known: Capabilities | None = None

    def capabilities(self) -> Capabilities:
        """The registry as it is now."""
        table, version = self._host.table(), self.local.version
        if self._known is None or self._known.table is not table or self._known_local != version:
            self._known = Capabilities(table, self.local.current())
            self._known_local = version
        return self._known

    def planner(self) -> Planner:
        """A planner over the registry as it is now."""
        return Planner(self.capabilities(), self._rank)

    async def plan(self, command_id: str, context: Context, caller: Caller, act: machine.Act = "plan") -> JsonObject:
        """Make a plan, reserve its cost, ask for its approval; again: another plan, and what was approved is void.

        Where the plan was given, it is that one, over the registry of now.

        Raises `NoCandidate`, `Invalid` (`budget_exceeded`, `plan_invalid`), `Conflict`, `NotFound`.
        """
        row = await self._store.read(lambda tx: records.load(tx, command_id, context.touches))
        machine.require(act, row["status"])
        if row["plan_version"] and (draft := await self._admitted_before(row)) is not None:
            return await self.put(row, draft, context, caller, act)
        now = rfc3339(self._clock.now())
        given = await self._store.read(lambda tx: plan_records.current(tx, command_id))
        if given is None:
            made = self.planner().plan(command_id, command_id, row["intent"], now)
        else:
            made = Plan.model_validate(pydantic_core.from_json(await self._blobs.get(given["plan_ref"])))
        return await self.put(row, drafts.draft(made, self.capabilities(), self._settings), context, caller, act)

    async def get_plan(self, command_id: str, context: Context) -> JsonObject:
        """The plan as it was shown for approval, with how its steps went. Raises `NotFound`."""

        def work(tx: Tx) -> tuple[RowMapping, RowMapping, list[RowMapping], dict[str, RowMapping], str | None]:
            row = records.load(tx, command_id, context.judges)
            version = records.version_of(tx, command_id, row["plan_version"])
            found = records.steps_of(tx, command_id), records.results_of(tx, command_id)
            return row, version, *found, records.expires_at(tx, command_id)

        row, version, steps, results, expires = await self._store.read(work)
        stored = pydantic_core.from_json(await self._blobs.get(version["plan_ref"]))
        params = {step["id"]: step["params"] for step in stored["plan"]["steps"]}
        nothing = {"output_reference": None, "output": None, "request": await self._request(stored)}
        told = [{**step, "params": params[step["step_id"]], **nothing} for step in steps]
        for step in told:
            if (result := results.get(step["id"])) is not None:
                step["output_reference"] = result["output_reference"]
                step["output"] = pydantic_core.from_json(await self._blobs.get(result["output_reference"]["ref"]))
        return {
            "command_id": command_id, "plan_version": row["plan_version"], "digest": version["digest"],
            "steps": told, "estimated_cost": version["estimated_cost"], "expires_at": expires,
        }  # fmt: skip

    async def _request(self, stored: JsonObject) -> Any:
        """What a query, an execution or a session asks for word by word, for the person who is to approve it."""
        admission = stored.get("admission")
        return None if admission is None else pydantic_core.from_json(await self._blobs.get(admission["request_ref"]))

    async def modify(self, row: RowMapping, wanted: Modifications, context: Context, caller: Caller) -> None:
        """Another plan, as the approver wants it; it awaits an approval of its own (X-25). Raises `Invalid`."""
        if await self._admitted_before(row) is not None:
            raise Invalid("a query, or an execution, is approved as it is or refused")
        if row["execution_id"] is not None:
            raise Conflict("a plan that has begun is not modified: cancel it, or reject it", extra={"state": "paused"})
        version = await self._store.read(lambda tx: records.version_of(tx, row["id"], row["plan_version"]))
        stored = pydantic_core.from_json(await self._blobs.get(version["plan_ref"]))
        plan, tools = Plan.model_validate(stored["plan"]), dict(stored["tools"])
        if wanted.new_tool is not None:
            if wanted.step_index is None or wanted.step_index >= len(plan.steps):
                raise Invalid(
                    f"stepIndex: a step from 0 to {len(plan.steps) - 1}",
                    errors=[{"loc": ["modifications", "stepIndex"], "msg": "names no step"}],
                )
            tools[plan.steps[wanted.step_index].id] = wanted.new_tool
        asked = dict(row["asked"])
        if wanted.new_constraints is not None:
            asked["constraints"] = _constraints(asked.get("constraints") or {}, wanted.new_constraints)
        draft = drafts.draft(plan, self.capabilities(), self._settings, tools)
        await self.put({**row, "asked": asked}, draft, context, caller)

    async def put(
        self, row: Mapping[Any, Any], draft: Draft, context: Context, caller: Caller, act: machine.Act = "plan",
        done: frozenset[str] = frozenset(), before: Before | None = None,
    ) -> JsonObject:  # fmt: skip
        """Make a draft the command's plan. Steps in `done` are those of the plan before, and cost nothing more.

        `before` writes what comes first in the same transaction, and answers what that tells.
        """
        command_id, bound, asked = row["id"], bound_of(row), row["asked"]
        left = sum((step.estimate for step in draft.steps if step.step.id not in done), Cost())
        encoded = pydantic_core.to_json(drafts.as_stored(draft))
        (plan_ref,), part = self._blobs.part(encoded)

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            first_told = [] if before is None else before(tx)
            now = self._store.now(tx)
            row = records.load(tx, command_id)
            machine.require(act, row["status"])
            where = row["context_id"]
            bounds = {f"command:{command_id}": bound, contexts.scope_of(where): contexts.bound_of(tx, where)}
            bounds |= quotas.bounds_of(caller, now)
            budgets.release(tx, command_id)
            budgets.reserve(tx, command_id, left, bounds)
            number = row["plan_version"] + 1
            digest = draft.digest(number, bound, row["context_id"], row["approval_mode"])
            estimate = left.model_dump(mode="json")
            version = {
                "command_id": command_id, "version": number, "digest": digest, "plan_ref": plan_ref,
                "estimated_cost": estimate, "created_at": now,
            }  # fmt: skip
            kept = [step.index for step in draft.steps if step.step.id in done]
            outputs.abandon(tx, command_id, done, "superseded", now)
            effects.abandon(tx, command_id, kept, now)
            free = bases.granted(tx, {**row, "asked": asked}, draft, done, now, four_eyes=self._settings.four_eyes)
            records.replace_plan(tx, command_id, drafts.rows(draft, command_id, new_id, now, free), version, done)
            waiting = [step.index for step in draft.steps if step.step.id not in done and step.index not in free]
            approval_id = None
            if waiting or not free:
                ends = later(now, self._settings.approval_ttl_s)
                first = next(iter(waiting), 0) if row["approval_mode"] == "step" else None
                approval_id = approvals.request(tx, command_id, number, digest, caller.owner, now, ends, first)
            else:
                approvals.void(tx, command_id)
            values = {
                "plan_version": number, "estimated_cost": estimate, "failure": None, "execution_id": None,
                "asked": asked,
            }  # fmt: skip
            to: machine.Status = "planned" if approval_id is None else "awaiting_approval"
            row = records.move(tx, row, act, to, now, **values)
            told = {"planVersion": number, "digest": digest, "planRef": plan_ref, "approvalRequest": approval_id}
            cost = {"cost": estimate}
            entries = [*first_told, records.event(row, "command.planned", caller.owner, metadata=cost, **told)]
            if approval_id is not None:
                asks = records.event(row, "command.awaiting_approval", "daemon", "awaiting_approval", **told)
                entries.append(replace(asks, audited=False))  # of the two the audit needs one
            return None, entries

        await self._journal.write(work, [part])
        return await self.get_plan(command_id, context)

    def admitted(self, plan: Plan, capability: Capability, admission: JsonObject) -> Draft:
        """The draft of a query or an execution that waits for a person."""
        return admitted.draft(plan, capability, admission, self._settings)

    async def _admitted_before(self, row: RowMapping) -> Draft | None:
        draft = await self.draft_of(row)
        return None if draft.admission is None else draft

    async def draft_of(self, row: RowMapping) -> Draft:
        """A command's plan over the registry of now: where a tool has changed since, its digest is another."""
        version = await self._store.read(lambda tx: records.version_of(tx, row["id"], row["plan_version"]))
        stored = pydantic_core.from_json(await self._blobs.get(version["plan_ref"]))
        if (admission := admitted.again(stored, self.capabilities(), self._settings)) is not None:
            return admission
        plan = Plan.model_validate(stored["plan"])
        return drafts.draft(plan, self.capabilities(), self._settings, stored["tools"])


def digest_of(row: Mapping[Any, Any], draft: Draft) -> str:
    """What an approval of this command's plan is bound to."""
    return draft.digest(row["plan_version"], bound_of(row), row["context_id"], row["approval_mode"])


def bound_of(row: Mapping[Any, Any]) -> Bound:
    """The most that a command may cost by its own word."""
    return CreateCommand.model_validate({"intent": "-", **row["asked"]}).bound()


def _constraints(before: JsonObject, wanted: JsonObject) -> JsonObject:
    """The constraints with what an approver wants otherwise. Raises `Invalid`."""
    try:
        merged = Constraints.model_validate_json(pydantic_core.to_json({**before, **wanted}))
    except ValidationError as fault:
        errors = [{"loc": ["modifications", "newConstraints", *e["loc"]], "msg": e["msg"]} for e in fault.errors()]
        raise Invalid(f"newConstraints: {errors[0]['msg']}", errors=errors[:20]) from None
    return merged.model_dump(mode="json")
