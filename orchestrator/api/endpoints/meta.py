"""The daemon about itself: metrics, its interface, its pages."""

from aiohttp import web

from orchestrator.api import pages, peers
from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.api.openapi import OPENAPI
from orchestrator.contracts.errors import Forbidden


@endpoint("GET", "/metrics")
async def metrics(call: Call) -> web.Response:
    """Metrics as Prometheus text; to loopback and the networks of `api.metrics_allow`."""
    request = call.request
    allowed = peers.in_networks(request.remote or "", call.rooms.settings.metrics_allow)
    if not allowed and not peers.is_loopback(request.remote or "", request.headers):
        raise Forbidden(
            "metrics are for loopback and the networks of the setting api.metrics_allow", code="peer_denied"
        )
    return web.Response(
        body=call.rooms.metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


@endpoint("GET", "/openapi.json")
async def interface(call: Call) -> web.Response:
    """This interface as OpenAPI 3.1, made from the models that validate."""
    return json_answer(call.request.app[OPENAPI].document)


@endpoint("GET", "/docs")
async def docs(call: Call) -> web.Response:
    """This interface as a page."""
    return web.Response(text=pages.docs(call.request.app[OPENAPI].document), content_type="text/html")


@endpoint("GET", "/")
async def status(call: Call) -> web.Response:
    """A page that says how the daemon is."""
    return web.Response(text=pages.status(call.rooms), content_type="text/html")


@endpoint("GET", "/style.css")
async def style(call: Call) -> web.Response:
    """How the pages look."""
    return web.Response(text=pages.STYLE, content_type="text/css")
