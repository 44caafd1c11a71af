"""Seed 002's end-to-end suite over the real daemon: loading, bus, sandbox, routing, code generation (R2-01, R2-20)."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.brain import Brain
from orchestrator.config.places import ROOT
from orchestrator.contracts.errors import Forbidden, Invalid
from orchestrator.docker_manager import DockerManager
from orchestrator.testing.daemons import NO_ENGINE, Client

pytestmark = pytest.mark.engine
QUERIES = json.loads((Path(__file__).parent / "example_queries.json").read_text())
LIST_NETWORKS = {
    "text": "run this", "intent": "run_code", "params": {"code": "import os\nprint(sorted(os.listdir('/sys/class/net')))"},
}  # fmt: skip
REVERSE = {"text": "reverse a string", "intent": "generate_code"}


async def audit_of(admin: Client, subject: str) -> list[dict[str, Any]]:
    return (await admin.get(f"/v1/audit?subject={subject}")).json["items"]


class TestPluginLoading:
    def test_every_part_of_the_seed_has_a_home_that_a_newcomer_finds(self) -> None:
        """R2-01: loader, bus, brain, Docker sandbox, API server, and the wrapped module with init and handle."""
        for home in ("host/loading.py", "bus/local.py", "brain.py", "docker_manager.py", "api/server.py"):
            assert (ROOT / "orchestrator" / home).is_file(), home
        source = (ROOT / "plugins" / "universal_developer.py").read_text()
        assert "def init(" in source
        assert "def handle(" in source
        workflow = (ROOT / ".github/workflows/ci.yml").read_text()
        assert "make test" in workflow
        assert "|| true" not in workflow

    async def test_the_bundled_plugins_come_through_the_same_door(self, client: Client) -> None:
        """R2-11: found by being files in a folder."""
        found = {p["name"]: p for p in (await client.get("/plugins")).json["items"]}
        assert {"universal_developer", "guide"} <= set(found)
        for name in ("universal_developer", "guide"):
            assert (found[name]["state"], found[name]["error"]) == ("active", None)

    async def test_the_seeds_own_paths_answer(self, client: Client, admin: Client) -> None:
        """R2-05."""
        for path in ("/", "/health", "/healthz", "/readyz", "/plugins", "/docs", "/openapi.json", "/metrics"):
            assert (await client.get(path)).status == 200, path
        assert (await admin.get("/audit?limit=2")).json["items"][1] == (await admin.get("/v1/audit?limit=1000")).json[
            "items"
        ][1]
        assert (await client.get("/audit")).status == 401

    async def test_init_is_called_once_and_handle_sync_or_async(self, start_daemon: Any) -> None:
        """R2-10, with the seed's own interface."""
        seed = "COUNT = 0\ndef init(manager):\n    global MANAGER, COUNT\n    MANAGER = manager\n    COUNT += 1\n"
        running = await start_daemon({
            "one.py": seed + "def handle(request):\n    return {'response': COUNT}\n",
            "two.py": seed + "async def handle(request):\n    return {'response': COUNT}\n",
        })  # fmt: skip
        for name in ("one", "two"):
            for _ in range(2):
                answer = await running.keyless.post("/query", json={"text": "x", "plugin": name})
                assert answer.json["response"] == {"response": 1}

    async def test_a_broken_plugin_shows_its_error_and_breaks_nothing(self, start_daemon: Any) -> None:
        """R2-11, R2-24: the traceback is for admins."""
        running = await start_daemon(
            {"good.py": "def handle(request):\n    return 1\n", "bad.py": "import no_such_module_here\n"}
        )
        assert (await running.keyless.post("/query", json={"text": "x", "plugin": "good"})).status == 200
        shown = (await running.keyless.get("/plugins/bad")).json
        assert shown["state"] == "broken"
        assert "no_such_module_here" in shown["error"]["message"]
        assert shown["error"]["traceback"] is None
        assert "bad.py" in (await running.admin.get("/plugins/bad")).json["error"]["traceback"]
        answer = await running.keyless.post("/query", json={"text": "x", "plugin": "bad"})
        assert (answer.status, answer.json["code"]) == (502, "plugin_error")

    async def test_a_saved_file_answers_without_a_restart(self, start_daemon: Any, tmp_path: Path) -> None:
        """R2-11."""
        running = await start_daemon({"live.py": "def handle(request):\n    return 1\n"})
        ask = {"text": "x", "plugin": "live"}
        assert (await running.keyless.post("/query", json=ask)).json["response"] == 1
        (tmp_path / "plugins" / "live.py").write_text("def handle(request):\n    return 2\n")
        async with asyncio.timeout(5):
            while (await running.keyless.post("/query", json=ask)).json["response"] != 2:
                pass


