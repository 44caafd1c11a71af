"""Executions: code in a container without a network."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.executions import Execution, ExecutionRequest

PATH = "/v1/sandbox/executions"


@endpoint(
    "POST",
    PATH,
    scope=Scope.EXECUTE,
    body=ExecutionRequest,
    answer=Execution,
    codes=("limit_above_profile", "queue_full", "sandbox_unavailable"),
)
async def run(call: Call) -> web.Response:
    """Run a program; 200 whatever it did."""
    call.audited = True
    outcome = await call.rooms.executions.run(call.body, call.caller)
    return json_answer(outcome.model_dump_json(exclude={"sandbox": {"dev"}} if _not_dev(outcome) else None).encode())


@endpoint("GET", PATH, scope=Scope.EXECUTE, answer=Execution, lists=True)
async def listing(call: Call) -> web.Response:
    """Executions without their outputs, newest first."""
    page = call.page()
    items = await call.rooms.executions.page(call.caller, limit=page.limit, before=page.after, subject=page.subject)
    return json_answer(page.answer(items, "id"))


@endpoint("GET", PATH + "/{id}", scope=Scope.EXECUTE, answer=Execution)
async def read(call: Call) -> web.Response:
    """One execution with its outputs."""
    outcome = await call.rooms.executions.get(call.parameter("id"), call.caller)
    return json_answer(outcome.model_dump_json(exclude={"sandbox": {"dev"}} if _not_dev(outcome) else None).encode())


def _not_dev(outcome: Execution) -> bool:
    return outcome.sandbox is not None and outcome.sandbox.dev is None
