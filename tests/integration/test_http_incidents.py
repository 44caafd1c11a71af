"""Incidents and the halt over HTTP (CONTRACT 5): opened at once, told once, closed by a person; and the big red button."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import Forbidden
from orchestrator.host.calls import Call
from orchestrator.testing.daemons import NO_ENGINE, Running, running
from tests.integration.http_rig import problem
from tests.integration.test_http_commands import ECHO, Person, of_steps, step

SETTINGS = {"bundled": False, "sandbox__docker_host": NO_ENGINE}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "echo.py").write_text(ECHO)
    async with running(tmp_path / "state", [tmp_path / "plugins"], **SETTINGS) as opened:
        yield opened


async def person_of(daemon: Running) -> Person:
    me = (await daemon.admin.get("/v1/me")).json
    return Person(daemon.admin, me["identity_id"], me["contexts"][0]["id"])


@pytest.fixture
async def person(daemon: Running) -> Person:
    return await person_of(daemon)


async def service(daemon: Running):
    """A client of a service that is an admin."""
    store = daemon.daemon.rooms.store
    await store.write(lambda tx: tx.exec_driver_sql(
        "INSERT INTO identities (id, kind, name, created_at) VALUES "
        "('00000000-0000-7000-8000-000000000001', 'service', 'robot', '2026-01-01T00:00:00.000Z')"
    ))  # fmt: skip
    await daemon.daemon.rooms.identities.open()
    body = {"name": "robot", "scopes": ["admin"], "identity_id": "00000000-0000-7000-8000-000000000001"}
    made = await daemon.admin.post("/v1/keys", json=body)
    assert made.status == 201, made.body
    return daemon.admin.with_key(made.json["key"])


async def forge(daemon: Running) -> None:
    """Call the host as nobody may: with a permit that the office never made."""
    rooms = daemon.daemon.rooms
    entry = rooms.host.table()["echo"]
    caller = Caller(daemon.daemon.operator.id, "person", frozenset())
    real = await rooms.desk._grants.plugin_permit("echo", entry.digest, "q1", caller)

    forged = dataclasses.replace(real, approved_by="somebody")
    with pytest.raises(Forbidden, match="did not issue it"):
        await rooms.host.handle("echo", {"text": "hello"}, Call("q1", caller, forged))
    await rooms.store.write(lambda tx: None)  # what was noted before is on disk then


async def incidents(daemon: Running, query: str = "") -> list[dict[str, object]]:
    return (await daemon.admin.get(f"/v1/incidents{query}")).json["items"]


async def test_a_runtime_that_is_called_without_its_permit_is_an_incident(daemon: Running) -> None:
    """R4-08, R4-33: a row, an audit row and an event; the same again is counted and tells nobody twice."""
    heard: list[str] = []
    subscription = daemon.daemon.bus.subscribe("incident.*", lambda event: heard.append(event.topic), name="test")
    for _ in range(3):
        await forge(daemon)
    (found,) = await incidents(daemon, "?open=true")
    assert (found["kind"], found["subject"], found["open"], found["times"]) == ("runtime_without_permit", "q1", True, 3)
    assert set(found) >= {"id", "time", "kind", "subject", "detail", "open"}
    assert (await daemon.admin.get(f"/v1/incidents/{found['id']}")).json == found
    rows = (await daemon.admin.get("/v1/audit?subject=q1")).json["items"]
    assert [row["action"] for row in rows] == ["incident.repeated", "incident.repeated", "incident.opened"]
    assert heard.count("incident.opened") == 1
    subscription.close()


async def test_an_incident_is_closed_once_by_a_person_with_a_reason(daemon: Running) -> None:
    """R4-33, X-26."""
    await forge(daemon)
    (found,) = await incidents(daemon)
    path = f"/v1/incidents/{found['id']}/close"
    problem(await daemon.admin.post(path, json={}), 422, "invalid")
    problem(await daemon.admin.post(path, json={"reason": " "}), 422, "invalid")
    problem(await (await service(daemon)).post(path, json={"reason": "fine"}), 403, "person_required")
    closed = await daemon.admin.post(path, json={"reason": "looked into"})
    assert (closed.status, closed.json["open"], closed.json["reason"]) == (200, False, "looked into")
    problem(await daemon.admin.post(path, json={"reason": "again"}), 409, "illegal_transition")
    assert await incidents(daemon, "?open=true") == []
    assert len(await incidents(daemon, "?open=false")) == 1
    await forge(daemon)  # what happens after it was closed is another one
    assert len(await incidents(daemon)) == 2


async def test_incidents_are_for_admins_and_odd_questions_are_refused(daemon: Running) -> None:
    client = await daemon.client("query", "command", "approve")
    problem(await client.get("/v1/incidents"), 403, "scope_missing")
    problem(await daemon.keyless.get("/v1/incidents"), 401, "key_required")
    problem(await daemon.admin.get("/v1/incidents?open=perhaps"), 422, "invalid")
    problem(await daemon.admin.get("/v1/incidents?after=x"), 422, "invalid")
    problem(await daemon.admin.get("/v1/incidents/x"), 404, "not_found")
    problem(await daemon.admin.post("/v1/incidents/x/close", json={"reason": "r"}), 404, "not_found")


async def test_what_a_person_approved_and_somebody_changed_is_an_incident_and_does_not_run(person, daemon, tmp_path):
    """R4-33, 3.2 "approve, then plan or plugin changes"."""
    path = await person.make()
    await person.ask("POST", f"{path}/plan")
    await person.ask("POST", f"{path}/approve", {"approved": True})
    before = (await daemon.admin.get("/plugins/echo")).json["digest"]
    (tmp_path / "plugins" / "echo.py").write_text(ECHO + "# other\n")
    async with asyncio.timeout(10):
        while (await daemon.admin.get("/plugins/echo")).json["digest"] == before:
            await asyncio.sleep(0.01)
    problem(await person.ask("POST", f"{path}/execute"), 409, "plan_changed")
    (found,) = await incidents(daemon)
    assert (found["kind"], f"/v1/commands/{found['subject']}") == ("digest_mismatch", path)


class TestHalt:
    """X-13, R3-17: nothing new begins, all else goes on, across restarts, until a person says why it may."""

    async def test_nothing_new_is_admitted_and_all_else_goes_on(self, person: Person, daemon: Running) -> None:
        approved, waiting = await person.make(), await person.make()
        for path in (approved, waiting):
            await person.ask("POST", f"{path}/plan")
        await person.ask("POST", f"{approved}/approve", {"approved": True})
        halted = await daemon.admin.post("/v1/halt", json={"reason": "it looks wrong"})
        assert (halted.status, halted.json["halted"], halted.json["reason"]) == (200, True, "it looks wrong")
        query = {"text": "hello", "plugin": "echo"}
        problem(await daemon.keyless.post("/query", json=query), 503, "halted")
        problem(await daemon.admin.post("/v1/sandbox/executions", json={"code": "1"}), 503, "halted")
        problem(await daemon.admin.post("/v1/sandbox/sessions", json={}), 503, "halted")
        refused = await person.ask("POST", f"{approved}/execute")
        assert "it looks wrong" in problem(refused, 503, "halted")["detail"]
        assert "Retry-After" in refused.headers
        assert (await daemon.keyless.get("/readyz")).json["status"] == "halted"
        assert (await daemon.keyless.get("/healthz")).status == 200
        assert (await daemon.keyless.post("/query", json={**query, "dry_run": True})).json["status"] == "routed"
        assert (await person.ask("POST", f"{waiting}/approve", {"approved": True})).json["status"] == "approved"
        assert (await person.ask("POST", f"{waiting}/cancel")).json["status"] == "cancelled"
        assert (await daemon.admin.get("/v1/audit?limit=1")).status == 200
        assert (await person.ask("GET", f"{approved}/plan")).status == 200
        resumed = await daemon.admin.post("/v1/resume", json={"reason": "mended"})
        assert (resumed.status, resumed.json["halted"]) == (200, False)
        assert (await daemon.keyless.post("/query", json=query)).status == 200
        assert (await person.ask("POST", f"{approved}/execute")).status == 202
        assert (await person.ended(approved))["status"] == "completed"
        actions = [row["action"] for row in (await daemon.admin.get("/v1/audit?limit=1000")).json["items"]]
        assert actions.count("system.halted") == actions.count("system.resumed") == 1

    async def test_it_holds_across_a_restart(self, tmp_path: Path) -> None:
        (tmp_path / "plugins").mkdir()
        (tmp_path / "plugins" / "echo.py").write_text(ECHO)
        async with running(tmp_path / "state", [tmp_path / "plugins"], **SETTINGS) as first:
            await first.admin.post("/v1/halt", json={"reason": "first"})
            assert (await first.admin.post("/v1/halt", json={"reason": "second"})).json["reason"] == "first"
        async with running(tmp_path / "state", [tmp_path / "plugins"], **SETTINGS) as second:
            problem(await second.keyless.post("/query", json={"text": "x", "plugin": "echo"}), 503, "halted")
            ready = await second.keyless.get("/readyz")
            assert (ready.status, ready.json["status"]) == (503, "halted")
            assert (await second.admin.get("/v1/halt")).json["reason"] == "first"
            assert (await second.admin.post("/v1/resume", json={"reason": "fine"})).status == 200
            problem(await second.admin.post("/v1/resume", json={"reason": "fine"}), 409, "illegal_transition")

    async def test_only_a_person_who_is_an_admin_ends_it_and_says_why(self, daemon: Running) -> None:
        await daemon.admin.post("/v1/halt", json={"reason": "stop"})
        problem(await (await daemon.client("command", "approve", "execute")).post("/v1/resume", json={"reason": "r"}),
                403, "scope_missing")  # fmt: skip
        problem(await (await service(daemon)).post("/v1/resume", json={"reason": "r"}), 403, "person_required")
        for body in ({}, {"reason": ""}, {"reason": "\n "}, {"reason": 1}, {"reason": "r" * 2001}, {"r": "r"}):
            problem(await daemon.admin.post("/v1/resume", json=body), 422, "invalid")
        assert daemon.daemon.rooms.halts.current is not None

    async def test_what_runs_comes_to_its_end(self, person: Person, daemon: Running, tmp_path: Path) -> None:
        source = f"""