class TestEventBus:
    async def test_events_are_kept_in_order_whether_or_not_anybody_listens(self, client: Client) -> None:
        """R2-12."""
        query_id = (await client.post("/query", json={**REVERSE, "dry_run": True})).json["id"]
        events = await read_events(client, "?topic=query.*", count=3, subject=query_id, last="0")
        assert [e["topic"] for e in events] == ["query.received", "query.routed", "query.completed"]
        assert sorted(e["seq"] for e in events) == [e["seq"] for e in events]

    async def test_a_stream_resumes_after_the_last_id_with_nothing_missed(self, client: Client) -> None:
        """CONTRACT 1, SSE."""
        first = (await client.post("/query", json={**REVERSE, "dry_run": True})).json["id"]
        seen = await read_events(client, "?topic=query.completed", count=1, subject=first, last="0")
        second = (await client.post("/query", json={**REVERSE, "dry_run": True})).json["id"]
        more = await read_events(client, "?topic=query.>", count=3, subject=second, last=str(seen[0]["seq"]))
        assert len(more) == 3

    async def test_one_failing_subscriber_affects_no_publisher(self, start_daemon: Any) -> None:
        """R2-12."""
        source = (
            "HEARD = []\n"
            "async def init(manager):\n"
            "    async def broken(event):\n        raise ValueError('mine')\n"
            "    async def fine(event):\n        HEARD.append(event['topic'])\n"
            "    await manager.subscribe('query.completed', broken)\n    await manager.subscribe('query.completed', fine)\n"
            "def handle(request):\n    return HEARD\n"
        )
        running = await start_daemon({"ears.py": source})
        ask = {"text": "x", "plugin": "ears"}
        await running.keyless.post("/query", json=ask)
        async with asyncio.timeout(5):
            while not (await running.keyless.post("/query", json=ask)).json["response"]:
                pass


