"""Identities and contexts: who there is, and where each acts."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.errors import NotFound
from orchestrator.contracts.identities import (
    ContextChange,
    ContextRequest,
    ContextView,
    IdentityRequest,
    IdentityView,
    Switch,
)

WHO, WHERE = "/v1/identities", "/v1/contexts"


@endpoint("POST", WHO, scope=Scope.ADMIN, body=IdentityRequest, answer=IdentityView, status=201)
async def create(call: Call) -> web.Response:
    """Make a person or a service."""
    made = await call.rooms.identities.create(call.body.kind, call.body.name, call.actor)
    return json_answer(made.as_json(), 201, {"Location": f"{WHO}/{made.id}"})


@endpoint("GET", WHO, scope=Scope.ADMIN, answer=IdentityView, lists=True)
async def listing(call: Call) -> web.Response:
    """All identities, newest first."""
    page = call.page()
    after = page.identifier()
    found = [one.as_json() for one in call.rooms.identities.list() if page.subject in (None, one.id)]
    items = [one for one in found if after is None or one["id"] < after]
    return json_answer(page.answer(items[: page.limit], "id"))


@endpoint("GET", WHO + "/{id}", scope=Scope.ADMIN, answer=IdentityView)
async def one(call: Call) -> web.Response:
    """One identity."""
    found = call.rooms.identities.get(call.parameter("id"))
    if found is None:
        raise NotFound("no such identity")
    return json_answer(found.as_json())


@endpoint("PATCH", WHO + "/{id}", scope=Scope.ADMIN, body=Switch, answer=IdentityView, codes=("operator_stays",))
async def switch(call: Call) -> web.Response:
    """Switch an identity off, or on again; off, its keys end at once and what it has under way is cancelled."""
    found = await call.rooms.identities.switch(call.parameter("id"), call.body.active, call.actor)
    if not found.active:
        await call.rooms.commands.stop(found.id, call.actor)
        await call.rooms.sessions.stop(found.id)
        call.rooms.executions.stop(found.id)
    return json_answer(found.as_json())


@endpoint("POST", WHERE, scope=Scope.ADMIN, body=ContextRequest, answer=ContextView, status=201)
async def create_context(call: Call) -> web.Response:
    """Make a context: a sphere, and the most that all its commands together may cost."""
    wanted: ContextRequest = call.body
    whose = wanted.identity_id or call.caller.owner
    made = await call.rooms.contexts.create(whose, wanted.sphere, wanted.budget_scope, call.actor)
    return json_answer(made, 201, {"Location": f"{WHERE}/{made['id']}"})


@endpoint("GET", WHERE, scope=Scope.ADMIN, answer=ContextView, lists=True)
async def listing_contexts(call: Call) -> web.Response:
    """All contexts, newest first; `subject` is the id of one, or of an identity."""
    page = call.page()
    items = await call.rooms.contexts.page(limit=page.limit, before=page.identifier(), subject=page.subject)
    return json_answer(page.answer(items, "id"))


@endpoint("GET", WHERE + "/{id}", scope=Scope.ADMIN, answer=ContextView)
async def one_context(call: Call) -> web.Response:
    """One context, with what is held of its budget and was spent."""
    return json_answer(await call.rooms.contexts.get(call.parameter("id")))


@endpoint("PATCH", WHERE + "/{id}", scope=Scope.ADMIN, body=ContextChange, answer=ContextView, codes=("scope_locked",))
async def change_context(call: Call) -> web.Response:
    """Switch a context off or on, or change its budget; not while a command holds it."""
    wanted = {name: getattr(call.body, name) for name in call.body.model_fields_set}
    return json_answer(await call.rooms.contexts.change(call.parameter("id"), wanted, call.actor))
