"""Goals and plans over HTTP, in seed 001's words, over the kernel of commands (CONTRACT 5, 8)."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.contracts.plan_acts import PlanDetail
from orchestrator.contracts.plans import ExecutionResult
from orchestrator.testing.daemons import NO_ENGINE, Running, running
from tests.integration.test_http_commands import Person

WORKERS = """
PLUGIN = {"intents": ["shout", "twice", "break", "sentiment_analysis", "handle_positive", "handle_negative"],
          "keywords": ["shout", "loud"], "description": "Says it louder.", "version": "1.0.0"}
broken = []
def handle(request):
    if request.intent == "break" and request.params.get("mend"):
        broken.append(1)
        if len(broken) > 1: return {"mended": True}
    if request.intent == "break": raise ValueError("on purpose")
    if request.intent == "twice": return {"text": request.text * 2}
    if request.intent == "sentiment_analysis": return {"sentiment": "positive"}
    return {"id": "c_1", "said": request.text.upper()}
"""
SEVEN = {"plan_created", "execution_started", "step_started", "step_completed", "step_failed", "execution_completed",
         "execution_failed"}  # fmt: skip


def step(id: str, name: str, *dependencies: str, **more: object) -> dict[str, object]:
    told = {"id": id, "type": "tool", "name": name, "description": f"does {id}", "params": {}}
    return {**told, "dependencies": list(dependencies), **more}


def plan(*steps: dict[str, object], **more: object) -> dict[str, object]:
    whole = {"id": "plan_abc123", "goalId": "campaign_launch_001", "createdAt": "2025-11-01T10:00:00Z"}
    return {**whole, "steps": list(steps), **more}


TWO = plan(
    step("step_1", "shout", params={"text": "hello"}),
    step("step_2", "twice", "step_1", params={"text": "{{step_1.output.said}}"}),
)

CAMPAIGN_PLAN = {
    "id": "plan_abc123", "goalId": "campaign_launch_001", "estimatedDuration": 90000, "estimatedCost": 0.05,
    "createdAt": "2025-11-01T10:00:00Z",
    "steps": [
        {
            "id": "step_1", "type": "agent", "name": "content_generation", "description": "Generate email content",
            "params": {"productId": "prod_123", "template": "promotional"}, "dependencies": [], "timeout": 60000,
            "retries": 3,
        },
        {
            "id": "step_2", "type": "tool", "name": "design_renderer", "description": "Render email design",
            "params": {"contentId": "{{step_1.output.id}}", "theme": "modern"}, "dependencies": ["step_1"],
            "timeout": 30000, "retries": 2,
        },
    ],
}  # fmt: skip
"""As seed 001 writes it."""


class Planner(Person):
    """A client that gives plans."""

    async def give(self, body: object) -> dict[str, object]:
        made = await self.ask("POST", "/v1/plans", body)
        assert made.status == 201, made.body
        PlanDetail.model_validate_json(made.body)
        return made.json

    async def done(self, plan_id: str, context: object = None) -> dict[str, object]:
        """Approve, execute, and what came of it."""
        path = f"/v1/plans/{plan_id}"
        approved = await self.ask("POST", f"{path}/approve", {"approved": True})
        assert (approved.status, approved.json["status"]) == (200, "approved"), approved.body
        begun = await self.ask("POST", f"{path}/execute", {} if context is None else {"context": context})
        assert begun.status == 202, begun.body
        return await self.settled(path)

    async def settled(self, path: str) -> dict[str, object]:
        async with asyncio.timeout(10):
            while (told := (await self.ask("GET", path)).json)["status"] == "executing":
                await asyncio.sleep(0.01)
        ExecutionResult.model_validate_json(json.dumps(told["execution"]))
        return told

    async def events(self, plan_id: str) -> list[dict[str, object]]:
        return (await self.ask("GET", f"/v1/plans/{plan_id}/replay")).json["items"]


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "workers.py").write_text(WORKERS)
    async with running(
        tmp_path / "state", [tmp_path / "plugins"], bundled=False, sandbox__docker_host=NO_ENGINE
    ) as opened:
        yield opened


@pytest.fixture
async def person(daemon: Running) -> Planner:
    me = (await daemon.admin.get("/v1/me")).json
    return Planner(daemon.admin, me["identity_id"], me["contexts"][0]["id"])


async def test_a_plan_is_taken_in_approved_and_done(person: Planner, daemon: Running) -> None:
    """R1-02 to R1-06, R1-09, R1-23: seed 001's objects, over a command."""
    made = await person.give(TWO)
    assert (made["id"], made["goalId"], made["status"], made["open"]) == (
        "plan_abc123", "campaign_launch_001", "awaiting_approval", True,
    )  # fmt: skip
    assert (len(made["digest"]), made["steps"][1]["dependencies"], "execution" in made) == (64, ["step_1"], False)
    assert (made["estimate"]["tokens"], made["estimatedCost"] > 0) == (2, True)
    command = (await person.ask("GET", f"/v1/commands/{made['commandId']}")).json
    assert (command["status"], command["plan_version"]) == ("awaiting_approval", 1)
    assert (await person.ask("GET", f"/v1/plans/{made['uuid']}")).json == made
    refused = await person.ask("POST", "/v1/plans/plan_abc123/execute")
    assert (refused.status, refused.json["state"]) == (409, "awaiting_approval")
    told = await person.done("plan_abc123")
    execution = told["execution"]
    assert (told["status"], execution["status"], execution["planId"]) == ("completed", "completed", "plan_abc123")
    assert execution["output"] == {"text": "HELLOHELLO"}
    assert [(one["stepId"], one["status"]) for one in execution["steps"]] == [
        ("step_1", "completed"), ("step_2", "completed"),
    ]  # fmt: skip
    assert execution["steps"][0]["duration"] >= 0
    assert execution["steps"][0]["output"] == {"id": "c_1", "said": "HELLO"}
    sums = execution["metadata"]
    assert (sums["totalSteps"], sums["completedSteps"], sums["failedSteps"], sums["totalCost"] > 0) == (2, 2, 0, True)
    assert [event["event"] for event in await person.events("plan_abc123")] == [
        "plan_created", "plan_approved", "execution_started", "step_started", "step_completed", "step_started",
        "step_completed", "execution_completed",
    ]  # fmt: skip
    assert (await daemon.admin.post("/v1/audit/verify")).json["ok"]


