"""Commands over HTTP: seed 004's nine endpoints in order, and what must not happen (CONTRACT 5)."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.testing.daemons import NO_ENGINE, Client, Running, running

ECHO = """
PLUGIN = {"intents": ["shout"], "keywords": ["shout"], "version": "1.2.0", "description": "Says it louder."}
def handle(request):
    if request.params.get("fail"): raise ValueError("on purpose")
    return {"said": request.text.upper()}
"""


class Person:
    """A client that acts in its own context."""

    def __init__(self, client: Client, identity: str, context: str) -> None:
        self.client = client
        self.headers = {"x-identity-id": identity, "x-context-id": context}

    async def ask(self, method: str, path: str, body: object = None, **headers: str):
        options = {} if body is None else {"json": body}
        return await self.client.request(method, path, headers={**self.headers, **headers}, **options)

    async def make(self, intent: str = "shout hello", **body: object) -> str:
        made = await self.ask("POST", "/v1/commands", {"intent": intent, **body})
        assert made.status == 201, made.body
        return f"/v1/commands/{made.json['id']}"

    async def ended(self, path: str) -> dict[str, object]:
        async with asyncio.timeout(10):
            while (told := (await self.ask("GET", f"{path}/status")).json)["status"] == "executing":
                await asyncio.sleep(0.01)
        return told


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "echo.py").write_text(ECHO)
    async with running(
        tmp_path / "state", [tmp_path / "plugins"], bundled=False, sandbox__docker_host=NO_ENGINE
    ) as opened:
        yield opened


@pytest.fixture
async def person(daemon: Running) -> Person:
    me = (await daemon.admin.get("/v1/me")).json
    return Person(daemon.admin, me["identity_id"], me["contexts"][0]["id"])


async def test_the_nine_endpoints_in_order(person: Person, daemon: Running) -> None:
    """R4-18, R4-19, R4-20, R4-44: intent, plan, approval, execution, outputs as references."""
    made = await person.ask("POST", "/v1/commands", {"intent": "shout hello"})
    assert (made.status, made.json["status"], made.json["sphere"]) == (201, "created", "personal")
    path = made.headers["Location"]
    assert (await person.ask("GET", path)).json == made.json
    planned = await person.ask("POST", f"{path}/plan")
    assert planned.status == 201, planned.body
    (step,) = planned.json["steps"]
    assert (step["step_index"], step["tool"], step["requires_approval"], step["status"]) == (0, "echo", True, "pending")
    assert (step["estimated_tokens"], step["effects"], step["dependencies"]) == (1, "pure", [])
    assert len(planned.json["digest"]) == 64
    assert (await person.ask("GET", f"{path}/plan")).json == planned.json
    assert (await person.ask("GET", f"{path}/status")).json["status"] == "awaiting_approval"
    listed = (await person.ask("GET", "/v1/commands?open=true")).json["items"]
    assert [row["id"] for row in listed] == [made.json["id"]]
    approved = await person.ask("POST", f"{path}/approve", {"approved": True, "notes": "go on"})
    assert (approved.status, approved.json["status"]) == (200, "approved")
    begun = await person.ask("POST", f"{path}/execute")
    assert (begun.status, len(begun.json["execution_id"])) == (202, 36)
    assert (await person.ended(path))["status"] == "completed"
    (step,) = (await person.ask("GET", f"{path}/plan")).json["steps"]
    assert (step["status"], step["output"]) == ("completed", {"said": "SHOUT HELLO"})
    assert set(step["output_reference"]) == {"ref", "sha256", "size", "type"}
    assert (await person.ask("POST", f"{path}/cancel")).json["code"] == "illegal_transition"
    rows = (await daemon.admin.get(f"/v1/audit?subject={made.json['id']}")).json["items"]
    assert [row["action"] for row in rows][::-1] == [
        "COMMAND.CREATED", "COMMAND.PLANNED", "COMMAND.APPROVED", "COMMAND.EXECUTION.STARTED", "command.step_started",
        "COMMAND.STEP.COMPLETED", "COMMAND.EXECUTION.COMPLETED",
    ]  # fmt: skip
    assert len({row["approval_id"] for row in rows if row["approval_id"]}) == 1
    assert rows[1]["data"]["metadata"]["tokensUsed"] == 1
    assert (await daemon.admin.post("/v1/audit/verify")).json["ok"]


@pytest.mark.parametrize("headers", [
    {"x-identity-id": "", "x-context-id": ""}, {"x-identity-id": "somebody"},
    {"x-identity-id": "00000000-0000-0000-0000-000000000000"}, {"x-context-id": "00000000-0000-0000-0000-000000000000"},
])  # fmt: skip
async def test_without_the_two_headers_nothing_is_read_and_the_refusal_is_audited(person, daemon, headers) -> None:
    """R4-01, R4-02."""
    for method, path in (("POST", "/v1/commands"), ("GET", "/v1/commands"), ("POST", "/v1/commands/x/plan")):
        refused = await person.ask(method, path, {"nonsense": 1} if method == "POST" else None, **headers)
        assert (refused.status, refused.json["code"]) == (403, "identity_required")
        row = (await daemon.admin.get("/v1/audit?limit=1")).json["items"][0]
        assert (row["action"], row["outcome"], row["subject"]) == ("request.refused", "identity_required", path)


async def test_nothing_runs_that_was_not_approved(person: Person) -> None:
    """R4-10, R4-14, R4-43."""
    path = await person.make()
    refused = await person.ask("POST", f"{path}/execute")
    assert (refused.status, refused.json["code"], refused.json["state"]) == (409, "illegal_transition", "created")
    await person.ask("POST", f"{path}/plan")
    assert (await person.ask("POST", f"{path}/execute")).json["state"] == "awaiting_approval"
    for answer in (await person.ask("POST", f"{path}/reject"), await person.ask("GET", path)):
        assert (answer.json["status"], answer.json["decision"]) == ("cancelled", "rejected")
    assert (await person.ask("POST", f"{path}/execute")).json["state"] == "cancelled"


async def test_approve_false_is_as_reject(person: Person) -> None:
    """X-04."""
    path = await person.make()
    await person.ask("POST", f"{path}/plan")
    answer = await person.ask("POST", f"{path}/approve", {"approved": False})
    assert (answer.status, answer.json["status"], answer.json["decision"]) == (200, "cancelled", "rejected")


async def test_a_new_plan_voids_what_was_asked_for_before(person: Person) -> None:
    """X-28: regenerate; who approves by the old digest approves nothing."""
    path = await person.make()
    first = (await person.ask("POST", f"{path}/plan")).json
    second = (await person.ask("POST", f"{path}/plan")).json
    assert (first["plan_version"], second["plan_version"]) == (1, 2)
    assert first["digest"] != second["digest"]
    old = await person.ask("POST", f"{path}/approve", {"approved": True, "digest": first["digest"]})
    assert (old.status, old.json["code"]) == (409, "plan_changed")
    new = await person.ask("POST", f"{path}/approve", {"approved": True, "digest": second["digest"]})
    assert new.json["status"] == "approved"


async def test_a_plugin_that_changed_after_the_approval_is_not_run(person: Person, daemon: Running, tmp_path) -> None:
    """R2-11, 3.2 "approve, then plan or plugin changes"."""
    path = await person.make()
    await person.ask("POST", f"{path}/plan")
    await person.ask("POST", f"{path}/approve", {"approved": True})
    before = (await daemon.admin.get("/plugins/echo")).json["digest"]
    (tmp_path / "plugins" / "echo.py").write_text(ECHO + "# other\n")
    async with asyncio.timeout(10):
        while (await daemon.admin.get("/plugins/echo")).json["digest"] == before:
            await asyncio.sleep(0.01)
    refused = await person.ask("POST", f"{path}/execute")
    assert (refused.status, refused.json["code"]) == (409, "plan_changed")
    assert (await person.ask("GET", f"{path}/status")).json["status"] == "awaiting_approval"
    assert (await person.ask("POST", f"{path}/approve", {"approved": True})).json["winner"] == "void"
    await person.ask("POST", f"{path}/plan")
    assert (await person.ask("POST", f"{path}/approve", {"approved": True})).json["status"] == "approved"


async def test_a_budget_that_is_too_small_refuses_the_plan_and_nothing_is_held(person: Person) -> None:
    """R4-11: before an approval is possible; CONTRACT 5: a budget of 0 admits nothing."""
    for most in ({"maxBudget": {"tokens": 0}}, {"constraints": {"maxBudget": 0}}, {"maxBudget": {"usd": 0.00000001}}):
        path = await person.make(**most)
        refused = await person.ask("POST", f"{path}/plan")
        assert (refused.status, refused.json["code"]) == (422, "budget_exceeded"), refused.body
        assert (await person.ask("GET", f"{path}/status")).json["status"] == "created"


async def test_what_nobody_can_do_is_412(person: Person) -> None:
    path = await person.make("dance")
    refused = await person.ask("POST", f"{path}/plan")
    assert (refused.status, refused.json["code"]) == (412, "no_candidate")


async def test_a_step_that_fails_fails_the_command_and_awaits_a_decision(person: Person) -> None:
    """R4-34, R4-35, R4-37, R4-38."""
    path = await person.make('{"capability": "shout", "params": {"fail": true}}')
    await person.ask("POST", f"{path}/plan")
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    told = await person.ended(path)
    assert (told["status"], told["open"], told["failure"]["stepIndex"]) == ("failed", True, 0)
    assert told["failure"]["error"] == "the plugin echo raised ValueError"


FLAKY = """
PLUGIN = {"intents": ["try"]}
calls = []
def handle(request):
    calls.append(1)
    if len(calls) == 1: raise ValueError("the first time")
    return len(calls)
