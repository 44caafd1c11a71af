"""Keys, and who their holder is."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.costs import Quota
from orchestrator.contracts.errors import Forbidden, Invalid
from orchestrator.contracts.executions import Kernel
from orchestrator.contracts.identities import Id, Instant, Switch, Text
from orchestrator.contracts.model import JsonObject, Model, View


class KeyRequest(Model):
    """A key to make."""

    name: Text
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=10)]
    identity_id: Id | None = Field(None, description="Whose key it is; the maker's own identity if absent.")
    expires_at: Instant | None = None
    kernel: Kernel = Field("shared", description="`separate`: its code runs behind a kernel of its own or not at all.")
    quota: Quota | None = Field(None, description="The most that it may cost; past it 422 `budget_exceeded`.")


class KeyView(View):
    """A key; `key` is there once, in the answer that made it."""

    id: str
    identity_id: str
    name: str
    scopes: list[Scope]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    kernel: Kernel
    active: bool
    quota: Quota | None
    key: str | None = None


class MeView(View):
    """The holder of a key."""

    identity_id: str
    kind: str
    key_id: str
    scopes: list[Scope]
    contexts: list[JsonObject]


@endpoint("GET", "/v1/me", any_key=True, answer=MeView)
async def me(call: Call) -> web.Response:
    """Who the key belongs to, and what it may do."""
    caller = call.caller
    contexts = await call.rooms.identities.contexts_of(caller.owner)
    return json_answer(
        {
            "identity_id": caller.owner,
            "kind": caller.kind,
            "key_id": caller.key_id,
            "scopes": sorted(caller.scopes),
            "contexts": contexts,
        }
    )


@endpoint("POST", "/v1/keys", scope=Scope.ADMIN, body=KeyRequest, answer=KeyView, status=201, secret_members=("key",))
async def create(call: Call) -> web.Response:
    """Make a key; this answer alone shows it."""
    wanted: KeyRequest = call.body
    if wanted.expires_at is not None and wanted.expires_at <= call.rooms.clock.now():
        raise Invalid("expires_at: is over", errors=[{"loc": ["expires_at"], "msg": "is over already"}])
    identity_id = wanted.identity_id or call.caller.owner
    whose = call.rooms.identities.get(identity_id)
    if call.caller.kind == "service" and whose is not None and whose.kind == "person":
        raise Forbidden("a service makes no keys for persons: it could approve by them", code="person_required")
    key, secret = await call.rooms.keys.create(
        wanted.name, frozenset(wanted.scopes), identity_id, call.actor, expires_at=wanted.expires_at,
        kernel=wanted.kernel, quota=wanted.quota,
    )  # fmt: skip
    return json_answer({**key.as_json(), "key": secret}, 201, {"Location": f"/v1/keys/{key.id}"})


@endpoint("GET", "/v1/keys", scope=Scope.ADMIN, answer=KeyView, lists=True)
async def listing(call: Call) -> web.Response:
    """All keys, without their secrets, newest first."""
    page = call.page()
    after = page.identifier()
    found = [key for key in call.rooms.keys.list() if page.subject in (None, key.id, key.identity_id)]
    items = [key.as_json() for key in found if after is None or key.id < after]
    return json_answer(page.answer(items[: page.limit], "id"))


@endpoint("DELETE", "/v1/keys/{id}", scope=Scope.ADMIN, answer=KeyView)
async def revoke(call: Call) -> web.Response:
    """End a key, at once and for good."""
    return json_answer((await call.rooms.keys.revoke(call.parameter("id"), call.actor)).as_json())


@endpoint("PATCH", "/v1/keys/{id}", scope=Scope.ADMIN, body=Switch, answer=KeyView)
async def switch(call: Call) -> web.Response:
    """Switch a key off, or on again, at once."""
    return json_answer((await call.rooms.keys.switch(call.parameter("id"), call.body.active, call.actor)).as_json())
