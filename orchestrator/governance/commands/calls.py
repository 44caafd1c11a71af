"""Doing one step's work: the capability is called with a permit that rests on the approval (R4-08, R4-45)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pydantic_core
from sqlalchemy import RowMapping

from orchestrator.bus.port import Bus
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.values import size_of
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.commands.drafts import DraftStep
from orchestrator.governance.permits import PermitOffice
from orchestrator.host.calls import HANDLE, Call, HandleMessage, Reply
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.ids import new_id
from orchestrator.plans import schemas, templates, validation
from orchestrator.plans.faults import TemplateError
from orchestrator.plans.paths import Scope

LONGEST_S = 86_400.0
Performer = Callable[[JsonObject, Basis], Awaitable[bytes]]
"""Does what was admitted after all, on a person's approval, and answers what it answered, JSON as UTF-8."""


class Calls:
    """The one way from a plan to a capability."""

    def __init__(self, bus: Bus, office: PermitOffice, clock: Clock) -> None:
        self._bus = bus
        self._office = office
        self._clock = clock
        self.performers: dict[str, Performer] = {}

    async def perform(self, admission: JsonObject, basis: Basis) -> bytes:
        """Answer a query, or run a program, that had to wait for a person. Raises what it raises."""
        return await self.performers[admission["kind"]](admission, basis)

    async def call(self, row: RowMapping, basis: Basis, step: DraftStep, scope: Scope) -> bytes:
        """Call a step's capability and answer its output, JSON as UTF-8. A param `text` is the text of its request.

        Raises what the host raises, and `Invalid` (`step_input`, `step_output`) where a template has no value or the
        capability's schemas do not hold (R1-14).
        """
        capability = step.capability
        assert capability is not None
        params = schemas.filled(capability.input_schema, _bound(step, scope))
        _check(capability.input_schema, params, "step_input", "params")
        call_id = new_id()
        caller = Caller(row["identity_id"], "person", frozenset(), source="daemon")
        permit = self._office.issue(capability.permit_for, call_id, caller, basis.kind, basis.id, basis.person)
        seconds = min(capability.timeout_s, LONGEST_S if step.step.timeout is None else step.step.timeout / 1e3)
        text = params.get("text", step.step.description)
        request = {
            "id": call_id, "text": text if isinstance(text, str) else step.step.description,
            "intent": capability.intent, "params": {name: params[name] for name in params if name != "text"},
            "source": "command",
        }  # fmt: skip
        call = Call(call_id, caller, permit, self._clock.monotonic() + seconds)
        reply: Reply = await self._bus.ask(HANDLE, HandleMessage(capability.tool, request, call))
        _check(capability.output_schema, reply.value, "step_output", "the output")
        return reply.encoded


def inline(output: bytes) -> Any:
    """An output as templates and conditions may use it; one that is too large or too deep for that is none."""
    value = pydantic_core.from_json(output)
    try:
        size_of(value)
    except ValueError:
        return None
    return value


def _bound(step: DraftStep, scope: Scope) -> dict[str, Any]:
    try:
        return templates.bind(validation.capability_params(step.step), scope)
    except TemplateError as fault:
        raise Invalid(f"a template has no value: {fault}", code="step_input") from None


def _check(schema: dict[str, Any], value: Any, code: str, what: str) -> None:
    if faults := schemas.faults(schema, value):
        where, why = faults[0]
        place = ".".join(map(str, where))
        raise Invalid(f"{what} {place}: {why}" if place else f"{what}: {why}", code=code)
