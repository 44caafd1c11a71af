"""The aiohttp application: every discovered endpoint behind the one gate."""

from functools import partial

from aiohttp import web

from orchestrator.api import endpoints, openapi
from orchestrator.api.endpoint import Endpoint, discover
from orchestrator.api.gate import Gate
from orchestrator.api.idempotency import Idempotency
from orchestrator.api.rooms import Rooms


def build(rooms: Rooms, idempotency: Idempotency) -> tuple[web.Application, Gate]:
    """An application over the rooms, and its gate, whose tally of refusals somebody has to write down."""
    gate = Gate(rooms, idempotency)

    @web.middleware
    async def through_gate(request: web.Request, handler: object) -> web.StreamResponse:
        return await gate.pass_through(request, handler)  # type: ignore[arg-type]

    app = web.Application(middlewares=[through_gate], client_max_size=rooms.settings.max_body_bytes)
    app.on_response_prepare.append(gate.stamp)
    known = list(discover(endpoints))
    for found in known:
        for path in (found.path, *found.aliases):
            app.router.add_route(found.method, path, partial(_serve, gate=gate, endpoint=found))
            if found.method == "GET":
                app.router.add_route("HEAD", path, partial(_serve, gate=gate, endpoint=found))
    app[openapi.OPENAPI] = openapi.Interface(known, rooms.version)
    return app, gate


async def _serve(request: web.Request, *, gate: Gate, endpoint: Endpoint) -> web.StreamResponse:
    return await gate.serve(request, endpoint)