class TestSandboxRunner:
    async def test_code_runs_without_a_network_and_says_so(self, admin: Client) -> None:
        """R2-08, R2-17."""
        code = "import socket\nprint(socket.if_nameindex() if False else sorted(__import__('os').listdir('/sys/class/net')))"
        outcome = (await admin.post("/v1/sandbox/executions", json={"code": code})).json
        assert (outcome["status"], outcome["stdout"]) == ("ok", "['lo']\n")
        assert outcome["sandbox"]["network"] == "none"
        assert "dev" not in outcome["sandbox"]

    async def test_the_job_has_no_rights(self, admin: Client) -> None:
        """R2-17: non-root, empty capability sets, no_new_privs, seccomp, a read-only root."""
        code = (
            "import os\nprint(os.getuid() > 0, os.getgroups())\n"
            "for line in open('/proc/self/status'):\n"
            "    if line.split(':')[0] in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs', 'Seccomp'): print(line.split()[1])\n"
            "try:\n    open('/usr/x', 'w')\nexcept OSError as e:\n    print(e.errno)\n"
        )
        outcome = (await admin.post("/v1/sandbox/executions", json={"code": code})).json
        assert outcome["stdout"].split("\n")[:8] == ["True []", "0" * 16, "0" * 16, "0" * 16, "0" * 16, "1", "2", "30"]

    async def test_nothing_of_the_daemon_reaches_a_job(self, admin: Client) -> None:
        """R2-08: not its environment, not its files, not the engine's socket."""
        code = "import os\nprint(sorted(os.environ))\nprint(os.path.exists('/var/run/docker.sock'), os.path.exists('/run/docker.sock'))"
        outcome = (await admin.post("/v1/sandbox/executions", json={"code": code})).json
        names, sockets = outcome["stdout"].splitlines()
        assert "ORCHESTRATOR" not in names
        assert "DOCKER" not in names
        assert sockets == "False False"

    async def test_without_an_engine_code_is_refused_and_everything_else_serves(self, start_daemon: Any) -> None:
        """R2-09: 503, never unsandboxed."""
        running = await start_daemon(bundled=True)
        answer = await running.admin.post("/v1/sandbox/executions", json={"code": "print(1)"})
        assert (answer.status, answer.json["code"]) == (503, "sandbox_unavailable")
        assert "Retry-After" in answer.headers
        answer = await running.keyless.post("/query", json=REVERSE)
        assert (answer.status, answer.json["code"]) == (503, "sandbox_unavailable")
        assert (
            await running.keyless.post("/query", json={"text": "what is the architecture of this system"})
        ).status == 200

    async def test_an_execution_is_its_owners_and_can_be_read_again(self, admin: Client) -> None:
        """CONTRACT 1, "Whose"."""
        made = (await admin.post("/v1/sandbox/executions", json={"code": "print('mine')"})).json
        again = (await admin.get(f"/v1/sandbox/executions/{made['id']}")).json
        assert again == made
        listed = (await admin.get("/v1/sandbox/executions?limit=1")).json["items"][0]
        assert listed["id"] == made["id"]
        assert "stdout" not in listed

    @pytest.mark.parametrize("member", ["cases", "stop_on"])
    async def test_a_member_of_the_wrong_kind_is_refused_by_name(self, admin: Client, member: str) -> None:
        answer = await admin.post("/v1/sandbox/executions", json={"code": "", member: []})
        assert (answer.status, answer.json["errors"][0]["loc"]) == (422, [member])


