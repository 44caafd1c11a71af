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
from orchestrator.governance.commands import effects
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.commands.drafts import DraftStep
from orchestrator.governance.local import LocalCapabilities
from orchestrator.governance.permits import PermitOffice
from orchestrator.host.calls import HANDLE, Call, HandleMessage, Reply
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.ids import new_id
from orchestrator.plans import schemas, templates, validation
from orchestrator.plans.faults import TemplateError
from orchestrator.plans.paths import Scope
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx

LONGEST_S = 86_400.0
Performer = Callable[[JsonObject, Basis], Awaitable[bytes]]
"""Does what was admitted after all, on a person's approval, and answers what it answered, JSON as UTF-8."""


class Calls:
    """The one way from a plan to a capability."""

    def __init__(
        self, bus: Bus, office: PermitOffice, local: LocalCapabilities, store: Store, blobs: Blobs, clock: Clock
    ) -> None:
        self._bus = bus
        self._store = store
        self._blobs = blobs
        self._office = office
        self._local = local
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
        text = params.get("text", step.step.description)
        request = {
            "text": text if isinstance(text, str) else step.step.description, "intent": capability.intent,
            "params": {name: params[name] for name in params if name != "text"}, "source": "command",
        }  # fmt: skip
        call_id = request["id"] = await self._held(row, basis, step, request)
        caller = Caller(row["identity_id"], "person", frozenset(), source="daemon")
        permit = self._office.issue(capability.permit_for, call_id, caller, basis.kind, basis.id, basis.person)
        seconds = longest_s(step)
        if self._local.has(capability.permit_for):
            self._office.check(permit, capability.permit_for, call_id)
            value, encoded = await self._local.call(capability.permit_for, params, seconds)
            _check(capability.output_schema, value, "step_output", "the output")
            return encoded
        call = Call(call_id, caller, permit, self._clock.monotonic() + seconds)
        reply: Reply = await self._bus.ask(HANDLE, HandleMessage(capability.tool, request, call))
        _check(capability.output_schema, reply.value, "step_output", "the output")
        return reply.encoded

    async def _held(self, row: RowMapping, basis: Basis, step: DraftStep, request: JsonObject) -> str:
        """The id of the call. Where it has effects that may have to be undone, that they begin is on disk first."""
        if step.effects not in effects.KINDS:
            return new_id()
        (ref,), part = self._blobs.part(pydantic_core.to_json(request))

        def work(tx: Tx) -> str:
            return effects.hold(tx, row, basis, step, ref, self._store.now(tx))

        return await self._store.submit(work, part)


def longest_s(step: DraftStep) -> float:
    """How long a step's capability may take."""
    own = LONGEST_S if step.step.timeout is None else step.step.timeout / 1e3
    return own if step.capability is None else min(step.capability.timeout_s, own)


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
