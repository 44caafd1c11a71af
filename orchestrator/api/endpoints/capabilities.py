"""The registry of skills and tools (R4-40, R4-49)."""

from typing import Any, Literal

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.model import JsonObject, View
from orchestrator.contracts.plugins import Effects, State
from orchestrator.governance import prices


class CapabilityView(View):
    """One skill of one tool."""

    name: str
    type: Literal["tool", "agent", "service"]
    tool: str
    version: str
    digest: str
    description: str
    enabled: bool
    status: State
    effects: Effects
    inputSchema: JsonObject  # noqa: N815 - seed 001's spelling
    outputSchema: JsonObject  # noqa: N815
    costModel: JsonObject  # noqa: N815
    metadata: dict[str, Any]


@endpoint(
    "GET", "/v1/capabilities", scope=Scope.QUERY, answer=CapabilityView, lists=True, aliases=("/capabilities",)
)  # fmt: skip
async def listing(call: Call) -> web.Response:
    """What can be planned: skills by name, each with its tool, version, schemas, effects and prices."""
    page = call.page()
    priced = {"costModel": prices.model(call.rooms.governance)}
    found = [one.as_json() | priced for one in call.rooms.commands.planning.capabilities()]
    if page.subject is not None:
        found = [one for one in found if page.subject in (one["name"], one["tool"])]
    if (after := page.name()) is not None:
        found = [one for one in found if one["name"] > after]
    return json_answer(page.answer(found[: page.limit], "name"))
