"""Seed 001 in Python: its contracts, its five integration patterns and its campaign, as they are written there (R1-28)."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import orchestrator
from orchestrator import CapabilityRegistry, Executor, Planner, PlanReplay, PolicyHook
from orchestrator.config import places
from orchestrator.contracts.errors import Conflict, Invalid, NotFound, OrchestratorError
from orchestrator.kernel.tasks import Supervisor
from orchestrator.testing.daemons import NO_ENGINE, running
from orchestrator.workflows.executor import ApprovalRequired
from tests.integration.test_http_plans import CAMPAIGN_PLAN

GOAL = {
    "id": "campaign_launch_001", "description": "Create and launch email marketing campaign",
    "success_criteria": ["Content generated", "Design approved", "List segmented", "Campaign scheduled"],
    "context": {"productId": "prod_123", "targetAudience": "enterprise", "launchDate": "2025-12-01"},
}  # fmt: skip


class SearchInput(BaseModel):
    query: str
    maxResults: int = 5  # noqa: N815 - the seed's spelling


class Found(BaseModel):
    title: str
    url: str
    snippet: str


class SearchOutput(BaseModel):
    results: list[Found]


class ContentInput(BaseModel):
    type: Literal["blog", "email", "social"]
    topic: str


WEB_SEARCH = {
    "name": "web_search", "type": "tool", "description": "Search the web for information",
    "inputSchema": SearchInput, "outputSchema": SearchOutput, "enabled": True,
}  # fmt: skip
CONTENT_AGENT = {
    "name": "content_agent", "type": "agent", "description": "Generate marketing content", "input_schema": ContentInput,
    "enabled": True, "metadata": {"version": "1.0.0", "owner": "marketing-team"},
}  # fmt: skip
EMAIL = {
    "name": "email_service", "type": "service", "description": "Send transactional emails",
    "inputSchema": {
        "type": "object", "required": ["to", "subject", "body"],
        "properties": {"to": {"type": "string", "format": "email"}, "subject": {"type": "string"}, "body": {"type": "string"}},
    },
}  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CapabilityRegistry:
    (tmp_path / "sandbox_images").symlink_to(places.ROOT / "sandbox_images")
    monkeypatch.setattr(places, "ROOT", tmp_path)  # without the plugins that ship, which these tests have no use for
    monkeypatch.setenv("ORCHESTRATOR_SANDBOX__DOCKER_HOST", NO_ENGINE)
    monkeypatch.setenv("ORCHESTRATOR_LOGS__LEVEL", "warning")
    return CapabilityRegistry(tmp_path / "state")


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    opened = Supervisor()
    yield opened
    await opened.close()


@pytest.fixture
def replay(registry: CapabilityRegistry) -> PlanReplay:
    return PlanReplay(registry)


def tool(name: str, handler: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "tool", "description": name.replace("_", " "), "handler": handler, **more}


def key(registry: CapabilityRegistry, tmp_path: Path) -> str:
    """The operator's own key, by which he approves what he executes."""
    return (tmp_path / "state" / "admin.key").read_text().strip()


def plan(*steps: tuple[str, str, list[str]], **more: Any) -> dict[str, Any]:
    told = [
        {"id": i, "type": "tool", "name": n, "description": i, "params": {}, "dependencies": d} for i, n, d in steps
    ]
    return {"steps": told, **more}


async def test_nothing_is_executed_that_nobody_approved(registry: CapabilityRegistry) -> None:
    """X-01: Python raises `ApprovalRequired`, with what a person needs to approve it."""
    done: list[int] = []
    registry.register(tool("work", lambda params: done.append(1)))
    with pytest.raises(ApprovalRequired, match="orchestrator plans approve plan_1") as caught:
        await Executor(registry).execute(plan(("a", "work", []), id="plan_1"))
    assert (done, caught.value.plan_id, len(str(caught.value.digest))) == ([], "plan_1", 64)