"""


@pytest.mark.parametrize(
    ("action", "status"), [("retry", "awaiting_approval"), ("modify", "awaiting_approval"), ("discard", "failed")]
)
async def test_a_person_decides_what_becomes_of_a_failure(person: Person, tmp_path: Path, action, status) -> None:
    """R4-37, X-31: a new version of the plan that has to be approved, or nothing more; then it is not open any more."""
    (tmp_path / "plugins" / "flaky.py").write_text(FLAKY)
    path = await person.make('{"capability": "try"}')
    async with asyncio.timeout(10):
        while (planned := await person.ask("POST", f"{path}/plan")).status != 201:
            await asyncio.sleep(0.02)
    assert (await person.ask("POST", f"{path}/decision", {"action": action})).json["state"] == "awaiting_approval"
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    assert (await person.ended(path))["status"] == "failed"
    decided = await person.ask("POST", f"{path}/decision", {"action": action})
    assert (decided.status, decided.json["status"]) == (200, status), decided.body
    if action == "discard":
        assert (decided.json["resolution"], decided.json["open"]) == ("discarded", False)
        return
    assert (await person.ask("POST", f"{path}/execute")).json["code"] == "illegal_transition"
    again = (await person.ask("GET", f"{path}/plan")).json
    assert (again["plan_version"], again["digest"] == planned.json["digest"]) == (2, False)
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    assert (await person.ended(path))["status"] == "completed"
    assert (await person.ask("GET", f"{path}/plan")).json["steps"][0]["output"] == 2


async def test_the_registry_tells_skills_tools_and_effects(person: Person) -> None:
    """R4-40, R4-49."""
    told = (await person.client.get("/capabilities")).json["items"]
    assert [(one["name"], one["tool"], one["version"], one["effects"], one["enabled"]) for one in told] == [
        ("echo", "echo", "1.2.0", "pure", True), ("shout", "echo", "1.2.0", "pure", True),
    ]  # fmt: skip
    assert told[0]["costModel"] == {
        "per_call": {"usd": "0", "tokens": 1}, "per_cpu_second": {"usd": "0.00002", "tokens": 0},
        "per_gib_second": {"usd": "0.000003", "tokens": 0},
    }  # fmt: skip
    await person.client.post("/plugins/echo/disable")
    assert not any(one["enabled"] for one in (await person.client.get("/v1/capabilities")).json["items"])


def step(id_: str, params: dict[str, object], **more: object) -> dict[str, object]:
    return {"id": id_, "type": "tool", "name": "shout", "description": "say", "params": params, **more}


def of_steps(*steps: dict[str, object], **more: object) -> str:
    return json.dumps({"steps": steps, **more})


async def done(person: Person, path: str):
    """Plan, approve and execute; the steps when it has ended."""
    planned = await person.ask("POST", f"{path}/plan")
    assert planned.status == 201, planned.body
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    await person.ended(path)
    return (await person.ask("GET", f"{path}/plan")).json["steps"]


async def test_steps_hand_their_outputs_on_and_wait_and_choose(person: Person) -> None:
    """R1-09, R1-32, R1-33, R1-34: templates bound to outputs, a wait, and one of two branches; the plan completes."""
    told = "{{a.output.said}}"
    path = await person.make(of_steps(
        step("a", {"text": "one"}),
        {"id": "w", "type": "wait", "name": "pause", "description": "", "params": {"duration": 30}},
        step("b", {"text": f"two {told}"}, dependencies=["a", "w"]),
        step("yes", {"condition": f'{told} === "ONE"', "text": "yes"}, type="conditional", dependencies=["a"]),
        step("no", {"condition": f'{told} !== "ONE"', "text": "no"}, type="conditional", dependencies=["a"]),
    ))  # fmt: skip
    steps = await done(person, path)
    assert [(one["step_id"], one["status"], (one["output"] or {}).get("said")) for one in steps] == [
        ("a", "completed", "ONE"), ("w", "completed", None), ("b", "completed", "TWO ONE"), ("yes", "completed", "YES"),
        ("no", "skipped", None),
    ]  # fmt: skip
    assert (await person.ask("GET", f"{path}/status")).json["status"] == "completed"


async def test_after_a_failure_nothing_more_runs(person: Person) -> None:
    """R4-34, R1-11."""
    path = await person.make(of_steps(step("a", {"fail": True}), step("b", {}), step("c", {}, dependencies=[])))
    steps = await done(person, path)
    assert [one["status"] for one in steps] == ["failed", "skipped", "skipped"]
    assert (await person.ask("GET", f"{path}/status")).json["failure"]["stepIndex"] == 0


async def test_all_faults_of_a_plan_are_told_at_once(person: Person) -> None:
    """R1-12."""
    path = await person.make(of_steps(
        step("a", {"text": "{{b.output}}"}), step("a", {}, dependencies=["x"]),
        step("c", {}, name="nothing_has_this"),
    ))  # fmt: skip
    refused = await person.ask("POST", f"{path}/plan")
    assert (refused.status, refused.json["code"]) == (422, "plan_invalid")
    codes = {error["code"] for error in refused.json["errors"]}
    assert {"duplicate_id", "unknown_dependency", "unknown_reference", "unknown_capability"} <= codes


@pytest.mark.parametrize("intent", [
    '{"capability": "shout", "params": ' + '{"a":' * 5000 + "1" + "}" * 5001, '{"capability": "shout", "params": {"x": NaN}}',
    '{"capability": "shout", "params": {"text": "\\ud800"}}', '{"capability": "shout", "params": {"x": 1' + "0" * 5000 + "}}",
    "{", "{}", '{"steps": []}', '{"steps": 1}', '{"capability": "shout", "more": 1}',
    json.dumps({"steps": [{"id": f"s{n}", "type": "wait", "name": "w", "description": "", "params": {}} for n in range(257)]}),
    json.dumps({"steps": [{"id": "a", "type": "llm", "name": "shout", "description": "", "params": {}}]}),
], ids=lambda intent: intent[:50])  # fmt: skip
async def test_an_object_that_is_no_plan_is_refused_and_never_a_5xx(person: Person, intent: str) -> None:
    """R1-12, R4-21; without a model an `llm` step is a fault of the plan (CONTRACT 5)."""
    path = await person.make(intent)
    refused = await person.ask("POST", f"{path}/plan")
    assert (refused.status, refused.json["code"]) == (422, "plan_invalid"), refused.body
    assert (await person.ask("GET", f"{path}/status")).json["status"] == "created"


async def test_in_step_mode_a_person_approves_each_step_and_that_resumes(person: Person) -> None:
    """R4-15, X-29: what was not approved does not run; the scope is free while a person is awaited."""
    path = await person.make(of_steps(step("a", {"text": "one"}), step("b", {"text": "two"})), approval_mode="step")
    first = await done(person, path)
    assert [one["status"] for one in first] == ["completed", "pending"]
    waiting = (await person.ask("GET", f"{path}/status")).json
    assert (waiting["status"], waiting["open"]) == ("awaiting_approval", True)
    assert (await person.ask("POST", f"{path}/execute")).json["code"] == "illegal_transition"
    resumed = await person.ask("POST", f"{path}/approve", {"approved": True})
    assert resumed.json["status"] == "executing"
    assert (await person.ended(path))["status"] == "completed"
    assert (await person.ask("GET", f"{path}/plan")).json["steps"][1]["output"] == {"said": "TWO"}


async def test_a_step_that_is_refused_in_step_mode_never_runs(person: Person) -> None:
    """R4-16."""
    path = await person.make(of_steps(step("a", {}), step("b", {})), approval_mode="step")
    await done(person, path)
    await person.ask("POST", f"{path}/reject")
    told = (await person.ask("GET", f"{path}/plan")).json["steps"]
    assert ([one["status"] for one in told], (await person.ended(path))["decision"]) == (
        ["completed", "skipped"], "rejected",
    )  # fmt: skip


async def test_approving_with_modifications_makes_another_plan_that_awaits_its_own_approval(person, daemon, tmp_path):
    """X-25: what was not modified is never what runs."""
    (tmp_path / "plugins" / "other.py").write_text(ECHO.replace('"1.2.0"', '"2.0.0"').replace("upper", "title"))
    async with asyncio.timeout(10):
        while (await daemon.admin.get("/plugins/other")).status != 200:
            await asyncio.sleep(0.01)
    path = await person.make('{"capability": "shout", "params": {"text": "hello"}}')
    first = (await person.ask("POST", f"{path}/plan")).json
    assert first["steps"][0]["tool"] == "echo"
    wanted = {"stepIndex": 0, "newTool": "other", "newConstraints": {"maxBudget": 5}}
    answer = await person.ask("POST", f"{path}/approve", {"approved": True, "modifications": wanted})
    assert (answer.status, answer.json["status"], answer.json["plan_version"]) == (200, "awaiting_approval", 2)
    second = (await person.ask("GET", f"{path}/plan")).json
    assert (second["steps"][0]["tool"], second["digest"] == first["digest"]) == ("other", False)
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    await person.ended(path)
    assert (await person.ask("GET", f"{path}/plan")).json["steps"][0]["output"] == {"said": "Hello"}


@pytest.mark.parametrize("wanted", [
    {"stepIndex": 1, "newTool": "echo"}, {"newTool": "echo"}, {"newConstraints": {"maxBudget": -1}},
    {"newConstraints": {"more": 1}},
])  # fmt: skip
async def test_modifications_that_make_no_sense_change_nothing(person: Person, wanted) -> None:
    path = await person.make()
    first = (await person.ask("POST", f"{path}/plan")).json
    refused = await person.ask("POST", f"{path}/approve", {"approved": True, "modifications": wanted})
    assert (refused.status, refused.json["code"]) == (422, "invalid"), refused.body
    assert (await person.ask("GET", f"{path}/plan")).json == first


async def test_a_tool_that_has_not_the_skill_is_refused(person: Person) -> None:
    """R4-49: 404 unknown."""
    path = await person.make()
    await person.ask("POST", f"{path}/plan")
    body = {"approved": True, "modifications": {"stepIndex": 0, "newTool": "nobody"}}
    refused = await person.ask("POST", f"{path}/approve", body)
    assert (refused.status, refused.json["code"]) == (404, "unknown_capability")


async def test_a_command_takes_no_longer_than_it_may(person: Person, tmp_path: Path) -> None:
    """R4-21 maxDuration: the work is ended, and the command has failed."""
    source = (
        'PLUGIN = {"intents": ["linger"]}\nasync def handle(request):\n    import asyncio; await asyncio.sleep(60)\n'
    )
    (tmp_path / "plugins" / "slow.py").write_text(source)
    path = await person.make('{"capability": "linger"}', constraints={"maxDuration": 200})
    async with asyncio.timeout(10):
        while (await person.ask("POST", f"{path}/plan")).status != 201:
            await asyncio.sleep(0.02)
    await person.ask("POST", f"{path}/approve", {"approved": True})
    await person.ask("POST", f"{path}/execute")
    told = await person.ended(path)
    assert (told["status"], told["failure"]["error"]) == ("failed", "the command's maxDuration was over")


async def test_what_nobody_approved_in_time_is_cancelled_whether_anybody_looks_or_not(tmp_path: Path) -> None:
    """R4-17: by the store's clock; a late approval is told why."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "echo.py").write_text(ECHO)
    settings = {"sandbox__docker_host": NO_ENGINE, "governance__approval_ttl_s": 0.3}
    async with running(tmp_path / "state", [tmp_path / "plugins"], bundled=False, **settings) as daemon:
        me = (await daemon.admin.get("/v1/me")).json
        person = Person(daemon.admin, me["identity_id"], me["contexts"][0]["id"])
        path = await person.make()
        await person.ask("POST", f"{path}/plan")
        async with asyncio.timeout(10):
            while (told := (await person.ask("GET", f"{path}/status")).json)["status"] == "awaiting_approval":
                await asyncio.sleep(0.02)
        assert (told["status"], told["decision"], told["open"]) == ("cancelled", "expired", False)
        late = await person.ask("POST", f"{path}/approve", {"approved": True})
        assert (late.status, late.json["state"]) == (409, "cancelled")


