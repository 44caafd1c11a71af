"""The command line where something has gone wrong: incidents, the halt, and what must hold of the store (CONTRACT 8)."""

import json
from pathlib import Path

import pytest

from orchestrator.testing.daemons import NO_ENGINE, running
from tests.integration.test_http_command_line import of, orchestrator
from tests.integration.test_http_commands import ECHO, done, of_steps, step
from tests.integration.test_http_incidents import forge, person_of

pytestmark = pytest.mark.slow
SETTINGS = {"bundled": False, "sandbox__docker_host": NO_ENGINE}


def plugins(home: Path) -> list[Path]:
    (home / "plugins").mkdir()
    (home / "plugins" / "echo.py").write_text(ECHO)
    return [home / "plugins"]


async def test_incidents_are_listed_shown_and_closed_and_a_halt_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path / "state", plugins(tmp_path), **SETTINGS) as daemon:
        await forge(daemon)
        there = of(daemon)
        listed = await orchestrator("incidents", "list", "--json", environ=there)
        (found,) = json.loads(listed.out)
        assert (listed.code, found["kind"]) == (0, "runtime_without_permit")
        assert json.loads((await orchestrator("incidents", "show", found["id"], environ=there)).out) == found
        closed = await orchestrator("incidents", "close", found["id"], "looked into", "--json", environ=there)
        assert (closed.code, json.loads(closed.out)["open"]) == (0, False)
        again = await orchestrator("incidents", "close", found["id"], "again", "--json", environ=there)
        assert (again.code, again.fault["code"]) == (1, "illegal_transition")
        assert (await orchestrator("halt", "it looks wrong", environ=there)).code == 0
        refused = await orchestrator("query", "shout", "--json", environ=there)
        assert (refused.code, refused.fault["code"]) == (3, "halted")
        assert (await orchestrator("resume", "mended", environ=there)).code == 0
        assert (await orchestrator("resume", "mended", "--json", environ=there)).fault["code"] == "illegal_transition"


async def test_what_must_hold_is_checked_on_a_store_in_use_without_writing_to_it(tmp_path: Path) -> None:
    """R4-41, REQUIREMENTS 3.3: after commands that completed, failed, were cancelled, decided and made again."""
    state = tmp_path / "state"
    here = {"ORCHESTRATOR_STATE_DIR": str(state)}
    nothing = await orchestrator("doctor", "--invariants", "--json", environ=here)
    assert (nothing.code, state.exists()) == (3, False)
    async with running(state, plugins(tmp_path), **SETTINGS) as daemon:
        person = await person_of(daemon)
        chain = of_steps(step("a", {"text": "one"}), step("b", {"text": "{{a.output.said}}"}))
        finished, paused, failed = [
            await person.make(intent, approval_mode=mode)
            for intent, mode in ((chain, "plan"), (chain, "step"), (of_steps(step("a", {"fail": True})), "plan"))
        ]
        for path in (finished, paused, failed):
            await done(person, path)
        await person.ask("POST", f"{finished}/results/0/accept")
        await person.ask("POST", f"{finished}/results/1/regenerate")
        await person.ask("POST", f"{finished}/approve", {"approved": True})
        await person.ask("POST", f"{finished}/execute")
        await person.ended(finished)
        await person.ask("POST", f"{paused}/cancel")
        await person.ask("POST", f"{failed}/decision", {"action": "retry"})
        await person.make()
        await daemon.admin.post("/query", json={"text": "x", "plugin": "echo"})
        good = await orchestrator("doctor", "--invariants", "--json", environ=here)
        rows = json.loads(good.out)
        assert good.code == 0, good.out
        assert [row["state"] for row in rows] == ["ok"] * 10 + ["later"] * 2
        await daemon.daemon.rooms.store.write(
            lambda tx: tx.exec_driver_sql("UPDATE commands SET status = 'executing' WHERE status = 'created'") and None
        )
        broken = await orchestrator("doctor", "--invariants", "--json", environ=here)
        assert (broken.code, broken.fault["detail"]) == (1, "I7 broken")
        assert "is executing, and by its events created" in json.loads(broken.out)[6]["detail"]