async def test_pattern_1_and_the_seeds_goal(registry: CapabilityRegistry, replay: PlanReplay, tmp_path: Path) -> None:
    """R1-28: plan, execute, look at the result; each criterion has found its capability."""
    names = {
        "content_generation": "Generate content", "design_renderer": "Render and approve the design",
        "list_segmentation": "Segment the list", "campaign_scheduler": "Schedule the campaign",
    }  # fmt: skip
    for name, description in names.items():
        registry.register(
            tool(name, lambda params: {"for": params.text, "of": params.context.productId})
            | {"description": description}
        )
    async with registry:
        planner = Planner(registry)
        executor = Executor(registry, replay, {"approve_with": key(registry, tmp_path)})

        made = await planner.plan(GOAL)
        result = await executor.execute(made, {"user_id": "123"})

        assert [step.name for step in made.steps] == list(names)
        assert (result.status, result.output) == ("completed", {"for": "Campaign scheduled", "of": "prod_123"})
        assert result.plan_id == made.id
        told: list[str] = []
        assert await replay.replay(made.id, lambda entry: told.append(entry.event)) == len(told)
        assert told[-1] == "execution_completed"
        timeline = replay.get_timeline(made.id)
        assert [moment.event for moment in timeline] == told
        stats = replay.get_stats(made.id)
        assert (stats.event_counts["step_completed"], stats.total_duration >= stats.average_step_duration) == (4, True)
        history = replay.export(made.id)
        assert PlanReplay(registry).import_(history) == made.id
        assert json.loads(history)["events"][0]["data"]["plan"]["goalId"] == "campaign_launch_001"


async def test_the_seeds_campaign_plan_runs_as_it_is_written(registry, replay, tmp_path: Path) -> None:
    """R1-02, R1-03, R1-09, R1-36: two steps, the second with what the first answered; the plan can be dumped."""
    registry.register(tool("content_generation", lambda params: {"id": f"content_of_{params.productId}"}, type="agent"))

    async def render(params: Any) -> dict[str, str]:
        return {"rendered": params.contentId, "theme": params.theme}

    registry.register(tool("design_renderer", render))
    async with registry:
        result = await Executor(registry, replay, approve_with=key(registry, tmp_path)).execute(CAMPAIGN_PLAN)
        assert (result.status, result.plan_id) == ("completed", "plan_abc123")
        assert result.output == {"rendered": "content_of_prod_123", "theme": "modern"}
        assert (result.metadata.total_steps, result.metadata.completed_steps) == (2, 2)
        assert json.loads(json.dumps(CAMPAIGN_PLAN, indent=2)) == CAMPAIGN_PLAN
        again = await Executor(registry, replay, approve_with=key(registry, tmp_path)).execute(CAMPAIGN_PLAN)
        assert (again.status, again.plan_id != "plan_abc123") == ("completed", True), "another run is another plan"


async def test_pattern_2_two_steps_at_once_only_where_that_is_wanted(registry, replay, tmp_path: Path) -> None:
    """R1-29: each waits until the other is there; one after the other, that never comes."""
    here, both = set(), asyncio.Event()

    async def meet(params: Any) -> bool:
        here.add(params.who)
        if len(here) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 0.3 if params.patient else 5)
        return True

    registry.register(tool("meet", meet))
    steps = [
        {"id": who, "type": "tool", "name": "meet", "description": who, "params": {"who": who, "patient": True}, "dependencies": []}
        for who in ("a", "b")
    ]  # fmt: skip
    async with registry:
        approve_with = key(registry, tmp_path)
        one = Executor(registry, replay, {"approve_with": approve_with})
        assert [step.status for step in (await one.execute({"steps": steps})).steps] == ["failed", "skipped"]
        here.clear()
        executor = Executor(registry, replay, {"parallelExecution": True, "approve_with": approve_with})
        assert (await executor.execute({"steps": steps})).status == "completed"


