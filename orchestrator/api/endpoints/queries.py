"""Queries: the daemon's main door."""

from aiohttp import web

from orchestrator.api.endpoint import Call, awaiting, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.errors import ApprovalRequired
from orchestrator.contracts.queries import QueryAnswer, QueryRequest


@endpoint(
    "POST",
    "/query",
    scope=Scope.QUERY,
    body=QueryRequest,
    answer=QueryAnswer,
    codes=(
        "no_route",
        "capability_disabled",
        "cannot_generate",
        "plugin_error",
        "plugin_timeout",
        "sandbox_unavailable",
        "approval_required",
        "halted",
        "no_grant",
        "budget_exceeded",
    ),
    awaits=True,
)
async def ask(call: Call) -> web.Response:
    """Send a query to the plugin that fits."""
    call.audited = True
    try:
        return json_answer(await call.rooms.desk.answer(call.body, call.caller))
    except ApprovalRequired as required:
        return awaiting(required, "/query")


@endpoint("GET", "/query/{id}", scope=Scope.QUERY, answer=QueryAnswer)
async def read(call: Call) -> web.Response:
    """A query's answer as it was given, or `running`; 202 while a person, or what he approved, is waited for."""
    answer, waits = await call.rooms.desk.get(call.parameter("id"), call.caller)
    return json_answer(answer, 202 if waits else 200)