async def test_timeline_stats_and_replay_tell_the_same_history(person: Planner) -> None:
    """R1-24, R1-25, R1-26: read from the log, which reading does not make longer."""
    await person.give(TWO)
    await person.done("plan_abc123")
    events = await person.events("plan_abc123")
    assert {event["planId"] for event in events} == {"plan_abc123"}
    line = (await person.ask("GET", "/v1/plans/plan_abc123/timeline")).json
    assert [moment["event"] for moment in line["items"]] == [event["event"] for event in events]
    stats = (await person.ask("GET", "/v1/plans/plan_abc123/stats")).json
    assert (stats["totalEvents"], stats["eventCounts"]["step_completed"]) == (len(events), 2)
    assert stats["totalDuration"] >= stats["averageStepDuration"] >= 0
    assert await person.events("plan_abc123") == events


async def test_an_export_goes_in_again_to_the_same_bytes_and_is_never_executed(person: Planner, tmp_path) -> None:
    """R1-27: elsewhere it is a record, with its plan and how that went."""
    await person.give(TWO)
    told = await person.done("plan_abc123")
    export = (await person.ask("GET", "/v1/plans/plan_abc123/export")).body
    again = await person.client.post(
        "/v1/plans/import", data=export, headers={**person.headers, "Content-Type": "application/json"}
    )
    assert (again.status, again.json["code"]) == (409, "plan_exists")
    other = export.replace(b"plan_abc123", b"plan_copy")
    taken = await person.client.post(
        "/v1/plans/import", data=other, headers={**person.headers, "Content-Type": "application/json"}
    )
    assert (taken.status, taken.json["status"], taken.json["id"]) == (201, "imported", "plan_copy"), taken.body
    assert taken.json["execution"]["steps"] == told["execution"]["steps"]
    assert (await person.ask("GET", "/v1/plans/plan_copy/export")).body == other
    for act in ("approve", "execute", "replan"):
        body = {"approved": True} if act == "approve" else {}
        refused = await person.ask("POST", f"/v1/plans/plan_copy/{act}", body)
        assert (refused.status, refused.json["state"]) == (409, "imported")


