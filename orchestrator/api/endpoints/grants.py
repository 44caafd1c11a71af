"""Standing grants: what a person allows beforehand."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.grants import GrantRequest, GrantView

PATH = "/v1/grants"


@endpoint(
    "POST", PATH, scope=Scope.APPROVE, body=GrantRequest, answer=GrantView, status=201, codes=("person_required",)
)
async def create(call: Call) -> web.Response:
    """Allow capabilities beforehand, so often, for so much, until then."""
    made = await call.rooms.granting.create(call.body, call.caller)
    return json_answer(made, 201, {"Location": f"{PATH}/{made['id']}"})


@endpoint("GET", PATH, scope=Scope.APPROVE, answer=GrantView, lists=True)
async def listing(call: Call) -> web.Response:
    """Grants, newest first, the default ones and those that have ended among them."""
    page = call.page()
    items = await call.rooms.granting.page(
        call.caller, limit=page.limit, before=page.identifier(), subject=page.subject
    )
    return json_answer(page.answer(items, "id"))


@endpoint("GET", PATH + "/{id}", scope=Scope.APPROVE, answer=GrantView)
async def one(call: Call) -> web.Response:
    """One grant, with what is left of it."""
    return json_answer(await call.rooms.granting.get(call.parameter("id"), call.caller))


@endpoint("DELETE", PATH + "/{id}", scope=Scope.APPROVE, answer=GrantView, codes=("person_required",))
async def revoke(call: Call) -> web.Response:
    """End a grant, at once and for good."""
    return json_answer(await call.rooms.granting.revoke(call.parameter("id"), call.caller))