async def test_pattern_3_hooks_of_this_process(registry, replay, tmp_path: Path) -> None:
    """R1-18, R1-22, R1-30: an object with functions, in either spelling, or a class; consent lets it pass."""
    logged: list[tuple[str, str, str]] = []

    async def check(step: Any, context: Any) -> dict[str, Any]:
        if not context.get("consent_given"):
            return {"allow": False, "reason": "Sensitive data detected, consent required"}
        return {"allow": True}

    class Audit(PolicyHook):
        name = "audit_logger"

        async def post_execution(self, step: Any, result: Any, context: Any) -> None:
            logged.append((context.userId, step.name, result.status))

    registry.register(tool("work", lambda params: 1))
    registry.register(tool("bad", lambda params: 1 / 0))
    steps = ("a", "work", []), ("b", "bad", ["a"])
    async with registry:
        hooks = [{"name": "security_check", "preExecution": check}, Audit()]
        executor = Executor(registry, replay, {"policy_hooks": hooks, "approve_with": key(registry, tmp_path)})
        refused = await executor.execute(plan(*steps), {"user_id": "123"})
        assert (refused.status, refused.error) == ("failed", "Sensitive data detected, consent required")
        assert (refused.steps[0].status, refused.steps[0].skip_reason, logged) == ("skipped", "policy_denied", [])
        await executor.execute(plan(*steps), {"user_id": "123", "consent_given": True})
        assert logged == [("123", "work", "completed"), ("123", "bad", "failed")]


async def test_an_execution_is_not_gone_on_with_without_the_hooks_that_it_was_begun_with(
    registry, tmp_path, supervisor
) -> None:
    """R1-20: another process has not got them, and so nothing of it runs."""
    done: list[str] = []
    registry.register(tool("work", lambda params: done.append("work")))
    rooms_hook = PolicyHook("mine", lambda step, context: {"allow": True})
    pause = {"id": "p", "type": "wait", "name": "p", "description": "", "params": {"duration": 300}, "dependencies": []}
    async with registry:
        executor = Executor(registry, policy_hooks=[rooms_hook], approve_with=key(registry, tmp_path))
        told = plan(("a", "work", ["p"]), id="later")
        running_ = supervisor.child("running", executor.execute({**told, "steps": [pause, *told["steps"]]}))
        rooms = registry.workspace.here.rooms
        async with asyncio.timeout(10):
            while not rooms.plans.policies._given or "executing" not in await _statuses(registry):
                await asyncio.sleep(0.01)
        rooms.plans.policies.take_back(next(iter(rooms.plans.policies._given)))
        result = await running_
    assert (result.status, done) == ("failed", [])
    assert "the policy hook mine is not here" in str(result.error)


async def _statuses(registry: CapabilityRegistry) -> list[str]:
    return [one["status"] for one in (await registry.workspace.ask("GET", "/v1/plans"))["items"]]


async def test_pattern_4_a_plan_without_its_failed_step(registry, replay, tmp_path: Path) -> None:
    """R1-31."""
    registry.register(tool("work", lambda params: 1))
    registry.register(tool("bad", lambda params: {}["missing"]))
    async with registry:
        planner = Planner(registry)
        executor = Executor(registry, replay, {"approve_with": key(registry, tmp_path)})
        made = plan(("a", "work", []), ("b", "bad", ["a"]), ("c", "work", ["b"]), id="plan_1")
        result = await executor.execute(made)
        assert result.status == "failed"
        failed_step = next(step for step in result.steps if step.status == "failed")
        assert "KeyError" in str(failed_step.error)
        new_plan = await planner.replan("plan_1", failed_step.step_id, str(failed_step.error))
        retry_result = await executor.execute(new_plan)
        assert (retry_result.status, [step.step_id for step in retry_result.steps]) == ("completed", ["a", "c"])


async def test_pattern_5_one_of_two_branches(registry, replay, tmp_path: Path) -> None:
    """R1-32: the seed's plan has neither id nor goal."""
    registry.register(tool("sentiment_analysis", lambda params: {"sentiment": "positive"}, type="agent"))
    for name in ("handle_positive", "handle_negative"):
        registry.register(tool(name, lambda params: sorted(params)))
    steps = [{
        "id": "step_1", "type": "agent", "name": "sentiment_analysis", "description": "Analyze sentiment",
        "params": {"text": "Sample text"}, "dependencies": [],
    }]  # fmt: skip
    for word in ("positive", "negative"):
        steps.append({
            "id": f"step_2_{word}", "type": "conditional", "name": f"handle_{word}", "description": f"Handle {word} sentiment",
            "params": {"condition": f'{{{{step_1.output.sentiment}}}} === "{word}"'}, "dependencies": ["step_1"],
        })  # fmt: skip
    async with registry:
        result = await Executor(registry, replay, approve_with=key(registry, tmp_path)).execute({"steps": steps})
    assert (result.status, [step.status for step in result.steps]) == (
        "completed",
        ["completed", "completed", "skipped"],
    )
    assert result.output == [], "the condition stays with the executor"


