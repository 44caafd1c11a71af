"""The sandbox's profiles: which languages there are, with what, and within which limits."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.profiles import ProfileView


@endpoint("GET", "/v1/sandbox/profiles", scope=Scope.QUERY, answer=ProfileView, lists=True)
async def listing(call: Call) -> web.Response:
    """All profiles, by name."""
    page = call.page()
    views = call.rooms.profiles()
    if page.subject is not None:
        views = [view for view in views if view.name == page.subject]
    if page.after is not None:
        views = [view for view in views if view.name > page.after]
    return json_answer(page.answer([view.model_dump(mode="json") for view in views[: page.limit]], "name"))
