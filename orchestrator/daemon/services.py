"""The daemon as plugins reach it: each call acts as the caller of the query being answered."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.api import bodies
from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.bus.port import Bus
from orchestrator.bus.topics import is_topic
from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.events import Event
from orchestrator.contracts.executions import ExecutionRequest
from orchestrator.contracts.queries import QueryRequest
from orchestrator.governance.executions import Executions
from orchestrator.host.calls import Call
from orchestrator.host.ports import EventListener
from orchestrator.kernel.canonical import canonical_json
from orchestrator.routing.desk import Desk

T = TypeVar("T", bound=BaseModel)
_MOST_EVENT_BYTES = 64 * 1024


class PluginServices:
    """See `host.ports.Services`. The desk comes last, since it stands above the host."""

    def __init__(self, executions: Executions, journal: Journal, bus: Bus) -> None:
        self._executions = executions
        self._journal = journal
        self._bus = bus
        self.desk: Desk | None = None

    async def run_code(self, call: Call, code: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        request = _validated(ExecutionRequest, {**fields, "code": code})
        if self.desk is not None:
            self.desk.set_out(call.query_id)
        caller = dataclasses.replace(call.caller, source="plugin")
        outcome = await self._executions.run(request, caller, query_id=call.query_id, under=call.permit)
        return outcome.model_dump(mode="json")

    async def query(self, call: Call, text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if self.desk is None:
            raise Invalid("queries are not served yet", code="starting")
        request = _validated(QueryRequest, {**fields, "text": text})
        self.desk.set_out(call.query_id)
        caller = dataclasses.replace(call.caller, source="plugin")
        answer = await self.desk.answer(request, caller, parent=call.query_id, deadline=call.deadline)
        found: dict[str, Any] = json.loads(answer)
        return found

    async def publish(self, plugin: str, topic: str, data: Mapping[str, Any], call: Call | None) -> None:
        if not is_topic(topic):
            raise Invalid(f"{topic[:100]!r} is no topic: words joined by dots")
        try:
            size = len(canonical_json(dict(data)))
        except (TypeError, ValueError) as fault:
            raise Invalid(f"an event's data is JSON: {fault}") from None
        if size > _MOST_EVENT_BYTES:
            raise Invalid(f"an event's data has at most {_MOST_EVENT_BYTES} bytes", code="too_large")
        if call is not None and self.desk is not None:
            self.desk.set_out(call.query_id)
        owner = call.caller.owner if call else None
        source = f"plugin:{plugin}"
        subject = call.query_id if call else plugin
        await self._journal.record(
            Entry(topic, subject, source, data=dict(data), owner=owner, source=source, audited=False)
        )

    def subscribe(self, plugin: str, pattern: str, listener: EventListener) -> Callable[[], None]:
        async def hear(event: Event) -> None:
            await listener(event.as_json())

        return self._bus.subscribe(pattern, hear, name=f"plugin:{plugin}").close


def _validated(model: type[T], fields: dict[str, Any]) -> T:
    """Fields that a plugin gave, judged like a client's body."""
    try:
        return model.model_validate(fields)
    except ValidationError as fault:
        raise bodies.invalid(fault) from None
