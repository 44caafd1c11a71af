"""Webhooks: who is told when something happens (CONTRACT 5)."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.webhooks import WebhookRequest, WebhookView

PATH = "/v1/webhooks"


@endpoint("POST", PATH, scope=Scope.ADMIN, body=WebhookRequest, answer=WebhookView, status=201, codes=("too_many",))
async def create(call: Call) -> web.Response:
    """Post events of these topics to an address, signed, from now on."""
    made = await call.rooms.webhooks.create(call.body, call.actor)
    call.rooms.couriers.start(made["id"])
    return json_answer(made, 201, {"Location": f"{PATH}/{made['id']}"})


@endpoint("GET", PATH, scope=Scope.ADMIN, answer=WebhookView, lists=True)
async def listing(call: Call) -> web.Response:
    """All webhooks and how they fare, newest first."""
    page = call.page()
    return json_answer(page.answer(await call.rooms.webhooks.page(limit=page.limit, before=page.identifier()), "id"))


@endpoint("DELETE", PATH + "/{id}", scope=Scope.ADMIN, answer=WebhookView)
async def remove(call: Call) -> web.Response:
    """Post nothing there any more."""
    removed = await call.rooms.webhooks.remove(call.parameter("id"), call.actor)
    call.rooms.couriers.stop(removed["id"])
    return json_answer(removed)