import asyncio, pathlib
PLUGIN = {{"intents": ["linger"]}}
HERE = pathlib.Path({str(tmp_path)!r})
async def handle(request):
    (HERE / "begun").touch()
    while not (HERE / "go").exists(): await asyncio.sleep(0.005)
    return "done"
"""
        (tmp_path / "plugins" / "slow.py").write_text(source)
        async with asyncio.timeout(10):
            while (await daemon.admin.get("/plugins/slow")).status != 200:
                await asyncio.sleep(0.01)
        path = await person.make(json.dumps({"capability": "linger"}))
        await person.ask("POST", f"{path}/plan")
        await person.ask("POST", f"{path}/approve", {"approved": True})
        await person.ask("POST", f"{path}/execute")
        query = daemon.daemon.supervisor.child(
            "query", daemon.admin.post("/query", json={"text": "x", "intent": "linger"})
        )
        async with asyncio.timeout(10):
            while not (tmp_path / "begun").exists():
                await asyncio.sleep(0.005)
        await daemon.admin.post("/v1/halt", json={"reason": "stop"})
        (tmp_path / "go").touch()
        assert (await person.ended(path))["status"] == "completed"
        assert (await query).json["response"] == "done"

    async def test_an_approval_in_step_mode_is_kept_and_carried_out_after_the_halt(self, person, daemon) -> None:
        """X-29: approvals stay up; what they approve begins when somebody resumes and executes."""
        path = await person.make(of_steps(step("a", {}), step("b", {"text": "two"})), approval_mode="step")
        await person.ask("POST", f"{path}/plan")
        await person.ask("POST", f"{path}/approve", {"approved": True})
        await person.ask("POST", f"{path}/execute")
        await person.ended(path)
        await daemon.admin.post("/v1/halt", json={"reason": "stop"})
        answer = await person.ask("POST", f"{path}/approve", {"approved": True})
        assert (answer.status, answer.json["status"]) == (200, "approved")
        problem(await person.ask("POST", f"{path}/execute"), 503, "halted")
        await daemon.admin.post("/v1/resume", json={"reason": "fine"})
        assert (await person.ask("POST", f"{path}/execute")).status == 202
        assert (await person.ended(path))["status"] == "completed"


ODD = """
import asyncio
from orchestrator.contracts.errors import Violation
PLUGIN = {"intents": ["odd"], "timeout_s": 0.3}
async def handle(request):
    how = request.params["how"]
    if how == "violation": raise Violation("it reached for what is not its own")
    if how == "memory": raise MemoryError("too much")
    if how == "slow": await asyncio.sleep(60)
    if how == "late": await asyncio.sleep(0.27)
    raise ValueError("on purpose")
