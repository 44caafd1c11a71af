"""Incidents, and the halt: what was stopped, and by whom it goes on (CONTRACT 5)."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.errors import Forbidden, Invalid
from orchestrator.contracts.incidents import Because, HaltView, IncidentView

PATH = "/v1/incidents"
_OPEN = {"true": True, "false": False}


@endpoint("GET", PATH, scope=Scope.ADMIN, answer=IncidentView, lists=True, query=("open",))
async def listing(call: Call) -> web.Response:
    """Incidents, newest first; with `open=true` those that nobody has closed."""
    page = call.page()
    wanted = call.request.query.get("open")
    if wanted not in (None, *_OPEN):
        raise Invalid("open: true or false", errors=[{"loc": ["query", "open"], "msg": "true or false"}])
    items = await call.rooms.incidents.page(
        limit=page.limit, before=page.identifier(), subject=page.subject,
        is_open=None if wanted is None else _OPEN[wanted],
    )  # fmt: skip
    return json_answer(page.answer(items, "id"))


@endpoint("GET", PATH + "/{id}", scope=Scope.ADMIN, answer=IncidentView)
async def one(call: Call) -> web.Response:
    """One incident."""
    return json_answer(await call.rooms.incidents.get(call.parameter("id")))


@endpoint(
    "POST", PATH + "/{id}/close", scope=Scope.ADMIN, body=Because, answer=IncidentView,
    codes=("illegal_transition", "person_required"),
)  # fmt: skip
async def close(call: Call) -> web.Response:
    """Say that an incident has been looked into, and how."""
    if call.caller.kind != "person":
        raise Forbidden("only a person can close an incident", code="person_required")
    return json_answer(await call.rooms.incidents.close(call.parameter("id"), call.body.reason, call.actor))


@endpoint("GET", "/v1/halt", scope=Scope.ADMIN, answer=HaltView)
async def halted(call: Call) -> web.Response:
    """Whether anything new is admitted for execution."""
    return json_answer(call.rooms.halts.view())


@endpoint("POST", "/v1/halt", scope=Scope.ADMIN, body=Because, answer=HaltView)
async def halt(call: Call) -> web.Response:
    """Admit nothing new for execution, until somebody resumes; what runs comes to its end."""
    return json_answer(await call.rooms.halts.halt(call.body.reason, "operator", call.actor))


@endpoint(
    "POST", "/v1/resume", scope=Scope.ADMIN, body=Because, answer=HaltView,
    codes=("illegal_transition", "person_required"),
)  # fmt: skip
async def resume(call: Call) -> web.Response:
    """End a halt."""
    return json_answer(await call.rooms.halts.resume(call.body.reason, call.caller))