class TestBrainRouting:
    @pytest.mark.parametrize("golden", QUERIES, ids=[q["text"][:40] for q in QUERIES])
    async def test_golden_queries_go_where_they_should(self, admin: Client, golden: dict[str, Any]) -> None:
        """R2-07."""
        asked = {name: golden[name] for name in ("text", "intent", "params") if golden.get(name) is not None}
        answer = await admin.post("/query", json=asked)
        assert answer.status == golden["status"], answer.body
        if golden["status"] == 200:
            assert answer.json["plugin"] == golden["plugin"]
            assert golden.get("by") in (None, answer.json["route"]["by"])
        else:
            assert answer.json["code"] == golden["code"]

    async def test_a_dry_run_says_where_and_calls_nobody(self, client: Client) -> None:
        answer = (await client.post("/query", json={**REVERSE, "dry_run": True})).json
        assert (answer["status"], answer["plugin"]) == ("routed", "universal_developer")
        assert "response" not in answer

    async def test_every_query_is_in_the_audit_refused_and_failed_ones_too(self, client: Client, admin: Client) -> None:
        """R2-08, R2-07."""
        for asked, outcome in (
            ({"text": "blorb frobnicate"}, "no_route"), ({"text": "write a keylogger program"}, "capability_disabled"),
            ({"text": "x", "intent": "run_code"}, "key_required"), ({**REVERSE, "dry_run": True}, "routed"),
        ):  # fmt: skip
            answer = (await client.post("/query", json=asked)).json
            assert [row["outcome"] for row in await audit_of(admin, answer["id"])] == [outcome]

    async def test_an_intent_carries_its_scope_through_every_door(self, client: Client, admin: Client) -> None:
        """CONTRACT 1."""
        asker, runner = await admin.with_scopes("query"), await admin.with_scopes("query", "execute")
        ask = {"text": "run this", "intent": "run_code", "params": {"code": "print(6*7)"}}
        assert (await client.post("/query", json=ask)).status == 401
        refused = await asker.post("/query", json=ask)
        assert (refused.status, refused.json["code"]) == (403, "scope_missing")
        outcome = (await runner.post("/query", json=ask)).json["response"]
        assert (outcome["status"], outcome["stdout"]) == ("ok", "42\n")

    async def test_a_problem_carries_the_id_of_the_query_that_was_asked(self, start_daemon: Any) -> None:
        """CONTRACT 2: of a query that failed within it, the outer one's."""
        source = "async def handle(request):\n    return await MANAGER.query('blorb')\ndef init(manager):\n    global MANAGER\n    MANAGER = manager\n"
        running = await start_daemon({"outer.py": source})
        answer = await running.keyless.post("/query", json={"text": "x", "plugin": "outer"})
        assert (answer.status, answer.json["code"]) == (422, "no_route")
        kept = (await running.keyless.get(f"/query/{answer.json['id']}")).json
        assert (kept["status"], kept["plugin"], kept["error"]["code"]) == ("failed", "outer", "no_route")

    async def test_events_of_a_query_come_before_those_it_causes(self, client: Client, admin: Client) -> None:
        query_id = (await client.post("/query", json=REVERSE)).json["id"]
        events = await read_events(client, "?topic=query.*", count=3, subject=query_id, last="0")
        started = [
            r for r in (await admin.get("/v1/audit?limit=1000")).json["items"] if r["data"].get("query_id") == query_id
        ]
        assert [e["topic"] for e in events] == ["query.received", "query.routed", "query.completed"]
        assert events[1]["time"] <= started[-1]["time"] <= events[2]["time"]

    async def test_a_routing_hook_decides_before_keywords(self, start_daemon: Any) -> None:
        """R2-06: seed 002's consciousness_engine."""
        running = await start_daemon({
            "consciousness_engine.py": "def route(request, candidates):\n    if 'deep' in request.text:\n        return {'plugin': 'calm', 'score': 0.8}\n",
            "calm.py": "def handle(request):\n    return 'calm'\n",
            "loud.py": "PLUGIN = {'keywords': ['thought']}\ndef handle(request):\n    return 'loud'\n",
        })  # fmt: skip
        deep = (await running.keyless.post("/query", json={"text": "a deep thought"})).json
        assert (deep["response"], deep["route"]["by"], deep["route"]["score"]) == ("calm", "hook", 0.8)
        assert deep["route"]["candidates"] == [{"plugin": "loud", "score": 0.5}]
        assert (await running.keyless.post("/query", json={"text": "a thought"})).json["response"] == "loud"


class TestCodeGenerationFlow:
    async def test_reverse_a_string_answers_with_code_that_ran(self, client: Client, admin: Client) -> None:
        """R2-03, R2-06: the seed's own curl line, keyless from loopback."""
        answer = (await client.post("/query", json=REVERSE)).json
        response = answer["response"]
        assert (answer["status"], answer["plugin"]) == ("ok", "universal_developer")
        assert response["verified"] is True
        assert response["execution"]["sandbox"]["network"] == "none"
        assert all(check["ok"] for check in response["checks"])
        execution = response["execution"]["id"]
        started, *_ = reversed(await audit_of(admin, execution))
        assert started["approval_id"]
        assert started["data"]["approved_by"]
        assert started["data"]["query_id"] == answer["id"]
        assert (await client.get(f"/query/{answer['id']}")).json == answer

    async def test_another_callers_query_is_not_there(self, client: Client, admin: Client) -> None:
        """CONTRACT 1, "Whose"."""
        other = await admin.with_scopes("query")
        mine = (await other.post("/query", json={**REVERSE, "dry_run": True})).json
        assert (await client.get(f"/query/{mine['id']}")).status == 404
        assert (await other.get(f"/query/{mine['id']}")).status == 200

    async def test_wrong_parameters_are_listed_like_any_wrong_body(self, client: Client) -> None:
        answer = await client.post("/query", json={**REVERSE, "params": {"nmae": "x"}})
        assert (answer.status, answer.json["code"]) == (422, "invalid")
        assert any("nmae" in e["loc"] for e in answer.json["errors"])

    async def test_what_cannot_be_generated_says_what_would_help(self, client: Client) -> None:
        answer = await client.post("/query", json={"text": "a quantum blockchain toaster", "intent": "generate_code"})
        assert (answer.status, answer.json["code"]) == (422, "cannot_generate")
        assert answer.json["help"]