"""


async def odd(person: Person, tmp_path: Path, *hows: str, **more: object) -> str:
    """A command whose steps go wrong like this, as its address when it has ended."""
    (tmp_path / "plugins" / "odd.py").write_text(ODD)
    path = await person.make(of_steps(*(step(how, {"how": how}, name="odd") for how in hows)), **more)
    async with asyncio.timeout(10):
        while (await person.ask("POST", f"{path}/plan")).status != 201:
            await asyncio.sleep(0.01)
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    await person.ended(path)
    return path


@pytest.mark.parametrize(
    ("how", "category"),
    [("memory", "memory_limit"), ("slow", "timeout"), ("crash", "crash"), ("violation", "policy_violation")],
)
async def test_a_failed_step_says_in_one_of_six_words_why(person: Person, tmp_path: Path, how, category) -> None:
    """R4-48."""
    path = await odd(person, tmp_path, how)
    (failed,) = (await person.ask("GET", f"{path}/plan")).json["steps"]
    assert (failed["status"], failed["category"]) == ("failed", category)
    assert (await person.ask("GET", f"{path}/status")).json["failure"]["category"] == category


async def test_a_violation_stops_the_command_hard_and_is_an_incident_of_its_identity(person, daemon, tmp_path) -> None:
    """R4-33, X-05: violation severity; the person hears of it at once, as an event of his own."""
    heard: list[str | None] = []
    subscription = daemon.daemon.bus.subscribe("incident.*", lambda event: heard.append(event.owner), name="test")
    path = await odd(person, tmp_path, "violation", "crash")
    told = (await person.ask("GET", f"{path}/status")).json
    assert (told["status"], told["open"], told["failure"]["stepIndex"]) == ("failed", True, 0)
    (found,) = await incidents(daemon)
    assert (found["kind"], f"/v1/commands/{found['subject']}") == ("policy_violation", path)
    assert heard == [person.headers["x-identity-id"]]
    assert [one["status"] for one in (await person.ask("GET", f"{path}/plan")).json["steps"]] == ["failed", "skipped"]
    subscription.close()


async def test_what_runs_beside_a_violation_is_ended_with_it(person: Person, daemon: Running, tmp_path: Path) -> None:
    """R4-33: a hard stop, not only of what would have come next."""
    beside = f"""
