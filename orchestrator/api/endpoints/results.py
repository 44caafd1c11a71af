"""The output gate: what a step put out is in force when a person accepts it, and not before (CONTRACT 5, X-30)."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.commands import DecideOutput, RollBack, StepOutputs
from orchestrator.contracts.errors import NotFound

PATH = "/v1/commands/{id}/results/{step_index}"
_MOST_DIGITS = 4


@endpoint(
    "POST", PATH + "/accept", scope=Scope.APPROVE, governed=True, body=DecideOutput, answer=StepOutputs,
    codes=("output_changed", "person_required", "illegal_transition"),
)  # fmt: skip
async def accept(call: Call) -> web.Response:
    """Put a step's newest output in force, and release what its effect has prepared."""
    found = await call.rooms.results.accept(*_step(call), call.body, call.acting, call.caller)
    return json_answer(found)


@endpoint(
    "POST", PATH + "/reject", scope=Scope.APPROVE, governed=True, body=DecideOutput, answer=StepOutputs,
    codes=("output_changed", "person_required", "illegal_transition"),
)  # fmt: skip
async def reject(call: Call) -> web.Response:
    """Keep a step's newest output as history alone, and undo its effect."""
    found = await call.rooms.results.reject(*_step(call), call.body, call.acting, call.caller)
    return json_answer(found)


@endpoint(
    "POST", PATH + "/regenerate", scope=Scope.APPROVE, governed=True, answer=StepOutputs,
    codes=("budget_exceeded", "person_required", "illegal_transition"),
)  # fmt: skip
async def regenerate(call: Call) -> web.Response:
    """Ask for it once more: a new plan that runs the step, and those that rest on it, again when it is approved."""
    found = await call.rooms.results.regenerate(*_step(call), call.acting, call.caller)
    return json_answer(found)


@endpoint(
    "POST", PATH + "/rollback", scope=Scope.APPROVE, governed=True, body=RollBack, answer=StepOutputs,
    codes=("irreversible", "person_required", "illegal_transition"),
)  # fmt: skip
async def roll_back(call: Call) -> web.Response:
    """Put an earlier version in force again, as a new one; without `version`, none is in force any more."""
    found = await call.rooms.results.roll_back(*_step(call), call.body, call.acting, call.caller)
    return json_answer(found)


def _step(call: Call) -> tuple[str, int]:
    text = call.parameter("step_index")
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise NotFound("no such step")
    return call.parameter("id"), int(text)