class TestPython:
    @pytest.fixture
    async def brain(self, tmp_path: Path) -> AsyncIterator[Brain]:
        opened = Brain(state_dir=tmp_path / "state")
        yield opened
        await opened.close()

    async def test_the_seeds_own_lines_work(self, brain: Brain) -> None:
        """R2-13, R2-15, R2-16."""
        brain.docker_manager = DockerManager(os.environ.get("DOCKER_HOST"))
        brain.admin_api_keys.add("a-key-of-my-own")
        response = await brain.handle_query(dict(REVERSE))
        assert response["response"]["verified"] is True
        assert "a-key-of-my-own" in brain.admin_api_keys
        state = brain._places.state
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        for file in state.glob("*.db*"):
            assert b"a-key-of-my-own" not in file.read_bytes()

    async def test_refusals_raise(self, brain: Brain) -> None:
        with pytest.raises(Invalid, match="no plugin's keywords"):
            await brain.handle_query({"text": "blorb"})
        with pytest.raises(Invalid, match="text: Field required") as caught:
            await brain.handle_query({"txt": "reverse a string"})
        assert [fault["loc"] for fault in caught.value.errors] == [["text"], ["txt"]]

    async def test_network_is_for_development_mode_only(self, brain: Brain) -> None:
        """R2-14."""
        assert brain.allow_network is False
        with pytest.raises(Forbidden, match="development mode"):
            brain.allow_network = True

    async def test_in_development_mode_a_network_is_had_and_every_result_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R2-14."""
        monkeypatch.setenv("ORCHESTRATOR_DEV", "true")
        async with Brain(state_dir=tmp_path / "plain") as plain:
            assert (await plain.handle_query(LIST_NETWORKS))["response"]["sandbox"]["network"] == "none"
        brain = Brain(state_dir=tmp_path / "networked")
        brain.allow_network = True
        async with brain:
            outcome = (await brain.handle_query(LIST_NETWORKS))["response"]
        assert outcome["stdout"] == "['eth0', 'lo']\n"
        assert (outcome["sandbox"]["network"], outcome["sandbox"]["dev"]) == ("allowed", True)

    async def test_a_second_brain_talks_to_the_daemon_that_holds_the_state(
        self, tmp_path: Path, start_daemon: Any
    ) -> None:
        """CONTRACT 8, R0-03."""
        running = await start_daemon(
            {"echo.py": "PLUGIN = {'keywords': ['echo']}\ndef handle(request):\n    return request.text\n"}
        )
        running.daemon.places.address.write_text(json.dumps({"address": running.url}))
        async with Brain(state_dir=tmp_path / "state") as brain:
            assert (await brain.handle_query({"text": "echo"}))["response"] == "echo"
            with pytest.raises(Invalid, match="no plugin's keywords") as caught:
                await brain.handle_query({"text": "blorb"})
        assert caught.value.code == "no_route"
        assert (await Brain(state_dir=tmp_path / "state").handle_query({"text": "echo"}))["response"] == "echo"

    def test_names_resolve_from_the_package(self) -> None:
        assert orchestrator.Brain is Brain
        assert orchestrator.DockerManager is DockerManager

    def test_an_engine_that_is_not_there_is_said_to_be_none(self) -> None:
        assert DockerManager(NO_ENGINE).available() is False


async def read_events(client: Client, query: str, *, count: int, subject: str, last: str) -> list[dict[str, Any]]:
    """The first `count` events about `subject` of a stream that begins after `last`."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        async with client.session.get(client.url + "/v1/events" + query, headers={"Last-Event-ID": last}) as response:
            async for line in response.content:
                if line.startswith(b"data: ") and (event := json.loads(line[6:]))["subject"] == subject:
                    found.append(event)
                    if len(found) == count:
                        return found
    return found
