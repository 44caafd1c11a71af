"""Policy hooks over HTTP: switched by settings, asked before a step, told after it (R1-18 to R1-22, X-05)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.errors import StartRefused
from orchestrator.governance.policies import finding
from orchestrator.sdk.policies import PolicyHook
from orchestrator.testing.daemons import NO_ENGINE, running
from tests.integration.test_http_plans import WORKERS, Planner, plan, step

Open = Callable[..., AbstractAsyncContextManager[Planner]]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """A person at a daemon with these settings of `governance`."""

    @asynccontextmanager
    async def at(**settings: Any) -> AsyncIterator[Planner]:
        (tmp_path / "plugins").mkdir(exist_ok=True)
        (tmp_path / "plugins" / "workers.py").write_text(WORKERS)
        named = {f"governance__{name}": value for name, value in settings.items()}
        async with running(
            tmp_path / "state", [tmp_path / "plugins"], bundled=False, sandbox__docker_host=NO_ENGINE, **named
        ) as daemon:
            me = (await daemon.admin.get("/v1/me")).json
            person = Planner(daemon.admin, me["identity_id"], me["contexts"][0]["id"])
            person.daemon = daemon  # type: ignore[attr-defined]
            yield person

    return at


async def test_a_step_that_a_hook_denies_is_skipped_and_the_plan_has_failed(opened: Open) -> None:
    """R1-19, R1-21, X-05: the reason reaches the step; what comes after it never runs; without it, it can be done."""
    async with opened(policy_hooks=["security_check"], policy_permissions={"*": ["sh*"], "123": ["twice"]}) as person:
        steps = step("one", "shout"), step("two", "twice", "one"), step("three", "shout", "two")
        await person.give(plan(*steps))
        told = await person.done("plan_abc123", {"userId": "9"})
        execution = told["execution"]
        assert (told["status"], execution["status"], execution["error"]) == (
            "failed", "failed", "Insufficient permissions",
        )  # fmt: skip
        assert [(one["status"], one.get("skipReason"), one.get("error")) for one in execution["steps"]] == [
            ("completed", None, None), ("skipped", "policy_denied", "Insufficient permissions"),
            ("skipped", "dependency_failed", "it depends on 'two', which did not complete"),
        ]  # fmt: skip
        new = (await person.ask("POST", "/v1/plans/plan_abc123/replan", {"stepId": "two"})).json
        assert (await person.done(new["id"]))["status"] == "completed"
        await person.give(plan(*steps, id="other"))
        assert (await person.done("other", {"userId": "123"}))["status"] == "completed"


@pytest.mark.parametrize("params", [
    {"password": "x"}, {"deep": [{"card": "4111 1111 1111 1111"}]}, {"iban": 1}, {"text": "my ssn is 078-05-1120"},
    {"text": "pay to GB82 WEST 1234 5698 7654 32"}, {"key": "-----BEGIN RSA PRIVATE KEY-----"},
])  # fmt: skip
async def test_what_is_sensitive_needs_consent(opened: Open, params) -> None:
    """R1-21, R1-30: Pattern 3 with `consentGiven`; a truthy text is no consent."""
    async with opened(policy_hooks=["security_check"]) as person:
        for id_, context, status in (
            ("a", {}, "failed"), ("b", {"consentGiven": "yes"}, "failed"),
            ("c", {"userId": "123", "consentGiven": True}, "completed"),
        ):  # fmt: skip
            await person.give(plan(step("one", "shout", params=params), id=id_))
            told = await person.done(id_, context)
            assert told["status"] == status, told
            if status == "failed":
                assert told["execution"]["error"] == "Sensitive data detected, consent required"


async def test_what_a_step_gets_from_another_is_looked_at_too(opened: Open) -> None:
    """R1-09, R1-21: params are judged with their templates bound."""
    async with opened(policy_hooks=["security_check"]) as person:
        gets = step("two", "shout", "one", params={"text": "{{one.output.text}}"})
        await person.give(plan(step("one", "twice", params={"text": "4242 4242"}), gets))
        told = await person.done("plan_abc123")
        assert [one["status"] for one in told["execution"]["steps"]] == ["completed", "skipped"]


async def test_numbers_that_are_no_accounts_are_nothing_sensitive(opened: Open) -> None:
    async with opened(policy_hooks=["security_check"]) as person:
        params = {"text": "order 4111 1111 1111 1112, a@example.com, 2026-01-02", "passenger": 1, "n": 12345678901234}
        await person.give(plan(step("one", "shout", params=params)))
        assert (await person.done("plan_abc123"))["status"] == "completed"


async def test_the_rate_is_counted_for_each_user_and_name(opened: Open) -> None:
    """R1-21: "Rate limit exceeded", per userId x step.name."""
    async with opened(policy_hooks=["rate_limiter"], policy_rate_per_minute=2) as person:
        for id_, user, names, status in (
            ("a", "1", ("shout", "shout", "twice"), "completed"), ("b", "1", ("shout",), "failed"),
            ("c", "2", ("shout",), "completed"), ("d", "1", ("twice",), "completed"),
        ):  # fmt: skip
            await person.give(plan(*(step(f"s{n}", name) for n, name in enumerate(names)), id=id_))
            told = await person.done(id_, {"userId": user})
            assert told["status"] == status
            assert told["execution"].get("error") == ("Rate limit exceeded" if status == "failed" else None)


async def test_the_audit_has_a_row_for_each_step_that_completed_or_failed(opened: Open) -> None:
    """R1-21, R1-22, R4-06: with params as they were approved, never an output that was put into them."""
    async with opened(policy_hooks=["audit_logger"]) as person:
        gets = step("two", "break", "one", params={"text": "{{one.output.text}}"})
        made = await person.give(plan(step("one", "twice", params={"text": "ab"}), gets, step("three", "shout", "two")))
        await person.done("plan_abc123", {"userId": "123"})
        async with asyncio.timeout(10):
            while len(rows := await _audited(person, made["commandId"])) < 2:
                await asyncio.sleep(0.01)
        assert [(row["userId"], row["action"], row["status"]) for row in rows] == [
            ("123", "twice", "completed"), ("123", "break", "failed"),
        ]  # fmt: skip
        assert rows[1]["metadata"]["params"] == {"text": "{{one.output.text}}"}
        assert rows[0]["metadata"]["duration"] >= 0


async def _audited(person: Planner, command_id: str) -> list[dict[str, Any]]:
    rows = (await person.client.get(f"/v1/audit?subject={command_id}")).json["items"]
    return [row["data"] for row in rows[::-1] if row["action"] == "policy.step_audited"]


async def _hangs(step: Any, context: Any) -> Any:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if context["sphere"] != "personal":
                continue
            raise


def _exits(step: Any, context: Any) -> Any:
    raise SystemExit(3)


async def _cancels(step: Any, context: Any) -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize("pre", [
    _hangs, _exits, _cancels, lambda step, context: None, lambda step, context: {"allow": "yes"}, lambda step: {},
    lambda step, context: {"allow": 1}, lambda step, context: True, lambda step, context: 1 / 0,
])  # fmt: skip
async def test_a_hook_that_raises_hangs_or_says_nothing_clear_denies(opened: Open, pre) -> None:
    """R1-20: fail closed; the daemon goes on."""
    async with opened(policy_timeout_s=0.1) as person:
        heard: list[str] = []
        hook = PolicyHook("odd", pre, lambda step, result, context: heard.append(step.name))
        plans = person.daemon.daemon.rooms.plans  # type: ignore[attr-defined]
        made = await person.give(plan(step("one", "shout")))
        plans.policies.give(made["commandId"], [hook])
        told = await person.done("plan_abc123")
        assert (told["status"], told["execution"]["steps"][0]["skipReason"]) == ("failed", "policy_denied")
        assert "odd" in told["execution"]["error"]
        assert heard == [], "nobody hears of a step that never ran"


async def test_the_first_hook_that_denies_has_the_last_word(opened: Open) -> None:
    """R1-19: those after it are not asked."""
    asked: list[str] = []

    def saying(name: str, allow: bool) -> PolicyHook:
        def pre(step: Any, context: Any) -> Any:
            asked.append(f"{name} {step.name} {context.userId}")
            return {"allow": allow, "reason": f"{name} said no"}

        return PolicyHook(name, pre)

    async with opened() as person:
        made = await person.give(plan(step("one", "shout")))
        hooks = [saying("a", True), saying("b", False), saying("c", False)]
        person.daemon.daemon.rooms.plans.policies.give(made["commandId"], hooks)  # type: ignore[attr-defined]
        told = await person.done("plan_abc123", {"userId": "7"})
        assert told["execution"]["error"] == "b said no"
        assert asked == ["a shout 7", "b shout 7"]


async def test_a_hook_that_fails_after_a_step_changes_nothing(opened: Open) -> None:
    """R1-22: what was done is done."""
    async with opened() as person:
        made = await person.give(plan(step("one", "shout"), step("two", "shout")))
        hook = PolicyHook("odd", None, lambda step, result, context: 1 / 0)
        person.daemon.daemon.rooms.plans.policies.give(made["commandId"], [hook])  # type: ignore[attr-defined]
        assert (await person.done("plan_abc123"))["status"] == "completed"


async def test_a_hook_that_there_is_not_keeps_the_daemon_from_starting(opened: Open) -> None:
    """Fail closed: a misspelt policy is none that anybody would notice missing."""
    with pytest.raises(StartRefused, match=r"no hook 'securitycheck'; there are audit_logger, rate_limiter"):
        async with opened(policy_hooks=["securitycheck"]):
            raise AssertionError("it started")


@pytest.mark.parametrize(
    "brings", [PolicyHook("theirs", lambda step, context: {"allow": False, "reason": "theirs"}), None]
)
async def test_an_installed_distribution_brings_a_hook(opened: Open, monkeypatch, brings) -> None:
    """R1-18: as an entry point, a hook or what makes one; asked only where a setting names it."""

    class Point:
        name = "theirs"

        def load(self) -> Any:
            return brings or (lambda: PolicyHook("theirs", lambda step, context: {"allow": False, "reason": "theirs"}))

    monkeypatch.setattr(finding, "entry_points", lambda group: [Point()] if group == finding.GROUP else [])
    for named, told in (([], None), (["theirs"], "theirs")):
        async with opened(policy_hooks=named) as person:
            await person.give(plan(step("one", "shout"), id=f"p{len(named)}"))
            assert (await person.done(f"p{len(named)}"))["execution"].get("error") == told


async def test_what_is_told_to_hooks_is_shown_to_nobody_else(opened: Open) -> None:
    async with opened() as person:
        made = await person.give(plan(step("one", "shout")))
        await person.done("plan_abc123", {"userId": "very-private"})
        for path in (f"/v1/commands/{made['commandId']}", "/v1/plans/plan_abc123", "/v1/plans/plan_abc123/export"):
            assert b"very-private" not in (await person.ask("GET", path)).body


async def test_a_plan_is_gone_on_with_by_the_next_daemon_and_its_history_with_it(opened: Open) -> None:
    """R1-23, R1-34: the wait has lost nothing, what completed is not done again, hooks are asked as before."""
    steps = (
        step("one", "shout"),
        step("pause", "pause", "one", type="wait", params={"duration": 700}),
        step("two", "shout", "pause"),
    )
    async with opened(policy_hooks=["security_check"]) as person:
        await person.give(plan(*steps))
        await person.ask("POST", "/v1/plans/plan_abc123/approve", {"approved": True})
        await person.ask("POST", "/v1/plans/plan_abc123/execute", {"context": {"consentGiven": True}})
        async with asyncio.timeout(10):
            while [event["event"] for event in await person.events("plan_abc123")].count("step_started") < 2:
                await asyncio.sleep(0.01)
    async with opened(policy_hooks=["security_check"]) as person:
        told = await person.settled("/v1/plans/plan_abc123")
        assert [one["status"] for one in told["execution"]["steps"]] == ["completed"] * 3
        names = [event["event"] for event in await person.events("plan_abc123")]
        assert (names.count("execution_started"), names.count("step_completed"), names[-1]) == (
            1,
            3,
            "execution_completed",
        )
        stats = (await person.ask("GET", "/v1/plans/plan_abc123/stats")).json
        assert stats["totalDuration"] >= 600
        assert (await person.ask("GET", "/v1/plans/plan_abc123/export")).status == 200