async def test_a_cancelled_command_leaves_no_step_running_and_no_lock(person: Person, tmp_path: Path) -> None:
    """I6: what ran is ended; the next command has the scope."""
    source = 'PLUGIN = {"intents": ["linger"], "effects": "versioned"}\nasync def handle(request):\n'
    source += "    import asyncio; await asyncio.sleep(0 if request.params.get('quick') else 60)\n"
    (tmp_path / "plugins" / "slow.py").write_text(source)
    first = await person.make('{"capability": "linger"}')
    async with asyncio.timeout(10):
        while (await person.ask("POST", f"{first}/plan")).status != 201:
            await asyncio.sleep(0.02)
    await person.ask("POST", f"{first}/approve", {"approved": True})
    await person.ask("POST", f"{first}/execute")
    second = await person.make('{"capability": "linger", "params": {"quick": true}}')
    await person.ask("POST", f"{second}/plan")
    await person.ask("POST", f"{second}/approve", {"approved": True})
    locked = await person.ask("POST", f"{second}/execute")
    assert (locked.status, locked.json["code"]) == (423, "scope_locked")
    assert f"/v1/commands/{locked.json['holder']}" == first
    assert (await person.ask("POST", f"{first}/cancel")).json["status"] == "cancelled"
    assert (await person.ask("POST", f"{first}/cancel")).status == 200
    assert (await person.ask("GET", f"{first}/plan")).json["steps"][0]["status"] in ("failed", "skipped")
    assert (await person.ask("POST", f"{second}/execute")).status == 202
    assert (await person.ended(second))["status"] == "completed"


async def test_sixty_four_that_execute_at_once_get_one_execution(person: Person) -> None:
    """3.2 "duplicate execute"."""
    path = await person.make()
    await person.ask("POST", f"{path}/plan")
    await person.ask("POST", f"{path}/approve", {"approved": True})
    answers = await asyncio.gather(*(person.ask("POST", f"{path}/execute") for _ in range(64)))
    begun = {answer.json["execution_id"] for answer in answers if answer.status == 202}
    assert len(begun) == 1
    assert {answer.json["code"] for answer in answers if answer.status != 202} <= {"illegal_transition"}


@pytest.mark.parametrize("body", [
    {}, {"intent": ""}, {"intent": "  "}, {"intent": 1}, {"intent": "x", "targetSphere": "nowhere"},
    {"intent": "x", "maxBudget": {"usd": -1}}, {"intent": "x", "constraints": {"maxDuration": 0}},
    {"intent": "x", "approval_mode": "never"}, {"intent": "x", "more": 1},
])  # fmt: skip
async def test_a_command_that_is_none_is_refused(person: Person, body) -> None:
    """R4-21."""
    refused = await person.ask("POST", "/v1/commands", body)
    assert (refused.status, refused.json["code"]) == (422, "invalid")