def test_the_registry_keeps_what_the_seed_registers(registry: CapabilityRegistry) -> None:
    """R1-13, R1-16, R1-15."""
    registry.register_many([WEB_SEARCH, CONTENT_AGENT, EMAIL | {"handler": lambda params: {"sent": True}}])
    assert (registry.has("web_search"), registry.get("nothing"), len(registry.list())) == (True, None, 3)
    assert registry.get("content_agent")["metadata"] == {"version": "1.0.0", "owner": "marketing-team"}
    assert [one["name"] for one in registry.list_enabled()] == ["email_service"], "what has no handler is never planned"
    assert [one["name"] for one in registry.get_by_type("service")] == ["email_service"]
    assert [one["name"] for one in registry.search("EMAILS")] == ["email_service"]
    registry.disable("email_service")
    for empty in (registry.search("emails"), registry.get_by_type("service"), registry.export_for_llm()):
        assert empty == []
    registry.enable("email_service")
    assert registry.export_for_llm()[0]["parameters"]["required"] == ["to", "subject", "body"]
    assert registry.get_stats() == {
        "total": 3, "enabled": 1, "disabled": 2, "byType": {"tool": 1, "agent": 1, "service": 1},
    }  # fmt: skip
    assert (registry.unregister("web_search"), registry.unregister("web_search")) == (True, False)
    with pytest.raises(NotFound):
        registry.enable("web_search")
    with pytest.raises(Invalid, match="without a handler"):
        registry.enable("content_agent")


def test_a_name_is_registered_again_in_another_version_or_with_a_word(registry: CapabilityRegistry) -> None:
    """R1-17."""
    first = registry.register(tool("work", lambda params: 1))
    with pytest.raises(Conflict, match="another version"):
        registry.register(tool("work", lambda params: 2))
    second = registry.register(tool("work", lambda params: 2, metadata={"version": "2"}))
    assert (
        first["digest"] != second["digest"] != registry.register(tool("work", lambda params: 3), replace=True)["digest"]
    )


@pytest.mark.parametrize("wrong", [
    {}, {"name": "x"}, {"name": "x", "type": "robot"}, {"name": "a b", "type": "tool"}, {"name": "x", "type": "tool", "more": 1},
    {"name": "x", "type": "tool", "inputSchema": {"type": "nothing"}}, {"name": "x", "type": "tool", "effects": "deferred"},
])  # fmt: skip
def test_what_is_no_capability_is_refused(registry: CapabilityRegistry, wrong: dict[str, Any]) -> None:
    """R1-13, X-12."""
    with pytest.raises(Invalid):
        registry.register(wrong)


async def test_inputs_and_outputs_are_held_to_their_schemas(registry, replay, tmp_path: Path) -> None:
    """R1-14: defaults applied, enum and email looked at, before anything runs where that is certain."""
    seen: list[int] = []
    registry.register(WEB_SEARCH, lambda params: seen.append(params.maxResults) or {"results": []})
    registry.register(CONTENT_AGENT, lambda params: {"content": params.topic})
    registry.register(EMAIL, lambda params: {"sent": True})
    registry.register({**WEB_SEARCH, "name": "lies"}, lambda params: {"results": [{"title": 1}]})
    async with registry:
        executor = Executor(registry, replay, approve_with=key(registry, tmp_path))

        def one(name: str, **params: Any) -> dict[str, Any]:
            return {
                "steps": [{"id": "s", "type": "tool", "name": name, "description": "", "params": params, "retries": 3}]
            }

        assert (await executor.execute(one("web_search", query="x"))).status == "completed"
        assert seen == [5]
        result = await executor.execute(one("lies", query="x"))
        assert (result.status, len(result.steps)) == ("failed", 1)
        assert "the output results.0" in str(result.error)
        for wrong in (
            one("content_agent", type="poem", topic="x"), one("web_search"),
            one("email_service", to="nobody", subject="", body=""),
        ):  # fmt: skip
            with pytest.raises(Invalid) as caught:
                await executor.execute(wrong)
            assert (caught.value.code, caught.value.errors[0]["code"]) == ("plan_invalid", "bad_params")
        registry.disable("web_search")
        with pytest.raises(Invalid) as caught:
            await executor.execute(one("web_search", query="x"))
        assert caught.value.errors[0]["code"] == "capability_disabled"