import asyncio, pathlib
PLUGIN = {{"intents": ["linger"]}}
async def handle(request):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        (pathlib.Path({str(tmp_path)!r}) / "ended").touch()
        raise
"""
    (tmp_path / "plugins" / "slow.py").write_text(beside)
    (tmp_path / "plugins" / "odd.py").write_text(ODD)
    steps = (
        step("a", {}, name="linger", dependencies=[]),
        step("b", {"how": "violation"}, name="odd", dependencies=[]),
    )
    path = await person.make(of_steps(*steps, parallelExecution=True))
    async with asyncio.timeout(10):
        while (await person.ask("POST", f"{path}/plan")).status != 201:
            await asyncio.sleep(0.01)
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    failure = (await person.ended(path))["failure"]
    assert (failure["stepIndex"], failure["category"]) == (1, "policy_violation")
    async with asyncio.timeout(10):
        while not (tmp_path / "ended").exists():
            await asyncio.sleep(0.005)
    assert [one["status"] for one in (await person.ask("GET", f"{path}/plan")).json["steps"]] == ["failed", "failed"]
    assert [one["kind"] for one in await incidents(daemon)] == ["policy_violation"]


async def test_spending_past_a_budget_and_its_tolerance_stops_the_command(tmp_path: Path) -> None:
    """R4-33, 3.2 "actual cost > estimate": the step failed, nothing more runs, an incident says how much."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "echo.py").write_text(ECHO)
    (tmp_path / "plugins" / "dear.py").write_text(
        'PLUGIN = {"intents": ["dear"]}\nasync def handle(request):\n    import asyncio; await asyncio.sleep(0.1)\n'
    )
    settings = {**SETTINGS, "governance__estimated_cpu_s": 0.01, "governance__cpu_s_usd": 1.0}
    async with running(tmp_path / "state", [tmp_path / "plugins"], **settings) as daemon:
        person = await person_of(daemon)
        steps = of_steps(step("a", {}, name="dear"), step("b", {}))
        path = await person.make(steps, constraints={"maxBudget": 0.05})
        assert (await person.ask("POST", f"{path}/plan")).status == 201
        await person.ask("POST", f"{path}/approve", {"approved": True})
        await person.ask("POST", f"{path}/execute")
        told = await person.ended(path)
        assert (told["status"], told["failure"]["category"]) == ("failed", "token_limit")
        assert "spent of the command's $0.050000" in told["failure"]["error"]
        assert [one["status"] for one in (await person.ask("GET", f"{path}/plan")).json["steps"]] == [
            "failed", "skipped",
        ]  # fmt: skip
        assert [one["kind"] for one in await incidents(daemon)] == ["budget_overspent"]


