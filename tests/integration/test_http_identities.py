"""A second person, services, contexts with budgets, and switches that hold at once (CONTRACT 1, 5)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.testing.daemons import Running
from tests.integration.authority_rig import another, opened, operator_of

SPHERES = (
    "personal", "business", "government", "creative_studio", "community", "social_media", "entertainment", "my_team",
)  # fmt: skip


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with opened(tmp_path) as found:
        yield found


async def test_a_second_person_acts_in_a_context_and_with_a_key_of_his_own(daemon: Running) -> None:
    """R4-02, R4-47."""
    second = await another(daemon, "command", "approve")
    me = (await second.client.get("/v1/me")).json
    assert (me["identity_id"], me["kind"], me["scopes"]) == (second.identity, "person", ["approve", "command"])
    (context,) = me["contexts"]
    assert context == {"id": second.context, "sphere": "my_team", "active": True, "budget_scope": None}
    path, planned = await second.planned("shout hello")
    assert planned.status == 201
    operator = await operator_of(daemon)
    assert (await operator.ask("POST", f"{path}/approve", {"approved": True})).json["status"] == "approved"
    listed = (await daemon.admin.get("/v1/identities")).json["items"]
    assert [(one["kind"], one["active"]) for one in listed] == [("person", True), ("person", True)]
    assert (await daemon.admin.get(f"/v1/identities/{second.identity}")).json == listed[0]


async def test_each_of_the_eight_spheres_can_be_a_context_and_no_other(daemon: Running) -> None:
    """R4-47."""
    for sphere in SPHERES:
        made = await daemon.admin.post("/v1/contexts", json={"sphere": sphere})
        assert (made.status, made.json["sphere"]) == (201, sphere)
    refused = await daemon.admin.post("/v1/contexts", json={"sphere": "space"})
    assert (refused.status, refused.json["code"]) == (422, "invalid")
    assert len((await daemon.admin.get("/v1/contexts")).json["items"]) == 9


@pytest.mark.parametrize("path", ["/v1/identities", "/v1/contexts"])
async def test_only_admins_see_and_make_them(daemon: Running, path: str) -> None:
    client = await daemon.client("command", "approve")
    for answer in (await client.get(path), await client.post(path, json={})):
        assert (answer.status, answer.json["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/identities", {"kind": "robot", "name": "r"}), ("/v1/identities", {"kind": "person", "name": ""}),
    ("/v1/identities", {"kind": "person", "name": "a\x00b"}), ("/v1/identities", {"kind": "person", "name": "operator"}),
    ("/v1/identities", {"kind": "person"}), ("/v1/identities", {"kind": "person", "name": "x", "admin": True}),
    ("/v1/contexts", {"sphere": "personal", "identity_id": "00000000-0000-0000-0000-000000000000"}),
    ("/v1/contexts", {"sphere": "personal", "identity_id": "nobody"}),
    ("/v1/contexts", {"sphere": "personal", "budget_scope": {"usd": -1}}),
    ("/v1/contexts", {"sphere": "personal", "budget_scope": {"usd": "NaN"}}),
    ("/v1/contexts", {"sphere": "personal", "budget_scope": {"tokens": 10**40}}),
    ("/v1/contexts", {"sphere": "personal", "budget_scope": {"eur": 1}}),
    ("/v1/keys", {"name": "k", "scopes": ["query"], "identity_id": "00000000-0000-0000-0000-000000000000"}),
    ("/v1/keys", {"name": "a\x00b", "scopes": ["query"]}),
])  # fmt: skip
async def test_what_cannot_be_is_refused_with_the_place_of_the_fault(daemon, path, body) -> None:
    refused = await daemon.admin.post(path, json=body)
    assert (refused.status, refused.json["code"]) == (422, "invalid")
    assert refused.json["errors"]


async def test_a_service_never_approves_whatever_its_scopes_and_makes_no_key_that_could(daemon: Running) -> None:
    """CONTRACT 1, X-26."""
    service = await another(daemon, "admin", kind="service")
    path, planned = await service.planned("shout hello")
    assert planned.status == 201
    for act in ("approve", "reject"):
        refused = await service.ask("POST", f"{path}/{act}", {"approved": True} if act == "approve" else {})
        assert (refused.status, refused.json["code"]) == (403, "person_required")
    operator = await operator_of(daemon)
    for whose in (operator.identity, service.identity):
        body = {"name": "k", "scopes": ["approve"], "identity_id": whose}
        made = await service.client.post("/v1/keys", json=body)
        assert made.status == (201 if whose == service.identity else 403)
    assert await service.status(path) == "awaiting_approval"


async def test_a_budget_scope_caps_all_commands_of_its_context_together(daemon: Running) -> None:
    """R4-11, R4-47."""
    second = await another(daemon, "command", "approve", budget_scope={"tokens": 2, "usd": "1"})
    for _ in range(2):
        assert (await second.planned("shout hello"))[1].status == 201
    _, refused = await second.planned("shout hello")
    assert (refused.status, refused.json["code"]) == (422, "budget_exceeded")
    assert refused.json["scope"] == f"context:{second.context}"
    told = (await daemon.admin.get(f"/v1/contexts/{second.context}")).json
    assert (told["reserved"]["tokens"], told["spent"]["tokens"]) == (2, 0)
    assert told["budget_scope"] == {"usd": "1", "tokens": 2}
    more = await daemon.admin.request("PATCH", f"/v1/contexts/{second.context}", json={"budget_scope": {"tokens": 3}})
    assert (more.status, more.json["budget_scope"]) == (200, {"tokens": 3})
    assert (await second.planned("shout hello"))[1].status == 201


async def test_while_its_scope_is_locked_neither_a_context_nor_its_budget_changes(daemon: Running) -> None:
    """R4-47."""
    second = await another(daemon, "command", "approve")
    steps = [{"id": "w", "type": "wait", "name": "wait", "description": "", "params": {"duration": 60_000}}]
    path, planned = await second.planned(_plan(steps))
    assert planned.status == 201, planned.body
    await second.ask("POST", f"{path}/approve", {"approved": True})
    assert (await second.ask("POST", f"{path}/execute")).status == 202
    for change in ({"active": False}, {"budget_scope": {"tokens": 9}}, {"budget_scope": None}):
        refused = await daemon.admin.request("PATCH", f"/v1/contexts/{second.context}", json=change)
        assert (refused.status, refused.json["code"]) == (423, "scope_locked")
        assert refused.json["holder"] == path.rpartition("/")[2]
    await second.ask("POST", f"{path}/cancel")
    off = await daemon.admin.request("PATCH", f"/v1/contexts/{second.context}", json={"active": False})
    assert (off.status, off.json["active"]) == (200, False)
    refused = await second.ask("GET", "/v1/commands")
    assert (refused.status, refused.json["code"]) == (403, "identity_required")


async def test_switched_off_an_identity_has_no_key_and_nothing_of_it_runs(daemon: Running) -> None:
    """R4-47: switching identity stops its executions."""
    second = await another(daemon, "command", "approve")
    steps = [{"id": "w", "type": "wait", "name": "wait", "description": "", "params": {"duration": 60_000}}]
    path, _ = await second.planned(_plan(steps))
    await second.ask("POST", f"{path}/approve", {"approved": True})
    await second.ask("POST", f"{path}/execute")
    where = f"/v1/identities/{second.identity}"
    off = await daemon.admin.request("PATCH", where, json={"active": False})
    assert (off.status, off.json["active"]) == (200, False)
    assert (await second.client.get("/v1/me")).json["code"] == "key_invalid"
    await daemon.admin.request("PATCH", where, json={"active": True})
    assert await second.status(path) == "cancelled"
    rows = (await daemon.admin.get(f"/v1/audit?subject={second.identity}")).json["items"]
    assert [row["action"] for row in rows] == ["identity.activated", "identity.deactivated", "identity.created"]


async def test_the_operator_stays(daemon: Running) -> None:
    operator = await operator_of(daemon)
    refused = await daemon.admin.request("PATCH", f"/v1/identities/{operator.identity}", json={"active": False})
    assert (refused.status, refused.json["code"]) == (409, "operator_stays")


async def test_a_key_is_switched_off_and_on_at_once_also_across_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as daemon:
        second = await another(daemon, "query")
        (key,) = (await daemon.admin.get(f"/v1/keys?subject={second.identity}")).json["items"]
        where = f"/v1/keys/{key['id']}"
        assert (await daemon.admin.request("PATCH", where, json={"active": False})).json["active"] is False
        assert (await second.client.get("/v1/me")).json["code"] == "key_invalid"
        secret = second.client.key
    async with opened(tmp_path) as daemon:
        client = daemon.admin.with_key(secret)
        assert (await client.get("/v1/me")).status == 401
        assert (await daemon.admin.request("PATCH", where, json={"active": True})).json["active"] is True
        assert (await client.get("/v1/me")).status == 200
        for path in ("/v1/keys/nobody", "/v1/identities/nobody", "/v1/contexts/nobody"):
            assert (await daemon.admin.request("PATCH", path, json={"active": True})).status == 404


def _plan(steps: list[dict[str, object]]) -> str:
    return json.dumps({"steps": steps})


class TestFourEyes:
    """X-26: with `governance.four_eyes` the approver is another person than the requester."""

    @pytest.fixture
    async def daemon(self, tmp_path: Path) -> AsyncIterator[Running]:
        async with opened(tmp_path, governance__four_eyes=True) as found:
            yield found

    async def test_alone_nobody_approves_and_is_told_what_would_do(self, daemon: Running) -> None:
        operator = await operator_of(daemon)
        path, _ = await operator.planned("shout hello")
        refused = await operator.ask("POST", f"{path}/approve", {"approved": True})
        assert (refused.status, refused.json["code"]) == (403, "four_eyes")
        assert "POST /v1/identities" in refused.json["detail"]
        assert await operator.status(path) == "awaiting_approval"

    async def test_the_second_person_sees_what_awaits_him_and_approves_it(self, daemon: Running) -> None:
        operator, second = await operator_of(daemon), await another(daemon, "command", "approve")
        path, planned = await operator.planned("shout hello")
        refused = await operator.ask("POST", f"{path}/approve", {"approved": True})
        assert (refused.status, refused.json["code"]) == (403, "four_eyes")
        assert "another person" in refused.json["detail"]
        (waiting,) = (await second.ask("GET", "/v1/commands?open=true")).json["items"]
        assert waiting["id"] == path.rpartition("/")[2]
        assert (await second.ask("GET", f"{path}/plan")).json["digest"] == planned.json["digest"]
        approved = await second.ask("POST", f"{path}/approve", {"approved": True})
        assert (approved.status, approved.json["status"]) == (200, "approved")
        for act in ("execute", "cancel", "plan"):
            assert (await second.ask("POST", f"{path}/{act}")).status == 404  # he judges, and does nothing else
        assert (await operator.ask("POST", f"{path}/execute")).status == 202
        assert (await operator.ended(path))["status"] == "completed"

    async def test_what_the_second_person_modified_is_his_request_and_the_first_approves_it(self, daemon) -> None:
        """X-25."""
        operator, second = await operator_of(daemon), await another(daemon, "approve", "command")
        path, _ = await operator.planned("shout hello")
        body = {"approved": True, "modifications": {"newConstraints": {"maxDuration": 60_000}}}
        modified = await second.ask("POST", f"{path}/approve", body)
        assert (modified.status, modified.json["status"]) == (200, "awaiting_approval")
        assert (await second.ask("POST", f"{path}/approve", {"approved": True})).json["code"] == "four_eyes"
        assert (await operator.ask("POST", f"{path}/approve", {"approved": True})).json["status"] == "approved"

    async def test_neither_a_service_nor_a_person_without_the_scope_sees_anothers(self, daemon: Running) -> None:
        operator = await operator_of(daemon)
        path, _ = await operator.planned("shout hello")
        for stranger in (await another(daemon, "command"), await another(daemon, "command", "approve", kind="service")):
            assert (await stranger.ask("GET", path)).status == 404
            assert (await stranger.ask("GET", "/v1/commands")).json["items"] == []

    async def test_of_a_switched_off_second_person_nobody_is_left(self, daemon: Running) -> None:
        operator, second = await operator_of(daemon), await another(daemon, "approve")
        path, _ = await operator.planned("shout hello")
        await daemon.admin.request("PATCH", f"/v1/identities/{second.identity}", json={"active": False})
        refused = await operator.ask("POST", f"{path}/approve", {"approved": True})
        assert "POST /v1/identities" in refused.json["detail"]


async def test_nobody_acts_under_anothers_identity(daemon: Running) -> None:
    """R4-01: the headers of a command are its caller's own, however well they fit each other."""
    operator, second = await operator_of(daemon), await another(daemon, "command", "approve")
    refused = await second.ask("POST", "/v1/commands", {"intent": "shout"}, **operator.headers)
    assert (refused.status, refused.json["code"]) == (403, "identity_required")


async def test_without_the_setting_anothers_command_is_not_there(daemon: Running) -> None:
    """CONTRACT 1, "Whose": another's is 404; an admin sees all."""
    operator, second = await operator_of(daemon), await another(daemon, "command", "approve")
    third = await another(daemon, "command", "approve")
    path, _ = await second.planned("shout hello")
    for method, act in (("GET", ""), ("GET", "/plan"), ("POST", "/approve"), ("POST", "/cancel")):
        assert (await third.ask(method, path + act, {"approved": True} if act == "/approve" else None)).status == 404
    assert (await operator.ask("GET", path)).status == 200