async def _cancelled(params: Any) -> Any:
    raise asyncio.CancelledError


def _exits(params: Any) -> Any:
    raise SystemExit(1)


async def _sleeps(params: Any) -> Any:
    await asyncio.sleep(60)


@pytest.mark.parametrize(("handler", "told"), [
    (_cancelled, "raised CancelledError"), (_exits, "raised SystemExit"), (_sleeps, "did not answer in 0.1 s"),
    (lambda params: {1, 2}, "not JSON"), (lambda params: float("nan"), "not JSON"), (lambda: 1, "raised TypeError"),
])  # fmt: skip
async def test_a_capability_that_misbehaves_fails_its_step_alone(registry, tmp_path: Path, handler, told: str) -> None:
    """R1-08, R1-20."""
    registry.register(tool("odd", handler, timeout=100))
    async with registry:
        result = await Executor(registry, approve_with=key(registry, tmp_path)).execute(plan(("a", "odd", [])))
    assert (result.status, result.steps[0].status) == ("failed", "failed")
    assert told in str(result.error)


async def test_what_code_says_is_kept_whatever_it_is(registry, tmp_path: Path) -> None:
    """No store keeps NUL or half a character: neither a hook's reason nor an exception's text stops a plan from failing."""

    def odd(params: Any) -> Any:
        raise ValueError("\0\ud800" * 5000)

    registry.register(tool("odd", odd))
    reason = PolicyHook("mine", lambda step, context: {"allow": context.userId == "1", "reason": "\0\ud800"})
    async with registry:
        executor = Executor(registry, policy_hooks=[reason], approve_with=key(registry, tmp_path))
        for user, status in (("1", "failed"), ("2", "skipped")):
            result = await executor.execute(plan(("a", "odd", [])), {"userId": user})
            assert (result.status, result.steps[0].status) == ("failed", status)
            assert "\ufffd" in str(result.error)


async def test_a_plan_that_failed_is_done_again_when_it_is_executed_again(registry, tmp_path: Path) -> None:
    """A new run is a new plan with an approval of its own (X-32)."""
    runs: list[int] = []

    def flaky(params: Any) -> int:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("the first time")
        return len(runs)

    registry.register(tool("flaky", flaky))
    async with registry:
        executor = Executor(registry, approve_with=key(registry, tmp_path))
        told = plan(("a", "flaky", []), id="p")
        assert [(await executor.execute(told)).status for _ in range(2)] == ["failed", "completed"]
        with pytest.raises(ApprovalRequired):
            await Executor(registry).execute(told)


async def test_a_capability_that_was_changed_after_the_approval_is_not_run(registry, tmp_path: Path) -> None:
    """R1-17, 3.2 "approve, then plan or plugin changes"."""
    done: list[str] = []
    registry.register(tool("work", lambda params: done.append("old")))
    async with registry:
        with pytest.raises(ApprovalRequired):
            await Executor(registry).execute(plan(("a", "work", []), id="p"))
        body = {"approved": True}
        await registry.workspace.ask("POST", "/v1/plans/p/approve", body, key(registry, tmp_path))
        registry.register(tool("work", lambda params: done.append("new")), replace=True)
        with pytest.raises(Conflict) as caught:
            await Executor(registry).execute(plan(("a", "work", []), id="p"))
        assert (caught.value.code, done) == ("plan_changed", [])


