"""Queries and executions that no grant covers wait for a person, and run by themselves then (CONTRACT 2, 5, X-01)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.errors import ApprovalRequired
from orchestrator.contracts.queries import QueryRequest
from orchestrator.governance.commands import admissions
from orchestrator.testing.daemons import Answered, Client, Running
from tests.integration.authority_rig import another, edited, opened, operator_of

ASK = {"text": "shout {{hello}} there", "params": {"n": 2**60, "text": "mine", "deep": {"a": [1, {"b": None}]}}}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with opened(tmp_path, governance__ungranted_plugins=["loud"]) as found:
        yield found


async def settled(client: Client, path: str) -> Answered:
    async with asyncio.timeout(10):
        while (answer := await client.get(path)).status == 202:
            await asyncio.sleep(0.01)
    return answer


async def asked(client: Client, **body: object) -> tuple[str, str]:
    waits = await client.post("/query", json={**ASK, **body})
    assert waits.status == 202, waits.body
    assert waits.json == {
        "id": waits.json["id"], "status": "awaiting_approval", "command_id": waits.json["command_id"]
    }  # fmt: skip
    assert waits.headers["Location"] == f"/query/{waits.json['id']}"
    return waits.headers["Location"], f"/v1/commands/{waits.json['command_id']}"


@pytest.mark.parametrize("keyless", [True, False])
async def test_a_query_waits_and_once_approved_its_address_turns_from_202_to_200(daemon, keyless: bool) -> None:
    """CONTRACT 2: it runs by itself, with exactly what was asked; the audit names approval and person."""
    client, operator = daemon.keyless if keyless else daemon.admin, await operator_of(daemon)
    where, command = await asked(client)
    assert (await client.get(where)).json["status"] == "awaiting_approval"
    assert (await client.get(where)).status == 202
    (listed,) = (await operator.ask("GET", "/v1/commands?open=true")).json["items"]
    assert (listed["intent"], f"/v1/commands/{listed['id']}") == (ASK["text"], command)
    (step,) = (await operator.ask("GET", f"{command}/plan")).json["steps"]
    assert (step["skill"], step["tool"], step["requires_approval"]) == ("loud", "loud", True)
    assert step["request"] == ASK  # word by word, for who approves it
    approved = await operator.ask("POST", f"{command}/approve", {"approved": True})
    assert approved.status == 200
    answer = await settled(client, where)
    assert (answer.status, answer.json["status"], answer.json["plugin"]) == (200, "ok", "loud")
    assert answer.json["id"] == where.rpartition("/")[2]
    assert answer.json["response"] == {"said": "SHOUT {{HELLO}} THERE", "params": ASK["params"]}
    assert answer.json["route"]["by"] == "keywords"
    assert (await operator.ended(command))["status"] == "completed"
    rows = (await daemon.admin.get(f"/v1/audit?subject={where.rpartition('/')[2]}")).json["items"]
    assert [row["action"] for row in rows] == ["query.completed", "query.awaiting_approval"]
    assert rows[0]["data"]["approved_by"] == operator.identity
    assert rows[0]["approval_id"] is not None


@pytest.mark.parametrize("act", ["reject", "cancel"])
async def test_a_query_that_is_refused_says_so_where_its_answer_would_have_been(daemon: Running, act: str) -> None:
    operator = await operator_of(daemon)
    where, command = await asked(daemon.keyless)
    await operator.ask("POST", f"{command}/{act}")
    answer = await daemon.keyless.get(where)
    assert (answer.status, answer.json["status"]) == (200, "failed")
    assert answer.json["error"]["code"] == {"reject": "rejected", "cancel": "cancelled"}[act]


async def test_what_nobody_approved_in_time_is_refused(tmp_path: Path) -> None:
    """R4-17."""
    settings = {"governance__ungranted_plugins": ["loud"], "governance__approval_ttl_s": 0.2}
    async with opened(tmp_path, **settings) as daemon:
        where, _ = await asked(daemon.keyless)
        assert (await settled(daemon.keyless, where)).json["error"]["code"] == "expired"


async def test_a_plugin_that_fails_then_is_told_as_at_once(daemon: Running, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "loud.py").write_text("def handle(request):\n    raise ValueError('on purpose')\n")
    operator = await operator_of(daemon)
    async with asyncio.timeout(10):
        while (await daemon.admin.get("/plugins/loud")).json["keywords"]:
            await asyncio.sleep(0.01)
    where, command = await asked(daemon.keyless, plugin="loud")
    await operator.ask("POST", f"{command}/approve", {"approved": True})
    answer = await settled(daemon.keyless, where)
    assert (answer.status, answer.json["error"]["code"]) == (200, "plugin_error")
    assert (await operator.ended(command))["status"] == "failed"
    again = await operator.ask("POST", f"{command}/decision", {"action": "retry"})
    assert again.json["status"] == "awaiting_approval"
    await operator.ask("POST", f"{command}/approve", {"approved": True})
    assert (await operator.ended(command))["status"] in ("approved", "failed")


async def test_other_plugins_answer_at_once_and_a_grant_makes_this_one_do_so(daemon: Running) -> None:
    assert (await daemon.keyless.post("/query", json={"text": "whisper A"})).status == 200
    body = {"capabilities": [{"name": "loud", "version": "1.2.0"}], "uses_left": 1}
    made = await daemon.admin.post("/v1/grants", json=body)
    answer = await daemon.keyless.post("/query", json=ASK)
    assert (answer.status, answer.json["status"]) == (200, "ok")
    rows = (await daemon.admin.get(f"/v1/audit?subject={answer.json['id']}")).json["items"]
    operator = await operator_of(daemon)
    assert {(row["action"], row["approval_id"], row["data"]["approved_by"]) for row in rows} == {
        ("query.completed", made.json["id"], operator.identity), ("grant.used", made.json["id"], operator.identity),
    }  # fmt: skip
    await asked(daemon.keyless)  # the one use is gone


async def test_the_last_uses_of_a_grant_answer_just_so_many_queries(daemon: Running) -> None:
    body = {"capabilities": [{"name": "loud", "version": "1.2.0"}], "uses_left": 5}
    await daemon.admin.post("/v1/grants", json=body)
    answers = await asyncio.gather(*(daemon.admin.post("/query", json=ASK) for _ in range(24)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [202] * 19


async def test_a_revoked_default_grant_stays_revoked_and_all_plugins_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as daemon:
        assert (await daemon.keyless.post("/query", json=ASK)).status == 200
        (default,) = [
            one for one in (await daemon.admin.get("/v1/grants")).json["items"] if one["kind"] == "default"
        ]  # fmt: skip
        gone = await daemon.admin.request("DELETE", f"/v1/grants/{default['id']}")
        assert gone.json["revoked_at"] is not None
        await asked(daemon.keyless)
    async with opened(tmp_path) as daemon:
        await asked(daemon.keyless)


async def test_a_plugins_own_grant_is_revoked_for_that_file_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as daemon:
        await daemon.keyless.post("/query", json=ASK)
        items = (await daemon.admin.get("/v1/grants")).json["items"]
        (own,) = [one for one in items if one["kind"] == "plugin_file"]
        await daemon.admin.request("DELETE", f"/v1/grants/{own['id']}")
        await asked(daemon.keyless)
        assert (await daemon.keyless.post("/query", json={"text": "whisper A"})).status == 200
    async with opened(tmp_path) as daemon:
        await asked(daemon.keyless)


async def test_what_waited_and_what_was_approved_outlive_a_restart(tmp_path: Path) -> None:
    settings = {"governance__ungranted_plugins": ["loud"]}
    async with opened(tmp_path, **settings) as daemon:
        where, command = await asked(daemon.keyless)
        other, waiting = await asked(daemon.keyless)
        operator = await operator_of(daemon)
        commands = daemon.daemon.rooms.commands
        commands._by_itself = lambda command_id: None  # it dies right after the approval
        await operator.ask("POST", f"{command}/approve", {"approved": True})
    async with opened(tmp_path, **settings) as daemon:
        assert (await settled(daemon.keyless, where)).json["status"] == "ok"
        assert (await daemon.keyless.get(other)).status == 202
        operator = await operator_of(daemon)
        await operator.ask("POST", f"{waiting}/approve", {"approved": True})
        assert (await settled(daemon.keyless, other)).json["status"] == "ok"


async def test_a_query_whose_daemon_ended_under_way_is_answered_by_the_next(tmp_path: Path) -> None:
    """3.2 "kill -9 mid-plan": the plugin is pure, so it is asked again."""
    flag = tmp_path / "go"
    slow = (
        "import asyncio, pathlib\n"
        'PLUGIN = {"keywords": ["slow"]}\n'
        "async def handle(request):\n"
        f"    while not pathlib.Path({str(flag)!r}).exists():\n"
        "        await asyncio.sleep(0.01)\n"
        '    return "there"\n'
    )
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "slow.py").write_text(slow)
    settings = {"governance__ungranted_plugins": ["slow"]}
    async with opened(tmp_path, **settings) as daemon:
        operator = await operator_of(daemon)
        waits = await daemon.keyless.post("/query", json={"text": "slow"})
        where, command = waits.headers["Location"], f"/v1/commands/{waits.json['command_id']}"
        await operator.ask("POST", f"{command}/approve", {"approved": True})
        async with asyncio.timeout(10):
            while (found := await daemon.keyless.get(where)).json["status"] != "running":
                await asyncio.sleep(0.01)
        assert found.status == 202
    flag.touch()
    async with opened(tmp_path, **settings) as daemon:
        assert (await settled(daemon.keyless, where)).json["response"] == "there"


async def test_a_plugin_that_changed_meanwhile_is_asked_for_anew(daemon: Running, tmp_path: Path) -> None:
    """R2-11."""
    operator = await operator_of(daemon)
    where, command = await asked(daemon.keyless)
    await edited(daemon, tmp_path / "plugins" / "loud.py")
    await operator.ask("POST", f"{command}/approve", {"approved": True})
    async with asyncio.timeout(10):
        while await operator.status(command) != "awaiting_approval":
            await asyncio.sleep(0.01)
    assert (await daemon.keyless.get(where)).status == 202
    assert (await operator.ask("POST", f"{command}/plan")).status == 201
    await operator.ask("POST", f"{command}/approve", {"approved": True})
    assert (await settled(daemon.keyless, where)).json["status"] == "ok"


async def test_anothers_waiting_query_is_not_there_and_cannot_be_made_something_else(daemon: Running) -> None:
    """CONTRACT 1, "Whose"."""
    operator, second = await operator_of(daemon), await another(daemon, "query", "command", "approve")
    where, command = await asked(second.client)
    third = await another(daemon, "query", "command", "approve")
    for client in (third.client, daemon.keyless):
        assert (await client.get(where)).status == 404
    assert (await third.ask("GET", command)).status == 404
    assert (await second.ask("GET", command)).status == 200
    body = {"approved": True, "modifications": {"stepIndex": 0, "newTool": "quiet"}}
    assert (await operator.ask("POST", f"{command}/approve", body)).status == 422
    assert (await second.ask("POST", f"{command}/approve", {"approved": True})).status == 200
    assert (await settled(second.client, where)).json["status"] == "ok"


async def test_who_has_no_context_cannot_ask_a_person(daemon: Running) -> None:
    second = await another(daemon, "query")
    await daemon.admin.request("PATCH", f"/v1/contexts/{second.context}", json={"active": False})
    refused = await second.client.post("/query", json=ASK)
    assert (refused.status, refused.json["code"]) == (403, "no_grant")
    assert "/v1/contexts" in refused.json["detail"]


@pytest.mark.parametrize("text", ["\x00shout\x00", " " * 50 + "shout", "shout " + "x" * 32_762, "shout \U0001f600"])
async def test_odd_texts_wait_like_others(daemon: Running, text: str) -> None:
    operator = await operator_of(daemon)
    waits = await daemon.keyless.post("/query", json={"text": text, "plugin": "loud"})
    assert waits.status == 202, waits.body
    command = f"/v1/commands/{waits.json['command_id']}"
    await operator.ask("POST", f"{command}/approve", {"approved": True})
    assert (await settled(daemon.keyless, waits.headers["Location"])).json["response"]["said"] == text.upper()


async def test_in_python_it_raises_what_waits(daemon: Running) -> None:
    """X-01: `ApprovalRequired`."""
    caller = Caller(daemon.daemon.operator.id, "person", frozenset({Scope.ADMIN}), source="python")
    with pytest.raises(ApprovalRequired) as raised:
        await daemon.daemon.rooms.desk.answer(QueryRequest(text="shout x"), caller)
    assert set(raised.value.extra) == {"id", "command_id"}
    assert (await daemon.admin.get(f"/query/{raised.value.extra['id']}")).status == 202


async def test_a_plugins_own_query_does_not_wait_but_is_refused(daemon: Running, tmp_path: Path) -> None:
    """Nobody could go on with a plugin that waits for a person in the middle of its answer."""
    asks = 'PLUGIN = {"keywords": ["nested"]}\nMANAGER = []\n'
    asks += "def init(manager):\n    MANAGER.append(manager)\n"
    asks += 'async def handle(request):\n    return dict(await MANAGER[0].query("shout x"))\n'
    (tmp_path / "plugins" / "nested.py").write_text(asks)
    async with asyncio.timeout(10):
        while (answer := await daemon.keyless.post("/query", json={"text": "nested"})).json.get("code") == "no_route":
            await asyncio.sleep(0.01)
    assert (answer.status, answer.json["code"]) in ((403, "no_grant"), (502, "plugin_error"))
    operator = await operator_of(daemon)
    assert (await operator.ask("GET", "/v1/commands")).json["items"] == []


async def test_not_more_wait_than_a_person_could_judge(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "MOST_WAITING", 3)
    answers = [await daemon.keyless.post("/query", json=ASK) for _ in range(5)]
    assert [answer.status for answer in answers] == [202, 202, 202, 429, 429]
    assert answers[-1].json["code"] == "queue_full"
    assert (await daemon.admin.post("/query", json=ASK)).status == 202  # others have a count of their own


async def test_the_same_idempotency_key_waits_once(daemon: Running) -> None:
    answers = [await daemon.admin.post("/query", json=ASK, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].json == answers[1].json
    assert answers[1].headers["Location"] == answers[0].headers["Location"]


class TestExecutions:
    """The same for code, where the default grant was revoked."""

    @pytest.fixture
    async def daemon(self, tmp_path: Path) -> AsyncIterator[Running]:
        async with opened(tmp_path) as found:
            (default,) = (await found.admin.get("/v1/grants")).json["items"]
            await found.admin.request("DELETE", f"/v1/grants/{default['id']}")
            yield found

    async def waiting(self, daemon: Running) -> tuple[str, str]:
        waits = await daemon.admin.post("/v1/sandbox/executions", json={"code": "print(1)"})
        assert (waits.status, waits.json["status"]) == (202, "awaiting_approval"), waits.body
        assert waits.headers["Location"] == f"/v1/sandbox/executions/{waits.json['id']}"
        return waits.headers["Location"], f"/v1/commands/{waits.json['command_id']}"

    async def test_code_waits_and_is_tried_once_approved(self, daemon: Running) -> None:
        operator = await operator_of(daemon)
        where, command = await self.waiting(daemon)
        assert (await daemon.admin.get(where)).json["status"] == "awaiting_approval"
        (step,) = (await operator.ask("GET", f"{command}/plan")).json["steps"]
        assert (step["skill"], step["tool"]) == ("sandbox.execute", "sandbox")
        await operator.ask("POST", f"{command}/approve", {"approved": True})
        async with asyncio.timeout(10):
            while (await operator.status(command)) not in ("failed", "completed"):
                await asyncio.sleep(0.01)
        found = (await daemon.admin.get(where)).json  # there is no engine here
        assert (found["status"], "engine" in found["reason"]) == ("infra", True)

    async def test_refused_or_withdrawn_it_is_cancelled(self, daemon: Running) -> None:
        operator = await operator_of(daemon)
        where, command = await self.waiting(daemon)
        await operator.ask("POST", f"{command}/reject")
        assert (await daemon.admin.get(where)).json["status"] == "cancelled"
        where, command = await self.waiting(daemon)
        assert (await daemon.admin.request("DELETE", where)).json["status"] == "cancelled"
        assert await operator.status(command) == "cancelled"

    async def test_a_session_waits_and_can_be_withdrawn(self, daemon: Running) -> None:
        operator = await operator_of(daemon)
        for approve in (False, True):
            waits = await daemon.admin.post("/v1/sandbox/sessions", json={})
            assert waits.status == 202
            where, command = waits.headers["Location"], f"/v1/commands/{waits.json['command_id']}"
            assert where == f"/v1/sandbox/sessions/{waits.json['id']}"
            assert (await daemon.admin.get(where)).json["status"] == "awaiting_approval"
            assert (
                await daemon.keyless.with_key((await another(daemon, "execute")).client.key).get(where)
            ).status == 404
            piece = await daemon.admin.post(f"{where}/executions", json={"code": "1"})
            assert piece.status == 404
            if approve:  # there is no engine here
                await operator.ask("POST", f"{command}/approve", {"approved": True})
                async with asyncio.timeout(10):
                    while (await operator.status(command)) != "failed":
                        await asyncio.sleep(0.01)
            ended = await daemon.admin.request("DELETE", where)
            assert (ended.status, ended.json["status"]) == (200, "ended")
            assert await operator.status(command) == ("failed" if approve else "cancelled")

    async def test_what_cannot_be_run_is_refused_before_a_person_is_asked(self, daemon: Running) -> None:
        body = {"code": "1", "limits": {"cpu_ms": 10**9}}
        assert (await daemon.admin.post("/v1/sandbox/executions", json=body)).json["code"] == "limit_above_profile"
        assert (await daemon.admin.get("/v1/audit?limit=1")).json["items"][0]["outcome"] == "limit_above_profile"

    async def test_a_grant_for_code_covers_it_in_its_class(self, daemon: Running) -> None:
        body = {"capabilities": [{"name": "sandbox.execute", "version": "1"}], "sandbox": "cell", "uses_left": 1}
        await daemon.admin.post("/v1/grants", json=body)
        cell = {"code": "1", "isolation": "cell"}
        await self.waiting(daemon)
        assert (await daemon.admin.post("/v1/sandbox/executions", json=cell)).json["code"] == "sandbox_unavailable"
        assert (await daemon.admin.post("/v1/sandbox/executions", json=cell)).status == 202


async def test_with_four_eyes_who_asked_does_not_approve_his_own_query(tmp_path: Path) -> None:
    """X-26, also without a key: the operator is who asks then (X-10)."""
    async with opened(tmp_path, governance__four_eyes=True, governance__ungranted_plugins=["loud"]) as daemon:
        operator, second = await operator_of(daemon), await another(daemon, "approve")
        for client in (daemon.keyless, daemon.admin):
            where, command = await asked(client)
            assert (await operator.ask("POST", f"{command}/approve", {"approved": True})).json["code"] == "four_eyes"
            assert (await second.ask("POST", f"{command}/approve", {"approved": True})).status == 200
            assert (await settled(client, where)).json["status"] == "ok"
