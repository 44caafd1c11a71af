"""What was recorded of a plan, and how its execution went by that record. Outputs are read where they are kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_core
from pydantic import ValidationError
from sqlalchemy import RowMapping

from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import ExecutionResult, Plan, PlanEvent
from orchestrator.governance.commands.calls import inline
from orchestrator.governance.plans import records
from orchestrator.plans import archives, outcomes
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store

_MOST_OUTPUT_BYTES = 8 * 2**20
"""Of outputs in one answer; those beyond are there by reference only."""


class Histories:
    """Reads; never writes."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    async def events(self, row: RowMapping) -> list[PlanEvent]:
        """All entries of one plan, in the order in which they were recorded; the first has the plan itself."""
        if row["history_ref"] is not None:
            _, found = archives.imported(await self._blobs.get(row["history_ref"]))
            return found
        rows = await self._store.read(lambda tx: records.history(tx, row["id"]))
        given = pydantic_core.from_json(await self._blobs.get(row["plan_ref"]))
        return [_event(one, row["external_id"], given) for one in rows]

    async def plan(self, row: RowMapping) -> Plan:
        """The plan as it was given."""
        return Plan.model_validate(pydantic_core.from_json(await self._blobs.get(row["plan_ref"])))

    async def execution(self, row: RowMapping) -> ExecutionResult | None:
        """How its newest execution went, or goes; None where there was none."""
        events = await self.events(row)
        return outcomes.outcome(row["external_id"], events, await self._outputs(outcomes.references(events)))

    async def _outputs(self, references: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        left = _MOST_OUTPUT_BYTES
        for step_id, ref in references.items():
            data = await self._blobs.find(ref)
            left -= len(data or b"")
            if data is not None and left >= 0:
                found[step_id] = inline(data)
        return found


def _event(row: RowMapping, plan_id: str, given: JsonObject) -> PlanEvent:
    told = {"id": row["id"], "plan_id": plan_id, "timestamp": row["time"], "event": row["name"], "data": row["data"]}
    if row["name"] != "plan_created":
        return PlanEvent.model_validate(told)
    try:
        return PlanEvent.model_validate({**told, "data": {**row["data"], "plan": given}})
    except ValidationError:  # the plan alone is as large as an entry may be
        return PlanEvent.model_validate(told)


def plan_in(events: Sequence[PlanEvent]) -> Plan | None:
    """The plan that a history begins with, where it is told in full."""
    for event in events:
        if event.event == "plan_created" and isinstance(event.data, dict) and "plan" in event.data:
            try:
                return Plan.model_validate(event.data["plan"])
            except ValidationError:
                return None
    return None
