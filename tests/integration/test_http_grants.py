"""Standing grants: made by persons, consumed by use, ended at once (CONTRACT 5, X-01)."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.testing.daemons import Running
from tests.integration.authority_rig import Person, another, edited, opened, operator_of

SHOUT = {"capabilities": [{"name": "shout", "version": "1.2.0"}]}
FREE = {"constraints": {"requiredApprovals": False}}
DO = '{"capability": "shout", "params": {"text": "hello"}}'


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with opened(tmp_path) as found:
        yield found


@pytest.fixture
async def person(daemon: Running) -> Person:
    return await operator_of(daemon)


async def granted(person: Person, **more: object) -> str:
    made = await person.ask("POST", "/v1/grants", {**SHOUT, **more})
    assert made.status == 201, made.body
    return f"/v1/grants/{made.json['id']}"


async def test_a_grant_says_what_it_allows_and_is_listed_beside_the_default_ones(person, daemon) -> None:
    body = {
        **SHOUT, "sandbox": "container", "budget_per_use": {"usd": "0.10"}, "budget_total": {"tokens": 50},
        "uses_left": 3, "expires_at": "2099-01-01T02:00:00+02:00",
    }  # fmt: skip
    made = await person.ask("POST", "/v1/grants", body)
    assert (made.status, made.headers["Location"]) == (201, f"/v1/grants/{made.json['id']}")
    assert {name: made.json[name] for name in body} == {
        **body, "budget_per_use": {"usd": "0.1"}, "expires_at": "2099-01-01T00:00:00.000Z",
    }  # fmt: skip
    assert (made.json["granted_by"], made.json["revoked_at"]) == (person.identity, None)
    await daemon.keyless.post("/query", json={"text": "shout x"})
    listed = (await person.ask("GET", "/v1/grants")).json["items"]
    assert [one["kind"] for one in listed] == ["plugin_file", "standing", "default"]
    assert (await person.ask("GET", made.headers["Location"])).json == listed[1]
    rows = (await daemon.admin.get(f"/v1/audit?subject={made.json['id']}")).json["items"]
    assert [(row["action"], row["approval_id"], row["data"]["approved_by"]) for row in rows] == [
        ("grant.created", made.json["id"], person.identity),
    ]  # fmt: skip


@pytest.mark.parametrize("body", [
    {}, {"capabilities": []}, {"capabilities": [{"name": "shout"}]}, {"capabilities": [{"version": "1"}]},
    {"capabilities": [{"name": "shout", "version": "1", "digest": "d" * 64}]},
    {"capabilities": [{"name": "a\x00b", "version": "1"}]}, {"capabilities": [{"name": "shout", "digest": "XYZ"}]},
    {"capabilities": [{"name": "shout", "version": "1"}] * 101}, {**SHOUT, "uses_left": 0}, {**SHOUT, "uses_left": -1},
    {**SHOUT, "uses_left": 10**30}, {**SHOUT, "uses_left": "3"}, {**SHOUT, "budget_total": {"usd": -1}},
    {**SHOUT, "budget_total": 5}, {**SHOUT, "expires_at": "2020-01-01T00:00:00Z"}, {**SHOUT, "sandbox": "host"},
    {**SHOUT, "expires_at": "2099-01-01T00:00:00"}, {**SHOUT, "expires_at": "9999-12-31T23:59:59-23:00"},
    {**SHOUT, "expires_at": "soon"}, {**SHOUT, "granted_by": "me"}, {**SHOUT, "id": "x"},
    {**SHOUT, "identity_id": "00000000-0000-0000-0000-000000000000"},
])  # fmt: skip
async def test_what_is_no_grant_is_refused_with_the_place_of_the_fault(person: Person, body) -> None:
    refused = await person.ask("POST", "/v1/grants", body)
    assert (refused.status, refused.json["code"]) == (422, "invalid")
    assert refused.json["errors"]


async def test_only_persons_with_the_scope_grant_and_revoke(person: Person, daemon: Running) -> None:
    """X-26."""
    path = await granted(person)
    service = await another(daemon, "admin", kind="service")
    for method, where in (("POST", "/v1/grants"), ("DELETE", path)):
        refused = await service.ask(method, where, SHOUT if method == "POST" else None)
        assert (refused.status, refused.json["code"]) == (403, "person_required")
    unscoped = await another(daemon, "command")
    assert (await unscoped.ask("POST", "/v1/grants", SHOUT)).json["code"] == "scope_missing"


async def test_a_person_grants_for_himself_and_an_admin_for_everybody(person: Person, daemon: Running) -> None:
    """CONTRACT 1, "Whose"."""
    second, third = [await another(daemon, "command", "approve") for _ in range(2)]
    own = await second.ask("POST", "/v1/grants", SHOUT)
    assert own.json["identity_id"] == second.identity
    refused = await second.ask("POST", "/v1/grants", {**SHOUT, "identity_id": person.identity})
    assert (refused.status, refused.json["code"]) == (403, "scope_missing")
    where = f"/v1/grants/{own.json['id']}"
    assert (await third.ask("GET", where)).status == (await third.ask("DELETE", where)).status == 404
    assert (await third.planned(DO, **FREE))[1].json["steps"][0]["requires_approval"] is True
    assert (await second.planned(DO, **FREE))[1].json["steps"][0]["requires_approval"] is False
    everybodys = await granted(person)
    assert (await third.planned(DO, **FREE))[1].json["steps"][0]["requires_approval"] is False
    refused = await third.ask("DELETE", everybodys)
    assert (refused.status, refused.json["code"]) == (403, "scope_missing")
    assert (await person.ask("DELETE", where)).json["revoked_at"] is not None


async def test_a_plan_of_covered_steps_executes_without_an_approval_and_each_step_takes_a_use(person, daemon) -> None:
    """CONTRACT 5, R4-08: the audit row of what it allowed names the grant and its grantor."""
    path = await granted(person, uses_left=2)
    grant_id = path.rpartition("/")[2]
    for n in (1, 0):
        command, planned = await person.planned(DO, **FREE)
        assert (planned.status, planned.json["steps"][0]["requires_approval"]) == (201, False)
        assert await person.status(command) == "planned"
        assert (await person.ask("GET", path)).json["uses_left"] == n + 1  # planning takes nothing
        assert (await person.ask("POST", f"{command}/execute")).status == 202
        assert (await person.ended(command))["status"] == "completed"
        (step,) = (await person.ask("GET", f"{command}/plan")).json["steps"]
        assert (step["output"]["said"], step["grant_id"]) == ("HELLO", grant_id)
        assert (await person.ask("GET", path)).json["uses_left"] == n
        rows = (await daemon.admin.get(f"/v1/audit?subject={command.rpartition('/')[2]}")).json["items"]
        (started,) = [row for row in rows if row["action"] == "command.step_started"]
        assert (started["approval_id"], started["data"]["approved_by"]) == (grant_id, person.identity)
    told = (await person.ask("GET", path)).json
    assert told["spent"]["tokens"] == 2
    command, planned = await person.planned(DO, **FREE)
    assert planned.json["steps"][0]["requires_approval"] is True
    assert await person.status(command) == "awaiting_approval"


async def test_a_command_that_does_not_say_so_rests_on_no_grant(person: Person) -> None:
    """CONTRACT 5: requiredApprovals is true by default; the default grant is for what answers at once."""
    command, planned = await person.planned(DO, **FREE)
    assert await person.status(command) == "awaiting_approval"
    await granted(person)
    for constraints in ({}, {"constraints": {"requiredApprovals": True}}, {"constraints": {}}):
        command, planned = await person.planned(DO, **constraints)
        assert planned.json["steps"][0]["requires_approval"] is True
        assert await person.status(command) == "awaiting_approval"


def plan(*names: str, **more: object) -> str:
    steps = [
        {"id": f"s{n}", "type": "tool", "name": name, "description": name, "params": {"text": "hello"}}
        for n, name in enumerate(names)
    ]
    return json.dumps({"steps": steps, **more})


async def test_a_mixed_plan_awaits_approval_for_the_rest(person: Person, daemon: Running) -> None:
    path = await granted(person, uses_left=1)
    command, planned = await person.planned(plan("shout", "whisper", "shout"), **FREE)
    assert [step["requires_approval"] for step in planned.json["steps"]] == [False, True, True]
    assert await person.status(command) == "awaiting_approval"
    assert (await person.ask("POST", f"{command}/execute")).json["code"] == "illegal_transition"
    await person.ask("POST", f"{command}/approve", {"approved": True})
    await person.ask("POST", f"{command}/execute")
    assert (await person.ended(command))["status"] == "completed"
    rows = (await daemon.admin.get(f"/v1/audit?subject={command.rpartition('/')[2]}")).json["items"]
    bases = [row["approval_id"] for row in rows if row["action"] == "command.step_started"][::-1]
    assert bases[0] == path.rpartition("/")[2]
    assert bases[1] == bases[2] != bases[0]


async def test_in_step_mode_only_the_steps_that_no_grant_covers_are_asked_for(person: Person) -> None:
    """R4-15, X-29."""
    await granted(person)
    command, _ = await person.planned(plan("shout", "whisper", "shout", "whisper"), **FREE, approval_mode="step")
    await person.ask("POST", f"{command}/approve", {"approved": True})
    await person.ask("POST", f"{command}/execute")
    assert (await person.ended(command))["status"] == "awaiting_approval"
    steps = (await person.ask("GET", f"{command}/plan")).json["steps"]
    assert [step["status"] for step in steps] == ["completed", "completed", "completed", "pending"]
    await person.ask("POST", f"{command}/approve", {"approved": True})
    assert (await person.ended(command))["status"] == "completed"


@pytest.mark.parametrize("end", ["revoked", "used"])
async def test_a_grant_that_ends_meanwhile_stops_the_command_before_that_step(person: Person, end: str) -> None:
    path = await granted(person, uses_left=2)
    wait = {"id": "w", "type": "wait", "name": "wait", "description": "", "params": {"duration": 400}}
    steps = json.loads(plan("shout", "shout"))["steps"]
    command, _ = await person.planned(json.dumps({"steps": [steps[0], wait, steps[1]]}), **FREE)
    assert await person.status(command) == "planned"
    await person.ask("POST", f"{command}/execute")
    async with asyncio.timeout(10):
        while (await person.ask("GET", path)).json["uses_left"] == 2:
            await asyncio.sleep(0.01)
    if end == "revoked":
        await person.ask("DELETE", path)
    else:
        other, _ = await person.planned(DO, **FREE)
        await person.ask("POST", f"{other}/execute")
        assert (await person.ended(other))["status"] == "completed"
    ended = await person.ended(command)
    assert ended["status"] == "failed"
    assert ended["failure"]["stepIndex"] == 2
    assert "grant" in ended["failure"]["error"]
    statuses = [step["status"] for step in (await person.ask("GET", f"{command}/plan")).json["steps"]]
    assert statuses == ["completed", "completed", "skipped"]
    assert (await person.ask("GET", path)).json["uses_left"] == (1 if end == "revoked" else 0)
    again = await person.ask("POST", f"{command}/decision", {"action": "retry"})
    assert again.json["status"] == "awaiting_approval"  # what no grant covers any more, a person is asked for


async def test_sixteen_commands_at_once_on_three_uses_do_three_steps(person: Person) -> None:
    """No over-use, however they race; the others fail before their step."""
    path = await granted(person, uses_left=3)
    commands = [(await person.planned(DO, **FREE))[0] for _ in range(16)]
    await asyncio.gather(*(person.ask("POST", f"{command}/execute") for command in commands))
    ended = [(await person.ended(command))["status"] for command in commands]
    assert (ended.count("completed"), ended.count("failed")) == (3, 13)
    told = (await person.ask("GET", path)).json
    assert (told["uses_left"], told["spent"]["tokens"]) == (0, 3)


async def test_a_plugin_that_changed_since_it_was_planned_is_not_run(person, daemon, tmp_path: Path) -> None:
    """R2-11: by version a grant covers the new file; what was planned is the old one."""
    await granted(person)
    command, _ = await person.planned(DO, **FREE)
    await edited(daemon, tmp_path / "plugins" / "loud.py")
    refused = await person.ask("POST", f"{command}/execute")
    assert (refused.status, refused.json["code"]) == (409, "plan_changed")
    assert (await person.ask("POST", f"{command}/plan")).status == 201
    assert (await person.ask("POST", f"{command}/execute")).status == 202


async def test_a_grant_of_ones_own_is_no_second_pair_of_eyes(tmp_path: Path) -> None:
    """X-26 with governance.four_eyes."""
    async with opened(tmp_path, governance__four_eyes=True) as daemon:
        operator, second = await operator_of(daemon), await another(daemon, "approve", "command")
        await granted(operator)
        assert await operator.status((await operator.planned(DO, **FREE))[0]) == "awaiting_approval"
        assert await second.status((await second.planned(DO, **FREE))[0]) == "planned"
        made = await second.ask("POST", "/v1/grants", {**SHOUT, "identity_id": operator.identity})
        assert made.status == 201
        assert await operator.status((await operator.planned(DO, **FREE))[0]) == "planned"


async def test_revoked_twice_is_as_once_and_nobody_revokes_what_is_not_there(person: Person) -> None:
    path = await granted(person)
    first = await person.ask("DELETE", path)
    assert (first.status, (await person.ask("DELETE", path)).json) == (200, first.json)
    for where in ("/v1/grants/nobody", "/v1/grants/00000000-0000-0000-0000-000000000000"):
        assert (await person.ask("DELETE", where)).status == (await person.ask("GET", where)).status == 404
