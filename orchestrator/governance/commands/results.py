"""The output gate: a person accepts, rejects or wants again what a step put out, or goes back (R4-13, R4-16, X-30)."""

from collections.abc import Callable
from typing import Any

import pydantic_core
from sqlalchemy import RowMapping

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.commands import DecideOutput, RollBack
from orchestrator.contracts.errors import Conflict, NotFound
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.commands import effects, outputs, records
from orchestrator.governance.commands.aftercare import Aftercare
from orchestrator.governance.commands.approvals import person_of
from orchestrator.governance.commands.machine import require
from orchestrator.governance.commands.planning import Planning
from orchestrator.governance.identities import Context
from orchestrator.plans.graph import Graph
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx

Act = Callable[[Tx, RowMapping, list[RowMapping], str], list[Entry]]
_MEANS = {"active": "accepted", "rejected": "rejected"}
_SHOWN = (
    "step_index", "step_id", "version", "state", "plan_version", "effects", "output_reference", "rolled_back_to",
    "created_at", "decided_by", "decided_at", "notes",
)  # fmt: skip


class Results:
    """Outputs of commands and what persons decided of them."""

    def __init__(self, store: Store, journal: Journal, blobs: Blobs, planning: Planning, aftercare: Aftercare) -> None:
        self._store = store
        self._journal = journal
        self._blobs = blobs
        self._planning = planning
        self._aftercare = aftercare

    async def of(self, command_id: str, context: Context) -> list[JsonObject]:
        """All versions; what the newest of each step and the ones in force say is with them. Raises `NotFound`."""

        def work(tx: Tx) -> list[JsonObject]:
            records.load(tx, command_id, context.judges)
            return [_view(tx, row) for row in outputs.all_of(tx, command_id)]

        found = await self._store.read(work)
        newest = {row["step_index"]: row["version"] for row in found}
        for row in found:
            if row["state"] == "active" or row["version"] == newest[row["step_index"]]:
                row["output"] = pydantic_core.from_json(await self._blobs.get(row["output_reference"]["ref"]))
        return found

    async def accept(
        self, command_id: str, step_index: int, asked: DecideOutput, context: Context, caller: Caller
    ) -> JsonObject:
        """Put a step's newest output in force; what its effect had prepared is released."""
        return await self._decide(command_id, step_index, "active", asked, context, caller)

    async def reject(
        self, command_id: str, step_index: int, asked: DecideOutput, context: Context, caller: Caller
    ) -> JsonObject:
        """Keep a step's newest output as history alone; its effect is undone, or never comes about."""
        return await self._decide(command_id, step_index, "rejected", asked, context, caller)

    async def regenerate(self, command_id: str, step_index: int, context: Context, caller: Caller) -> JsonObject:
        """Ask for a step's output once more: a new plan, to be approved, in which it and what rests on it run again."""
        person_of(caller)

        def work(tx: Tx) -> tuple[RowMapping, list[RowMapping]]:
            row = records.load(tx, command_id, context.touches)
            _versions(tx, row, step_index)
            return row, records.steps_of(tx, command_id)

        row, steps = await self._store.read(work)
        require("regenerate", row["status"])
        if row["resolution"] is not None:
            raise Conflict(f"the command was {row['resolution']}", extra={"state": row["resolution"]})
        draft = await self._planning.draft_of(row)
        if step_index >= len(draft.plan.steps):
            raise Conflict("the plan has no such step any more", extra={"state": row["status"]})
        graph = Graph(draft.plan)
        again = {at for at in range(len(draft.plan.steps)) if at == step_index or graph.before(at) >> step_index & 1}
        completed = (step for step in steps if step["status"] == "completed")
        done = frozenset(step["step_id"] for step in completed if step["step_index"] not in again)
        await self._planning.put(row, draft, context, caller, "regenerate", done)
        self._aftercare.wake()
        return await self._shown(command_id, step_index, context)

    async def roll_back(
        self, command_id: str, step_index: int, asked: RollBack, context: Context, caller: Caller
    ) -> JsonObject:
        """Put an earlier version in force again, as a new one; without a version, none is in force any more."""
        person = person_of(caller)

        def act(tx: Tx, row: RowMapping, versions: list[RowMapping], now: str) -> list[Entry]:
            active = next((one for one in versions if one["state"] == "active"), None)
            if active is None:
                raise Conflict("no version is in force, so there is nothing to go back from", extra={"state": "none"})
            _require_reversible(active, asked.version)
            told = {"from": active["version"], "to": asked.version, "notes": asked.notes}
            if asked.version is None:
                outputs.decide(tx, active, "superseded", person, now, asked.notes)
                effects.refuse(tx, active, now)
            else:
                to = next((one for one in versions if one["version"] == asked.version), None)
                if to is None or to["state"] != "superseded":
                    state = "there is none" if to is None else to["state"]
                    raise Conflict(f"version {asked.version} cannot be gone back to: {state}", extra={"state": state})
                told["version"] = outputs.roll_back(tx, active, to, person, now, asked.notes)
            return [_told(row, step_index, "rolled_back", person, **told)]

        return await self._act(command_id, step_index, context, act)

    async def _decide(
        self, command_id: str, step_index: int, state: str, asked: DecideOutput, context: Context, caller: Caller
    ) -> JsonObject:
        person = person_of(caller)

        def act(tx: Tx, row: RowMapping, versions: list[RowMapping], now: str) -> list[Entry]:
            output = versions[-1]
            if asked.version not in (None, output["version"]):
                raise Conflict(f"its newest version is {output['version']}", code="output_changed")
            if output["state"] == state:
                return []
            if output["state"] != "proposed":
                raise Conflict(f"its output is {output['state']}", extra={"state": output["state"]})
            outputs.decide(tx, output, state, person, now, asked.notes)
            (effects.accept if state == "active" else effects.refuse)(tx, output, now)
            about = {"version": output["version"], "output_reference": output["output_reference"], "notes": asked.notes}
            return [_told(row, step_index, _MEANS[state], person, **about)]

        return await self._act(command_id, step_index, context, act)

    async def _act(self, command_id: str, step_index: int, context: Context, act: Act) -> JsonObject:
        def work(tx: Tx) -> tuple[None, list[Entry]]:
            row = records.load(tx, command_id, context.judges)
            return None, act(tx, row, _versions(tx, row, step_index), self._store.now(tx))

        await self._journal.write(work)
        self._aftercare.wake()
        return await self._shown(command_id, step_index, context)

    async def _shown(self, command_id: str, step_index: int, context: Context) -> JsonObject:
        versions = [row for row in await self.of(command_id, context) if row["step_index"] == step_index]
        return {"command_id": command_id, "step_index": step_index, "versions": versions}


def _versions(tx: Tx, row: RowMapping, step_index: int) -> list[RowMapping]:
    found = outputs.of_step(tx, row["id"], step_index)
    if not found:
        raise NotFound("the command has no output of such a step")
    return found


def _require_reversible(active: RowMapping, version: int | None) -> None:
    """Raise `Conflict` where going back would say what is not so in the world."""
    if active["effects"] == "deferred":
        raise Conflict("it was released, and cannot be taken back", code="irreversible")
    if active["effects"] == "compensated" and version is not None:
        raise Conflict(
            "its effect can be undone, not done again: roll back to no version, or regenerate", code="irreversible"
        )


def _told(row: RowMapping, step_index: int, what: str, person: str, **more: Any) -> Entry:
    metadata = {"stepIndex": step_index}
    return records.event(row, f"command.output_{what}", person, what, metadata=metadata, approved_by=person, **more)


def _view(tx: Tx, row: RowMapping) -> JsonObject:
    effect = effects.state_of(tx, row)
    told = {name: row[name] for name in _SHOWN}
    return {**told, "effect": None if effect is None else effect["state"], "output": None}