async def test_all_faults_of_a_plan_are_told_at_once_and_nothing_is_kept(person: Planner) -> None:
    """R1-12: 422 `plan_invalid`, whether a fault is one of form or one between steps."""
    faulty = plan(
        step("a", "nobody"), step("a", "shout"), step("b", "shout", "c"), step("c", "shout", "b", "z"),
        step("d", "shout", params={"text": "{{b.output}}"}), step("e", "gpt", type="llm"),
    )  # fmt: skip
    refused = await person.ask("POST", "/v1/plans", faulty)
    assert (refused.status, refused.json["code"]) == (422, "plan_invalid")
    assert {fault["code"] for fault in refused.json["errors"]} == {
        "unknown_capability", "duplicate_id", "cycle", "unknown_dependency", "unreachable_reference",
        "capability_disabled",
    }  # fmt: skip
    misshapen = await person.ask("POST", "/v1/plans", plan(step("a", "shout", type="magic", timeout=0)))
    assert (misshapen.status, misshapen.json["code"], len(misshapen.json["errors"])) == (422, "plan_invalid", 2)
    assert (await person.ask("GET", "/v1/plans")).json["items"] == []
    assert (await person.ask("GET", "/v1/commands")).json["items"] == []


async def test_a_plan_that_costs_too_much_leaves_nothing_behind(person: Planner) -> None:
    """R4-11: refused in the transaction that would have taken it in."""
    refused = await person.ask("POST", "/v1/plans", {**TWO, "maxBudget": {"tokens": 1}})
    assert (refused.status, refused.json["code"]) == (422, "budget_exceeded")
    assert (await person.ask("GET", "/v1/commands")).json["items"] == []
    await person.give({**TWO, "maxBudget": {"tokens": 2}})