async def test_whoever_is_near_a_limit_is_told_before_it_bites(person: Person, daemon: Running, tmp_path: Path) -> None:
    """R4-48: 90 % of the tokens, 80 % of the time, as events."""
    heard: list[dict[str, object]] = []
    subscription = daemon.daemon.bus.subscribe("command.alert", lambda event: heard.append(event.data), name="test")
    await odd(person, tmp_path, "late", maxBudget={"tokens": 1})
    assert [(one["limit"], one["metadata"]) for one in heard] == [
        ("time", {"stepIndex": 0}), ("tokens", {"stepIndex": 0}),
    ]  # fmt: skip
    assert (heard[1]["used"], heard[1]["most"]) == (1, 1)
    subscription.close()


@pytest.mark.parametrize("superseded", [False, True])
async def test_a_write_with_a_stale_token_is_refused_and_an_incident(person, daemon, tmp_path, superseded) -> None:
    """3.2 "lock leakage": the command fails where nobody works at it, and goes on where another run does."""
    source = f"""
import asyncio, pathlib
PLUGIN = {{"intents": ["linger"], "effects": "versioned"}}
HERE = pathlib.Path({str(tmp_path)!r})
async def handle(request):
    (HERE / "begun").touch()
    while not (HERE / "go").exists(): await asyncio.sleep(0.005)
    (HERE / "ended").touch()
"""
    (tmp_path / "plugins" / "slow.py").write_text(source)
    path = await person.make(json.dumps({"capability": "linger"}))
    async with asyncio.timeout(10):
        while (await person.ask("POST", f"{path}/plan")).status != 201:
            await asyncio.sleep(0.01)
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    async with asyncio.timeout(10):
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.005)
    change = "token = token + 1" if superseded else "lease_until = '2000-01-01T00:00:00.000Z'"
    await daemon.daemon.rooms.store.write(lambda tx: tx.exec_driver_sql(f"UPDATE scope_locks SET {change}") and None)
    (tmp_path / "go").touch()
    async with asyncio.timeout(10):
        while not (found := await incidents(daemon)):
            await asyncio.sleep(0.01)
    assert (found[0]["kind"], found[0]["subject"]) == ("stale_fence", path.rpartition("/")[2])
    told = (await person.ask("GET", f"{path}/status")).json
    assert told["status"] == ("executing" if superseded else "failed")
    assert not (await person.ask("GET", f"{path}/plan")).json["steps"][0]["output"]