async def test_calls_at_once_share_one_daemon_that_none_of_them_closes_on_another(registry, tmp_path: Path) -> None:
    """Without `async with`, too."""
    registry.register(tool("work", lambda params: params.n))
    async with registry:
        approve_with = key(registry, tmp_path)
    executor = Executor(registry, approve_with=approve_with)

    def one(n: int) -> dict[str, Any]:
        return {
            "steps": [{"id": "a", "type": "tool", "name": "work", "description": "", "params": {"n": n, "no": None}}]
        }

    results = await asyncio.gather(*(executor.execute(one(n)) for n in range(4)))
    assert [result.output for result in results] == [0, 1, 2, 3]


async def test_step_by_step_each_step_is_approved(registry, replay, tmp_path: Path) -> None:
    """R4-15, X-29: one execution, however often a person is asked."""
    registry.register(tool("work", lambda params: sorted(params)))
    async with registry:
        told = plan(("a", "work", []), ("b", "work", ["a"]), id="p", approvalMode="step")
        told["steps"][1]["params"] = {"null": None}
        result = await Executor(registry, replay, approve_with=key(registry, tmp_path)).execute(told)
        assert (result.status, [step.status for step in result.steps]) == ("completed", ["completed", "completed"])
        assert result.output == ["null"], "what is null in params is there"
        counts = replay.get_stats("p").event_counts
        assert (counts["execution_started"], counts["plan_approved"]) == (1, 2)


async def test_somebody_may_approve_while_the_program_waits(registry, supervisor, tmp_path: Path) -> None:
    """CONTRACT 8: the state directory is open, so its door is; a refusal is told."""
    registry.register(tool("work", lambda params: 42))
    async with registry:
        for approved in (True, False):
            executor = Executor(registry, wait_for_approval_s=10)
            told = plan(("a", "work", []), id=f"plan_{approved}")
            waiting = supervisor.child("waiting", executor.execute(told))
            async with asyncio.timeout(10):
                while "awaiting_approval" not in await _statuses(registry):
                    await asyncio.sleep(0.01)
            body = {"approved": approved}
            await registry.workspace.ask("POST", f"/v1/plans/plan_{approved}/approve", body, key(registry, tmp_path))
            if approved:
                assert (await waiting).output == 42
            else:
                with pytest.raises(Conflict, match="was refused"):
                    await waiting


async def test_a_daemon_that_holds_the_state_does_what_its_plugins_can(registry, tmp_path: Path) -> None:
    """CONTRACT 8: the same calls; code of this process does not run there, and that is said before anything happens."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "echo.py").write_text(
        'PLUGIN = {"keywords": ["echo"]}\ndef handle(request):\n    return request.text\n'
    )
    async with running(
        tmp_path / "state", [tmp_path / "plugins"], bundled=False, sandbox__docker_host=NO_ENGINE
    ) as daemon:
        (tmp_path / "state" / "daemon.json").write_text(json.dumps({"address": daemon.url, "pid": 1}))
        replay = PlanReplay(registry)
        made = await Planner(registry).plan({"id": "g", "description": "echo this", "success_criteria": []})
        result = await Executor(registry, replay, approve_with=key(registry, tmp_path)).execute(made)
        assert (result.output, replay.get_stats(made.id).event_counts["execution_completed"]) == ("echo this", 1)
        with pytest.raises(Conflict, match="a daemon holds the state directory"):
            await Executor(registry, policy_hooks=[PolicyHook("mine")]).execute(plan(("a", "echo", [])))
        registry.register(tool("work", lambda params: 1))
        with pytest.raises(Conflict, match="a daemon holds the state directory"):
            await Executor(registry).execute(plan(("a", "echo", [])))
        with pytest.raises(NotFound):
            replay.get_timeline("nothing")
    with pytest.raises(OrchestratorError):
        await Executor(registry, approve_with="wrong").execute(plan(("a", "work", [])))


def test_the_names_of_the_seed_are_the_packages_own() -> None:
    """CONTRACT 8."""
    for name in ("Planner", "Executor", "CapabilityRegistry", "PolicyHook", "PlanReplay", "ApprovalRequired"):
        assert getattr(orchestrator, name).__name__ == name
