"""The plugins: what is there, and an admin's hand on it."""

from typing import Any

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.plugins import PluginView


@endpoint("GET", "/plugins", scope=Scope.QUERY, answer=PluginView, lists=True)
async def listing(call: Call) -> web.Response:
    """All plugins, by name."""
    page = call.page()
    shown = [_shown(view) for view in call.rooms.host.views(admin=call.caller.may(Scope.ADMIN))]
    if page.subject is not None:
        shown = [view for view in shown if view["name"] == page.subject]
    if (after := page.name()) is not None:
        shown = [view for view in shown if view["name"] > after]
    return json_answer(page.answer(shown[: page.limit], "name"))


@endpoint("GET", "/plugins/{name}", scope=Scope.QUERY, answer=PluginView)
async def one(call: Call) -> web.Response:
    """One plugin."""
    return json_answer(_shown(call.rooms.host.view(call.parameter("name"), admin=call.caller.may(Scope.ADMIN))))


@endpoint("POST", "/plugins/{name}/reload", scope=Scope.ADMIN, answer=PluginView)
async def reload(call: Call) -> web.Response:
    """Load the plugin's file again, now."""
    await call.rooms.host.reload(call.parameter("name"))
    return await one(call)


@endpoint("POST", "/plugins/{name}/enable", scope=Scope.ADMIN, answer=PluginView)
async def enable(call: Call) -> web.Response:
    """Let a disabled plugin serve again."""
    await call.rooms.host.enable(call.parameter("name"))
    return await one(call)


@endpoint("POST", "/plugins/{name}/disable", scope=Scope.ADMIN, answer=PluginView)
async def disable(call: Call) -> web.Response:
    """Take a plugin out of service, across restarts."""
    await call.rooms.host.disable(call.parameter("name"))
    return await one(call)


def _shown(view: PluginView) -> dict[str, Any]:
    return view.model_dump(mode="json")
