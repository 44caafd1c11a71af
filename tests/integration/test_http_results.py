"""The output gate and the four kinds of effect over HTTP: nothing is in force that nobody accepted (X-12, X-30)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from orchestrator.testing.daemons import NO_ENGINE, Running, running
from tests.integration.http_rig import problem
from tests.integration.test_http_commands import ECHO, Person, done, of_steps, step
from tests.integration.test_http_incidents import incidents, person_of

SETTINGS = {"bundled": False, "sandbox__docker_host": NO_ENGINE, "governance__undo_retry_s": 0.02,
            "governance__undo_grace_s": 0.3}  # fmt: skip
COUNTS = """
PLUGIN = {"intents": ["count"], "keywords": ["count"]}
calls = []
def handle(request):
    calls.append(1)
    return {"count": len(calls), "seen": request.params.get("seen")}
"""
WRITES = """
import pathlib
PLUGIN = {"intents": ["write"], "effects": "KIND"}
HERE = pathlib.Path("FOLDER")
def handle(request):
    HOW
"""
HOW = {
    "versioned": """
    file = HERE / f"letter-{len(list(HERE.glob('letter*')))}"
    file.write_text(request.text)
    return file.name
""",
    "compensated": """
    import time
    (HERE / "begun").touch()
    time.sleep(request.params.get("slowly") or 0)
    (HERE / "letter").write_text(request.text)
    if request.params.get("fail"): raise ValueError("half done")
    return {"id": request.id, "file": "letter"}
def undo(request):
    with (HERE / "undone").open("a") as told: told.write(f"{request.text} {(request.output or {}).get('file')}\\n")
    if (HERE / "broken").exists(): raise ValueError("not yet")
    assert request.output is None or request.output.id == request.id
    (HERE / "letter").unlink(missing_ok=True)
""",
    "deferred": """
    return {"id": request.id, "letter": request.text + "!"}
def release(request):
    assert request.output.id == request.id
    if (HERE / "broken").exists(): raise ValueError("the post is closed")
    with (HERE / "letter").open("a") as file: file.write(request.output.letter)