async def test_an_id_is_given_once_for_each_identity_even_by_many_at_once(person: Planner) -> None:
    """X-16."""
    answers = await asyncio.gather(*(person.ask("POST", "/v1/plans", TWO) for _ in range(16)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 15
    assert {answer.json["code"] for answer in answers if answer.status == 409} == {"plan_exists"}
    assert len((await person.ask("GET", "/v1/commands")).json["items"]) == 1


async def test_the_seeds_conditional_plan_runs_one_branch_and_completes(person: Planner) -> None:
    """R1-32, R1-33: Pattern 5 as it is written, without id, goal or time."""
    steps = [
        step("step_1", "sentiment_analysis", type="agent", params={"text": "Sample text"}),
        step(
            "step_2_positive", "handle_positive", "step_1", type="conditional",
            params={"condition": '{{step_1.output.sentiment}} === "positive"'},
        ),
        step(
            "step_2_negative", "handle_negative", "step_1", type="conditional",
            params={"condition": '{{step_1.output.sentiment}} === "negative"'},
        ),
    ]  # fmt: skip
    made = await person.give({"steps": steps})
    assert (made["id"], made["goalId"]) == (made["uuid"], f"goal_{made['uuid']}")
    told = (await person.done(made["id"]))["execution"]
    assert [one["status"] for one in told["steps"]] == ["completed", "completed", "skipped"]
    assert (told["status"], told["steps"][2]["skipReason"]) == ("completed", "condition_false")


CAMPAIGN = """
import asyncio
PLUGIN = {"intents": ["content_generation", "design_renderer", "meet"]}
here, both = set(), asyncio.Event()
async def handle(request):
    if request.intent == "content_generation": return {"id": "content_of_" + request.params["productId"]}
    if request.intent == "design_renderer": return {"rendered": request.params["contentId"], "theme": request.params["theme"]}
    here.add(request.params["who"])
    if len(here) == 2: both.set()
    await asyncio.wait_for(both.wait(), request.params["patience_s"])
"""


async def test_the_seeds_campaign_and_two_steps_at_once(person: Planner, tmp_path: Path) -> None:
    """R1-02, R1-29: the seed's plan as it is written; Pattern 2, where each step waits until the other is there."""
    (tmp_path / "plugins" / "campaign.py").write_text(CAMPAIGN)
    async with asyncio.timeout(10):
        while (await person.ask("POST", "/v1/plans", CAMPAIGN_PLAN)).status != 201:
            await asyncio.sleep(0.02)
    told = await person.done("plan_abc123")
    assert told["execution"]["output"] == {"rendered": "content_of_prod_123", "theme": "modern"}
    assert (told["estimatedDuration"], told["estimatedCost"]) == (90000, 0.05)

    def meeting(id_: str, parallel: bool, patience_s: float) -> dict[str, object]:
        steps = (step(who, "meet", params={"who": who, "patience_s": patience_s}) for who in ("a", "b"))
        return plan(*steps, id=id_, parallelExecution=parallel)

    await person.give(meeting("alone", parallel=False, patience_s=0.2))
    assert (await person.done("alone"))["status"] == "failed"
    (tmp_path / "plugins" / "campaign.py").write_text(CAMPAIGN + "# with nobody there yet\n")
    before = (await person.client.get("/plugins/campaign")).json["generation"]
    async with asyncio.timeout(10):
        while (await person.client.get("/plugins/campaign")).json["generation"] == before:
            await asyncio.sleep(0.02)
    await person.give(meeting("together", parallel=True, patience_s=5))
    assert (await person.done("together"))["status"] == "completed"


async def test_a_failed_plan_is_planned_anew_without_its_failed_step(person: Planner) -> None:
    """R1-31, X-07, Pattern 4: a new id, the same goal, a new approval; what completed is not done again."""
    await person.give(plan(step("one", "shout"), step("bad", "break", "one"), step("last", "twice", "bad")))
    failed = await person.done("plan_abc123")
    execution = failed["execution"]
    assert (failed["status"], execution["status"]) == ("failed", "failed")
    assert [one["status"] for one in execution["steps"]] == ["completed", "failed", "skipped"]
    assert "ValueError" in execution["error"]
    assert execution["error"] == execution["steps"][1]["error"]
    names = [event["event"] for event in await person.events("plan_abc123")]
    assert ("execution_failed" in names, "execution_completed" in names) == (True, False)
    anew = await person.ask("POST", "/v1/plans/plan_abc123/replan", {"stepId": "bad", "error": execution["error"]})
    assert anew.status == 201, anew.body
    new = anew.json
    assert (new["goalId"], new["status"], new["commandId"]) == (
        failed["goalId"], "awaiting_approval", failed["commandId"],
    )  # fmt: skip
    assert [(one["id"], one["dependencies"]) for one in new["steps"]] == [("one", []), ("last", ["one"])]
    assert new["estimate"]["tokens"] == 1, "what completed costs nothing more"
    told = await person.done(new["id"])
    assert (told["status"], told["execution"]["metadata"]["completedSteps"]) == ("completed", 2)
    started = [event["data"]["stepId"] for event in await person.events(new["id"]) if event["event"] == "step_started"]
    assert started == ["last"]
    old = (await person.ask("GET", "/v1/plans/plan_abc123")).json
    assert (old["status"], old["supersededBy"], old["execution"]) == ("superseded", new["uuid"], execution)
    for act, body in (("approve", {"approved": True}), ("execute", {}), ("replan", {})):
        refused = await person.ask("POST", f"/v1/plans/plan_abc123/{act}", body)
        assert (refused.status, refused.json["state"]) == (409, "superseded")


async def test_steps_keep_their_results_when_one_before_them_is_left_out(person: Planner) -> None:
    """X-07: in a parallel plan a step may have completed that stood behind the one that failed."""
    steps = step("bad", "break"), step("good", "shout", params={"text": "x"}), step("end", "twice", "bad", "good")
    await person.give(plan(*steps, parallelExecution=True))
    failed = await person.done("plan_abc123")
    assert [one["status"] for one in failed["execution"]["steps"]] == ["failed", "completed", "skipped"]
    new = (await person.ask("POST", "/v1/plans/plan_abc123/replan", {})).json
    told = await person.done(new["id"])
    assert [(one["stepId"], one["status"]) for one in told["execution"]["steps"]] == [
        ("good", "completed"), ("end", "completed"),
    ]  # fmt: skip
    assert told["execution"]["steps"][0]["output"] == {"id": "c_1", "said": "X"}


async def test_a_step_whose_output_is_needed_cannot_be_left_out(person: Planner) -> None:
    """R1-31: refused with the reasons."""
    uses = step("uses", "shout", "bad", params={"text": "{{bad.output.text}}"})
    await person.give(plan(step("bad", "break"), uses))
    early = await person.ask("POST", "/v1/plans/plan_abc123/replan", {})
    assert (early.status, early.json["code"]) == (409, "illegal_transition")
    await person.done("plan_abc123")
    refused = await person.ask("POST", "/v1/plans/plan_abc123/replan", {})
    assert (refused.status, refused.json["code"]) == (422, "plan_invalid")
    assert [fault["code"] for fault in refused.json["errors"]] == ["output_needed"]
    nothing = await person.ask("POST", "/v1/plans/plan_abc123/replan", {"stepId": "uses"})
    assert (nothing.status, nothing.json["errors"][0]["code"]) == (422, "not_failed")


async def test_of_two_who_plan_anew_at_once_one_does(person: Planner) -> None:
    """X-07: one plan takes the place of another."""
    await person.give(plan(step("one", "shout"), step("bad", "break")))
    await person.done("plan_abc123")
    answers = await asyncio.gather(*(person.ask("POST", "/v1/plans/plan_abc123/replan", {}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


async def test_a_plan_that_is_tried_again_tells_both_executions(person: Planner) -> None:
    """X-31: a retry is another execution of the same plan; the result is that of the newest."""
    made = await person.give(plan(step("one", "shout"), step("bad", "break", "one", params={"mend": True})))
    await person.done("plan_abc123")
    decided = await person.ask("POST", f"/v1/commands/{made['commandId']}/decision", {"action": "retry"})
    assert decided.status == 200
    told = await person.done("plan_abc123")
    assert (told["status"], told["execution"]["metadata"]["completedSteps"]) == ("completed", 2)
    assert "error" not in told["execution"]["steps"][1]
    names = [event["event"] for event in await person.events("plan_abc123")]
    assert (names.count("execution_started"), names.count("execution_failed"), names[-1]) == (
        2, 1, "execution_completed",
    )  # fmt: skip


async def test_a_plan_whose_command_is_cancelled_says_so(person: Planner) -> None:
    """R1-07: rejected before it began there is no execution; cancelled in it, the execution is cancelled."""
    await person.give(TWO)
    rejected = await person.ask("POST", "/v1/plans/plan_abc123/approve", {"approved": False})
    assert (rejected.json["status"], "execution" in rejected.json) == ("cancelled", False)
    waits = step("pause", "pause", type="wait", params={"duration": 60_000})
    made = await person.give(plan(waits, step("after", "shout"), id="plan_2"))
    await person.ask("POST", "/v1/plans/plan_2/approve", {"approved": True})
    await person.ask("POST", "/v1/plans/plan_2/execute")
    async with asyncio.timeout(10):
        while "step_started" not in [event["event"] for event in await person.events("plan_2")]:
            await asyncio.sleep(0.01)
    during = (await person.ask("GET", "/v1/plans/plan_2")).json["execution"]
    assert (during["status"], [one["status"] for one in during["steps"]]) == ("running", ["running", "pending"])
    await person.ask("POST", f"/v1/commands/{made['commandId']}/cancel")
    ended = (await person.ask("GET", "/v1/plans/plan_2")).json["execution"]
    assert (ended["status"], [one["status"] for one in ended["steps"]]) == ("cancelled", ["failed", "skipped"])


async def test_a_goal_is_planned_by_its_criteria(person: Planner) -> None:
    """R1-01, R1-28: the planner that commands use, for each criterion."""
    goal = {
        "id": "campaign_launch_001", "description": "Be heard", "context": {"productId": "prod_123"},
        "success_criteria": ["shout it", "be loud again"], "constraints": {"maxBudget": 1, "tone": "kind"},
    }  # fmt: skip
    made = await person.ask("POST", "/v1/goals/plan", goal)
    assert (made.status, made.json["goalId"], made.json["status"]) == (
        201, "campaign_launch_001", "awaiting_approval",
    ), made.body  # fmt: skip
    assert [(one["name"], one["dependencies"], one["params"]["text"]) for one in made.json["steps"]] == [
        ("workers", [], "shout it"), ("workers", ["step_1"], "be loud again"),
    ]  # fmt: skip
    assert made.json["steps"][0]["params"]["constraints"] == goal["constraints"]
    command = (await person.ask("GET", f"/v1/commands/{made.json['commandId']}")).json
    assert command["intent"] == "Be heard"
    told = await person.done(made.json["id"])
    assert told["execution"]["output"]["said"] == "BE LOUD AGAIN"
    lost = await person.ask("POST", "/v1/goals/plan", {**goal, "success_criteria": ["shout", "dance", "fly"]})
    assert (lost.status, lost.json["code"]) == (412, "no_candidate")
    assert [fault["msg"] for fault in lost.json["errors"]] == ["dance", "fly"]


@pytest.mark.parametrize("constraints", [{"maxBudget": "much"}, {"maxDuration": 0}, {"requiredApprovals": "no"}])
async def test_constraints_that_are_none_are_refused(person: Planner, constraints) -> None:
    goal = {"id": "g", "description": " ", "success_criteria": ["shout"], "constraints": constraints}
    refused = await person.ask("POST", "/v1/goals/plan", goal)
    assert (refused.status, refused.json["code"]) == (422, "plan_invalid")


async def test_what_is_another_identitys_is_not_there(person: Planner, daemon: Running) -> None:
    """CONTRACT 1 "Whose", R4-01."""
    await person.give(TWO)
    for method, path in (
        ("POST", "/v1/plans"), ("POST", "/v1/goals/plan"), ("GET", "/v1/plans/plan_abc123"), ("POST", "/v1/plans/import"),
        ("GET", "/v1/plans/plan_abc123/export"), ("POST", "/v1/plans/plan_abc123/execute"),
    ):  # fmt: skip
        refused = await person.client.request(method, path, json={"nonsense": 1} if method == "POST" else None)
        assert (refused.status, refused.json["code"]) == (403, "identity_required")
    for id_ in ("nothing", "..", "%00", "x" * 3000, "💥"):
        assert (await person.ask("GET", f"/v1/plans/{id_}")).status in (404, 400)
    viewer = Planner(await daemon.client("command"), person.headers["x-identity-id"], person.headers["x-context-id"])
    refused = await viewer.ask("POST", "/v1/plans/plan_abc123/approve", {"approved": True})
    assert (refused.status, refused.json["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b'{"version": 1}', b"\xff", b"[" * 100_000, b'{"version":1,"planId":"p","events":[]}',
    b'{"version":1,"planId":"p","events":[{"id":"e","planId":"p","timestamp":"2026-01-01T00:00:00Z",'
    b'"event":"plan_created","data":{"plan":{"id":"p"}}}]}',
])  # fmt: skip
async def test_a_history_that_is_none_is_refused(person: Planner, body: bytes) -> None:
    """R1-27: a hostile file costs little and is told what is wrong."""
    headers = {**person.headers, "Content-Type": "application/json"}
    refused = await person.client.post("/v1/plans/import", data=body, headers=headers)
    assert (refused.status, refused.json["code"]) == (422, "history_invalid"), refused.body


async def test_no_raw_output_is_in_the_log(person: Planner, tmp_path: Path) -> None:
    """R4-06: events of plans refer to outputs."""
    await person.give(plan(step("one", "twice", params={"text": "canary_"})))
    told = await person.done("plan_abc123")
    assert told["execution"]["output"] == {"text": "canary_canary_"}
    assert b"canary_canary_" not in (await person.ask("GET", "/v1/plans/plan_abc123/export")).body
    written = b"".join(file.read_bytes() for file in (tmp_path / "state").glob("*.db*") if "blob" not in file.name)
    assert (b"plan_abc123" in written, b"canary_canary_" in written) == (True, False)


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b"null", b'{"steps": []}', b'{"steps": [1]}', b'{"steps": {}}', b'{"id": "\\u0000", "steps": []}',
    b'{"steps": [{"id": "a", "type": "wait", "name": "p", "description": "", "params": {"duration": 1e999}}]}',
    b'{"steps": [{"id": "a", "type": "tool", "name": "shout", "description": "", "params": {"a": "\\ud800"}}]}',
    b'{"steps": [{"id": "a", "type": "tool", "name": "shout", "description": "", "params": ' + b'{"a":' * 90 + b"1" + b"}" * 91 + b"]}",
    b'{"steps": [{"id": "a", "type": "tool", "name": "shout", "description": "", "params": {"a": 123456789012345678}}]}',
    b'{"createdAt": "2026-02-30T00:00:00Z", "goalId": "../..", "steps": [], "more": 1}',
    b'{"steps": [{"id": "a", "type": "conditional", "name": "shout", "description": "", "params": {"condition": "' + b"(" * 1900 + b'"}}]}',
])  # fmt: skip
async def test_a_plan_that_is_none_is_refused_with_what_is_wrong(person: Planner, body: bytes) -> None:
    """R1-12: whatever comes in, 422 or 400, and never a defect."""
    headers = {**person.headers, "Content-Type": "application/json"}
    refused = await person.client.post("/v1/plans", data=body, headers=headers)
    assert (refused.status, refused.json["code"]) in ((422, "plan_invalid"), (400, "malformed")), refused.body
    assert refused.json.get("errors") or refused.status == 400


async def test_texts_that_stores_do_not_like_are_kept_or_refused(person: Planner) -> None:
    """No 500: a NUL in a goal's description or a step's, in params, in what is told to hooks."""
    goal = {"id": "g", "description": "shout \0 \u0001", "success_criteria": ["shout \0"]}
    assert (await person.ask("POST", "/v1/goals/plan", goal)).status in (201, 422)
    await person.give(plan(step("a", "shout", params={"text": "\0"}, description="\0")))
    told = await person.done("plan_abc123", {"user\0Id": "\0"})
    assert (told["status"], told["execution"]["output"]["said"]) == ("completed", "\0")


async def test_a_goal_that_would_be_told_too_often_is_refused(person: Planner) -> None:
    """Its context goes to every step: together they are bounded before they are made."""
    goal = {"id": "g", "description": "x", "success_criteria": ["shout"] * 100, "context": {"a": "x" * 900_000}}
    refused = await person.ask("POST", "/v1/goals/plan", goal)
    assert (refused.status, refused.json["code"]) == (422, "plan_invalid")
    assert (await person.ask("POST", "/v1/goals/plan", {**goal, "success_criteria": ["shout"]})).status == 201


async def test_large_plans_are_listed_few_at_a_time(person: Planner) -> None:
    """CONTRACT 1 "Lists": a page ends where it is large, and the next one goes on there."""
    big = {"text": "x" * 900_000}
    for number in range(4):
        steps = [step(f"s{n}", "shout", params=big) for n in range(4)]
        body = io.BytesIO(json.dumps(plan(*steps, id=f"p{number}")).encode())
        headers = {**person.headers, "Content-Type": "application/json"}
        assert (await person.client.post("/v1/plans", data=body, headers=headers)).status == 201
    first = (await person.ask("GET", "/v1/plans")).json
    assert 0 < len(first["items"]) < 4
    rest = (await person.ask("GET", f"/v1/plans?after={first['next']}")).json
    assert [one["id"] for one in (*first["items"], *rest["items"])] == ["p3", "p2", "p1", "p0"]
    assert rest["next"] is None


async def test_idempotent_plans_are_given_once(person: Planner) -> None:
    """CONTRACT 1: a replay answers the same plan, and no 409."""
    first = await person.ask("POST", "/v1/plans", TWO, **{"Idempotency-Key": "k"})
    again = await person.ask("POST", "/v1/plans", TWO, **{"Idempotency-Key": "k"})
    assert (first.body, again.status, again.headers["Idempotency-Replayed"]) == (again.body, 201, "true")


async def test_what_stands_in_the_log_is_seen_by_those_who_may(person: Planner, daemon: Running) -> None:
    """CONTRACT 8: topic `plan.*`, the seed's name, keyed by the plan's own id; beside it the command's own events."""
    made = await person.give(plan(step("one", "shout"), step("bad", "break")))
    await person.done("plan_abc123")
    events, _ = await daemon.daemon.rooms.audit.events_after(0, daemon.daemon.rooms.keys.caller(daemon.admin.key))
    told = [(event.topic, event.name) for event in events if event.subject == made["uuid"]]
    assert SEVEN - {"execution_completed"} <= {name for _, name in told}
    assert all(topic.startswith("plan.") for topic, _ in told)
    names = {event.name for event in events if event.subject == made["commandId"]}
    assert {"COMMAND.CREATED", "COMMAND.EXECUTION.FAILED"} <= names
    failed = [event for event in events if event.name == "step_failed"]
    assert (failed[0].data["stepId"], failed[0].data["status"], failed[0].owner) == (
        "bad", "failed", person.headers["x-identity-id"],
    )  # fmt: skip