""",
}


def plugin(folder: Path, kind: str, isolation: str = "inline") -> str:
    source = WRITES.replace("KIND", kind).replace("FOLDER", str(folder)).replace("    HOW", HOW[kind].strip("\n"))
    return source.replace('"effects"', f'"isolation": "{isolation}", "effects"')


def life(home: Path, kind: str | None, source: str | None = None) -> AbstractAsyncContextManager[Running]:
    """A daemon over one state, with a plugin that has effects of this kind."""
    folder = home / "plugins"
    folder.mkdir(exist_ok=True)
    (folder / "echo.py").write_text(ECHO)
    (folder / "count.py").write_text(COUNTS)
    if kind is not None:
        (folder / "writer.py").write_text(source or plugin(home, *kind.split()))
    return running(home / "state", [folder], **SETTINGS)


@pytest.fixture
async def daemon(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    async with life(tmp_path, getattr(request, "param", None)) as opened:
        yield opened


@pytest.fixture
async def person(daemon: Running) -> Person:
    return await person_of(daemon)


async def run(person: Person, *steps: dict[str, object], **more: object) -> str:
    """A command of these steps, as its address when it has ended."""
    path = await person.make(of_steps(*steps), **more)
    await done(person, path)
    return path


async def again(person: Person, path: str) -> None:
    """Approve and execute what was planned once more."""
    assert (await person.ask("POST", f"{path}/approve", {"approved": True})).status == 200
    async with asyncio.timeout(10):
        while (await person.ask("POST", f"{path}/execute")).json.get("code") == "effects_pending":
            await asyncio.sleep(0.01)
    await person.ended(path)


async def results(person: Person, path: str, at: int | None = None) -> list[dict[str, object]]:
    told = (await person.ask("GET", path)).json["results"]
    return [one for one in told if at in (None, one["step_index"])]


async def states(person: Person, path: str, at: int = 0) -> list[object]:
    return [one["state"] for one in await results(person, path, at)]


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.005)


async def effect(person: Person, path: str, state: str, at: int = 0) -> None:
    """Wait until the effect of a step is so."""
    async with asyncio.timeout(10):
        while (await results(person, path, at))[-1]["effect"] != state:
            await asyncio.sleep(0.005)


def write(id_: str = "a", text: str = "hello", **params: object) -> dict[str, object]:
    return step(id_, {"text": text, **params}, name="write")


class TestGate:
    """R4-13, R4-14, R4-16, R4-50."""

    async def test_an_output_is_proposed_until_a_person_accepts_it(self, person: Person, daemon: Running) -> None:
        path = await run(person, step("a", {"text": "one"}))
        (proposed,) = await results(person, path)
        assert (proposed["state"], proposed["version"], proposed["output"]) == ("proposed", 1, {"said": "ONE"})
        assert set(proposed["output_reference"]) == {"ref", "sha256", "size", "type"}
        assert (await person.ask("GET", f"{path}/status")).json["status"] == "completed"
        accepted = await person.ask("POST", f"{path}/results/0/accept", {"notes": "good"})
        assert accepted.status == 200, accepted.body
        (active,) = accepted.json["versions"]
        assert (active["state"], active["notes"]) == ("active", "good")
        assert active["decided_by"] == person.headers["x-identity-id"]
        assert (await person.ask("POST", f"{path}/results/0/accept")).status == 200  # twice is once
        refused = await person.ask("POST", f"{path}/results/0/reject")
        assert problem(refused, 409, "illegal_transition")["state"] == "active"
        rows = (await daemon.admin.get(f"/v1/audit?subject={path.rpartition('/')[2]}")).json["items"]
        assert [row["action"] for row in rows].count("command.output_accepted") == 1
        assert rows[0]["data"]["approved_by"] == person.headers["x-identity-id"]
        assert "ONE" not in str(rows)

    async def test_a_rejected_output_stays_as_history(self, person: Person) -> None:
        path = await run(person, step("a", {}))
        assert (await person.ask("POST", f"{path}/results/0/reject", {"notes": "no"})).status == 200
        (kept,) = await results(person, path)
        assert (kept["state"], kept["notes"], kept["output"] is not None) == ("rejected", "no", True)
        problem(await person.ask("POST", f"{path}/results/0/accept"), 409, "illegal_transition")

    async def test_to_regenerate_runs_the_step_and_what_rests_on_it_again_after_a_new_approval(self, person) -> None:
        """R4-16, R4-50: another step is not run again; the old version stays."""
        seen = {"seen": "{{b.output.count}}"}
        path = await run(
            person,
            step("a", {}, name="count", dependencies=[]),
            step("b", {}, name="count", dependencies=[]),
            step("c", seen, name="count", dependencies=["b"]),
        )
        assert [one["output"]["count"] for one in await results(person, path)] == [1, 2, 3]
        asked = await person.ask("POST", f"{path}/results/1/regenerate")
        assert asked.status == 200, asked.body
        told = (await person.ask("GET", path)).json
        assert (told["status"], told["plan_version"]) == ("awaiting_approval", 2)
        problem(await person.ask("POST", f"{path}/execute"), 409, "illegal_transition")
        await again(person, path)
        assert await states(person, path, 0) == ["proposed"]
        assert await states(person, path, 1) == ["superseded", "proposed"]
        assert [one["output"] for one in (await results(person, path, 2))[1:]] == [{"count": 5, "seen": 4}]
        assert (await results(person, path, 1))[1]["plan_version"] == 2

    async def test_what_is_in_force_stays_so_until_the_next_one_is_accepted_and_can_be_gone_back_to(
        self, person
    ) -> None:
        """R4-50: rollback is a new version."""
        path = await run(person, step("a", {}, name="count"))
        await person.ask("POST", f"{path}/results/0/accept")
        await person.ask("POST", f"{path}/results/0/regenerate")
        await again(person, path)
        assert await states(person, path) == ["active", "proposed"]
        await person.ask("POST", f"{path}/results/0/accept")
        assert await states(person, path) == ["superseded", "active"]
        back = await person.ask("POST", f"{path}/results/0/rollback", {"version": 1, "notes": "it was better"})
        assert back.status == 200, back.body
        first, _, third = back.json["versions"]
        assert (third["state"], third["rolled_back_to"], third["output"]) == ("active", 1, {"count": 1, "seen": None})
        assert third["output_reference"] == first["output_reference"]
        assert await states(person, path) == ["superseded", "superseded", "active"]
        none = await person.ask("POST", f"{path}/results/0/rollback")
        assert [one["state"] for one in none.json["versions"]] == ["superseded"] * 3
        problem(await person.ask("POST", f"{path}/results/0/rollback"), 409, "illegal_transition")

    async def test_of_the_outputs_of_a_failed_command_a_person_decides_or_they_go_with_it(self, person: Person) -> None:
        """R4-36, X-31."""
        path = await run(person, step("a", {}), step("b", {"fail": True}))
        assert await states(person, path) == ["proposed"]
        await person.ask("POST", f"{path}/decision", {"action": "discard"})
        assert await states(person, path) == ["rejected"]
        problem(await person.ask("POST", f"{path}/results/0/accept"), 409, "illegal_transition")
        problem(await person.ask("POST", f"{path}/results/0/regenerate"), 409, "illegal_transition")

    async def test_a_step_without_an_output_is_404_and_odd_bodies_change_nothing(self, person: Person) -> None:
        path = await run(person, step("a", {}))
        for at in ("1", "-1", "x", "0x0", "99999999999", "٣", "%00", "0.0"):
            for act in ("accept", "reject", "regenerate", "rollback"):
                problem(await person.ask("POST", f"{path}/results/{at}/{act}"), 404, "not_found")
        long, huge = {"notes": "n" * 2001}, {"version": 10**30}
        for body in ({"version": 2}, {"version": 0}, huge, {"version": "1"}, {"notes": 1}, long, {"more": 1}):
            for act in ("accept", "reject", "rollback"):
                refused = await person.ask("POST", f"{path}/results/0/{act}", body)
                assert refused.status in (409, 422), (act, body, refused.body)
        assert await states(person, path) == ["proposed"]

    async def test_only_persons_with_the_scope_decide_and_only_of_their_own(self, person, daemon) -> None:
        """R4-14, X-26."""
        path = await run(person, step("a", {}))
        weak = await daemon.client("command", "query")
        for act in ("accept", "reject", "regenerate", "rollback"):
            target = f"{path}/results/0/{act}"
            problem(await weak.post(target, headers=person.headers), 403, "scope_missing")
            problem(await daemon.admin.post(target), 403, "identity_required")
        assert await states(person, path) == ["proposed"]

    async def test_of_two_decisions_at_once_one_holds(self, person: Person) -> None:
        path = await run(person, step("a", {}))
        acts = ("accept", "reject") * 8
        answers = await asyncio.gather(*(person.ask("POST", f"{path}/results/0/{act}") for act in acts))
        won = {act for act, answer in zip(acts, answers, strict=True) if answer.status == 200}
        assert len(won) == 1
        assert {answer.status for answer in answers} == {200, 409}

    async def test_a_wait_has_nothing_to_accept(self, person: Person) -> None:
        path = await run(person, {"id": "w", "type": "wait", "name": "w", "description": "", "params": {"duration": 1}})
        assert await results(person, path) == []


class TestEffects:
    """X-12: each kind with a step that writes a file, a later one that fails, and a way back."""

    @pytest.mark.parametrize("daemon", ["versioned"], indirect=True)
    async def test_versioned_effects_add_and_going_back_is_another_version(self, person, tmp_path) -> None:
        path = await run(person, write(), step("b", {"fail": True}))
        assert (tmp_path / "letter-0").read_text() == "hello"
        assert await states(person, path) == ["proposed"]  # written, and not in force
        await person.ask("POST", f"{path}/results/0/accept")
        await person.ask("POST", f"{path}/results/0/regenerate")
        await again(person, path)
        await person.ask("POST", f"{path}/results/0/accept")
        back = await person.ask("POST", f"{path}/results/0/rollback", {"version": 1})
        assert [one["output"] for one in back.json["versions"]][-1] == "letter-0"
        assert sorted(file.name for file in tmp_path.glob("letter*")) == ["letter-0", "letter-1"]

    async def test_pure_steps_leave_nothing_to_undo(self, person: Person) -> None:
        path = await run(person, step("a", {}), step("b", {"fail": True}))
        assert [one["effect"] for one in await results(person, path)] == [None]

    @pytest.mark.parametrize("daemon", ["compensated", "compensated process"], indirect=True)
    async def test_a_compensated_effect_is_undone_when_its_command_is_discarded(self, person, tmp_path) -> None:
        path = await run(person, write(), step("b", {"fail": True}))
        assert (tmp_path / "letter").read_text() == "hello"
        assert [one["effect"] for one in await results(person, path)] == ["held"]
        await person.ask("POST", f"{path}/decision", {"action": "discard"})
        await effect(person, path, "done")
        assert not (tmp_path / "letter").exists()
        assert (tmp_path / "undone").read_text() == "hello letter\n"

    @pytest.mark.parametrize("daemon", ["compensated"], indirect=True)
    async def test_a_compensated_effect_is_undone_when_its_output_is_rejected_or_gone_back_from(
        self, person, daemon, tmp_path
    ) -> None:
        path = await run(person, write())
        await person.ask("POST", f"{path}/results/0/reject")
        await effect(person, path, "done")
        assert not (tmp_path / "letter").exists()
        path = await run(person, write())
        await person.ask("POST", f"{path}/results/0/accept")
        assert [one["effect"] for one in await results(person, path)] == ["kept"]
        problem(await person.ask("POST", f"{path}/results/0/rollback", {"version": 1}), 409, "irreversible")
        assert (await person.ask("POST", f"{path}/results/0/rollback")).status == 200
        await effect(person, path, "done")
        assert not (tmp_path / "letter").exists()
        rows = (await daemon.admin.get(f"/v1/audit?subject={path.rpartition('/')[2]}")).json["items"]
        assert (rows[0]["action"], rows[0]["approval_id"] is not None) == ("command.effect_undone", True)

    @pytest.mark.parametrize("daemon", ["compensated"], indirect=True)
    async def test_what_was_half_done_is_undone_before_it_is_done_again(self, person, tmp_path) -> None:
        """R4-37: a retry; the plugin is told that there is no answer to go by."""
        path = await run(person, write(fail=True))
        assert (tmp_path / "letter").exists()
        await person.ask("POST", f"{path}/decision", {"action": "retry"})
        await until((tmp_path / "undone").exists)
        assert (tmp_path / "undone").read_text() == "hello None\n"
        await until(lambda: not (tmp_path / "letter").exists())

    @pytest.mark.parametrize("daemon", ["compensated"], indirect=True)
    async def test_of_several_effects_the_last_is_undone_first(self, person, tmp_path) -> None:
        path = await run(person, write("a", "one"), write("b", "two"), step("c", {"fail": True}))
        await person.ask("POST", f"{path}/decision", {"action": "discard"})
        await effect(person, path, "done")
        assert [line.split()[0] for line in (tmp_path / "undone").read_text().splitlines()] == ["two", "one"]

    @pytest.mark.parametrize("daemon", ["compensated"], indirect=True)
    async def test_what_cannot_be_undone_is_tried_again_and_then_an_incident(self, person, daemon, tmp_path) -> None:
        path = await run(person, write())
        (tmp_path / "broken").touch()
        await person.ask("POST", f"{path}/results/0/reject")
        await until((tmp_path / "undone").exists)
        await effect(person, path, "failed")
        assert len((tmp_path / "undone").read_text().splitlines()) == 5
        (found,) = await incidents(daemon)
        assert (found["kind"], "raised ValueError" in found["detail"]) == ("effect_not_undone", True)

    @pytest.mark.parametrize("daemon", ["compensated"], indirect=True)
    async def test_a_cancelled_command_is_undone(self, person, tmp_path) -> None:
        """3.2 "cancel during each state": in step mode, between two steps."""
        path = await run(person, write(), step("b", {}), approval_mode="step")
        assert (tmp_path / "letter").exists()
        await person.ask("POST", f"{path}/cancel")
        await effect(person, path, "done")
        assert (await states(person, path), (tmp_path / "letter").exists()) == (["rejected"], False)

    @pytest.mark.parametrize("daemon", ["compensated"], indirect=True)
    async def test_what_was_under_way_when_it_was_cancelled_is_undone_when_it_has_ended(self, person, tmp_path) -> None:
        """A thread cannot be killed: it writes its letter after the cancel, and no letter is left."""
        path = await person.make(of_steps(write(slowly=0.1)))
        await person.ask("POST", f"{path}/plan")
        await person.ask("POST", f"{path}/approve", {"approved": True})
        await person.ask("POST", f"{path}/execute")
        await until((tmp_path / "begun").exists)
        assert (await person.ask("POST", f"{path}/cancel")).json["status"] == "cancelled"
        await until((tmp_path / "undone").exists)
        await until(lambda: not (tmp_path / "letter").exists())
        assert await results(person, path) == []

    @pytest.mark.parametrize("daemon", ["deferred", "deferred process"], indirect=True)
    async def test_a_deferred_effect_comes_about_once_when_it_is_accepted(self, person, tmp_path) -> None:
        path = await run(person, write(), step("b", {"fail": True}))
        assert not (tmp_path / "letter").exists()
        for _ in range(2):
            await person.ask("POST", f"{path}/results/0/accept")
        await effect(person, path, "done")
        assert (tmp_path / "letter").read_text() == "hello!"
        problem(await person.ask("POST", f"{path}/results/0/rollback"), 409, "irreversible")

    @pytest.mark.parametrize("act", ["results/0/reject", "results/0/regenerate", "decision"])
    @pytest.mark.parametrize("daemon", ["deferred"], indirect=True)
    async def test_a_deferred_effect_that_nobody_accepted_never_comes_about(self, person, tmp_path, act) -> None:
        path = await run(person, write(), step("b", {"fail": True}))
        body = {"action": "discard"} if act == "decision" else None
        assert (await person.ask("POST", f"{path}/{act}", body)).status == 200
        assert [one["effect"] for one in await results(person, path)] == ["cancelled"]
        problem(await person.ask("POST", f"{path}/results/0/accept"), 409, "illegal_transition")
        assert not (tmp_path / "letter").exists()

    @pytest.mark.parametrize("daemon", ["deferred"], indirect=True)
    async def test_a_release_that_failed_is_not_tried_again_and_is_an_incident(self, person, daemon, tmp_path) -> None:
        path = await run(person, write())
        (tmp_path / "broken").touch()
        await person.ask("POST", f"{path}/results/0/accept")
        await effect(person, path, "failed")
        (found,) = await incidents(daemon)
        assert (found["kind"], found["open"]) == ("effect_not_released", True)

    async def test_nothing_is_released_by_another_version_of_the_plugin_than_was_approved(self, tmp_path: Path) -> None:
        """R4-33, 3.2: an incident of a digest that is not the approved one."""
        async with life(tmp_path, "deferred") as daemon:
            path = await run(await person_of(daemon), write())
        file = tmp_path / "plugins" / "writer.py"
        async with life(tmp_path, "deferred", file.read_text() + "# another version\n") as daemon:
            person = await person_of(daemon)
            await person.ask("POST", f"{path}/results/0/accept")
            await effect(person, path, "failed")
            assert not (tmp_path / "letter").exists()
            assert {one["kind"] for one in await incidents(daemon)} == {"digest_mismatch", "effect_not_released"}

    @pytest.mark.parametrize("daemon", ["deferred"], indirect=True)
    async def test_while_the_daemon_is_halted_an_accepted_effect_waits(self, person, daemon, tmp_path) -> None:
        """X-13: approvals stay up, nothing new is done."""
        path = await run(person, write())
        await daemon.admin.post("/v1/halt", json={"reason": "stop"})
        assert (await person.ask("POST", f"{path}/results/0/accept")).status == 200
        await daemon.daemon.rooms.store.write(lambda tx: None)
        assert [one["effect"] for one in await results(person, path)] == ["due"]
        await daemon.admin.post("/v1/resume", json={"reason": "fine"})
        await effect(person, path, "done")

    @pytest.mark.parametrize("daemon", ["deferred", "compensated"], indirect=True)
    async def test_a_query_does_not_bring_effects_about_that_nobody_could_take_back(self, daemon: Running) -> None:
        """R4-43: what is not rolled back does not execute, through any door."""
        problem(await daemon.admin.post("/query", json={"text": "x", "intent": "write"}), 403, "approval_required")

    @pytest.mark.parametrize("kind", ["compensated", "deferred"])
    async def test_a_plugin_that_does_not_say_how_it_is_undone_is_not_enabled(self, person, tmp_path, kind) -> None:
        source = f'PLUGIN = {{"effects": "{kind}", "intents": ["x"]}}\ndef handle(request): pass\n'
        (tmp_path / "plugins" / "lacking.py").write_text(source)
        async with asyncio.timeout(10):
            while (
                b"what cannot be undone is not enabled"
                not in (told := await person.client.get("/plugins/lacking")).body
            ):
                await asyncio.sleep(0.01)
        assert told.json["state"] == "broken"

    @pytest.mark.parametrize(("kind", "state"), [("compensated", "done"), ("deferred", "failed")])
    async def test_what_a_dead_daemon_was_at_is_undone_by_the_next_and_never_released_twice(
        self, tmp_path, kind, state
    ) -> None:
        """3.2 "kill -9": the row says that somebody was at it."""
        async with life(tmp_path, kind) as daemon:
            person = await person_of(daemon)
            path = await run(person, write(), step("b", {"fail": True}))
            await daemon.daemon.rooms.store.write(
                lambda tx: tx.exec_driver_sql("UPDATE effects SET state = 'doing', attempts = 1") and None
            )
        async with life(tmp_path, kind) as daemon:
            person = await person_of(daemon)
            await effect(person, path, state)
            assert not (tmp_path / "letter").exists()
            kinds = [one["kind"] for one in await incidents(daemon)]
            assert kinds == ([] if kind == "compensated" else ["effect_not_released"])
