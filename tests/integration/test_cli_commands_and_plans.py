"""`orchestrator commands` and `orchestrator plans`: shown before it is approved, exit codes that programs can read."""

import asyncio
import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import app
from orchestrator.config.places import ROOT
from tests.integration.test_http_command_line import Done, of, orchestrator
from tests.integration.test_http_plans import TWO, WORKERS, plan, step

Start = Any


@pytest.fixture
async def there(start_daemon: Start, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = of(await start_daemon({"workers.py": WORKERS}))
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


async def answered(_: dict[str, str], *words: str) -> Any:
    """What a command that succeeds prints as JSON; in this process, which spares it a second of imports."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        await asyncio.to_thread(app, [*words, "--json"], standalone_mode=False)
    return json.loads(out.getvalue().splitlines()[-1])


def given(tmp_path: Path, body: object) -> str:
    (tmp_path / "plan.json").write_text(json.dumps(body))
    return str(tmp_path / "plan.json")


async def test_a_command_is_made_shown_approved_and_done(there: dict[str, str]) -> None:
    """CONTRACT 8: exit 4 where the approval is missing; nobody is there to ask, so `--yes` has to say so."""
    made = await orchestrator("commands", "create", "shout hello", environ=there)
    assert made.code == 0, made.err
    id_ = made.out.split(" ")[0]
    for told in ("awaiting_approval in personal, version 1", "1. step_1: workers by workers, pure (pending)",
                 '{"text": "shout hello"}', "estimated cost: 1 tokens, $0.00", "the approval expires at", "digest "):  # fmt: skip
        assert told in made.out, made.out
    assert f"orchestrator commands approve {id_}" in made.err
    early = await orchestrator("commands", "execute", id_, "--json", environ=there)
    assert (early.code, early.out, early.fault["state"]) == (4, "", "awaiting_approval")
    unasked = await orchestrator("commands", "approve", id_, environ=there)
    assert (unasked.code, "say --yes" in unasked.err, "digest " in unasked.out) == (2, True, True)
    assert (await answered(there, "commands", "approve", id_, "--yes", "--notes", "go"))["status"] == "approved"
    done = await orchestrator("commands", "execute", id_, environ=there)
    assert (done.code, "(completed)" in done.out) == (0, True), done.err
    assert [row["id"] for row in await answered(there, "commands", "list")] == [id_]
    assert await answered(there, "commands", "list", "--open") == []
    ended = await orchestrator("commands", "cancel", id_, "--json", environ=there)
    assert (ended.code, ended.fault["code"]) == (1, "illegal_transition")


async def test_what_fails_exits_1_and_a_person_decides(there: dict[str, str]) -> None:
    """R4-37."""
    made = await answered(there, "commands", "create", '{"capability": "break"}')
    await answered(there, "commands", "approve", made["id"], "--yes")
    failed = await orchestrator("commands", "execute", made["id"], "--json", environ=there)
    assert (failed.code, failed.fault["code"], json.loads(failed.out)["status"]) == (1, "failed", "failed")
    decided = await answered(there, "commands", "decide", made["id"], "retry")
    assert decided["status"] == "awaiting_approval"
    assert (await answered(there, "commands", "plan", made["id"]))["plan"]["plan_version"] == 3
    assert (await answered(there, "commands", "reject", made["id"], "--notes", "no"))["decision"] == "rejected"
    wrong = await orchestrator("commands", "decide", made["id"], "undo", "--json", environ=there)
    assert (wrong.code, wrong.fault["code"]) == (2, "usage")


async def test_a_plan_from_a_file_is_approved_done_and_read(there: dict[str, str], tmp_path: Path) -> None:
    """R1-24 to R1-28 on the command line."""
    made = await orchestrator("plans", "create", given(tmp_path, TWO), environ=there)
    assert (made.code, "2. step_2: twice by workers, pure, after step_1 (pending)" in made.out) == (0, True), made.err
    early = await orchestrator("plans", "execute", "plan_abc123", environ=there)
    assert early.code == 4
    assert (await answered(there, "plans", "approve", "plan_abc123", "--yes"))["status"] == "approved"
    execution = await answered(there, "plans", "execute", "plan_abc123", "--context", '{"userId": "1"}')
    assert (execution["status"], execution["output"]) == ("completed", {"text": "HELLOHELLO"})
    line = await orchestrator("plans", "timeline", "plan_abc123", environ=there)
    assert [row.split("\t")[1] for row in line.out.splitlines()][0::7] == ["plan_created", "execution_completed"]
    assert (await answered(there, "plans", "stats", "plan_abc123"))["eventCounts"]["step_started"] == 2
    assert len(await answered(there, "plans", "replay", "plan_abc123")) == 8
    export = await orchestrator("plans", "export", "plan_abc123", environ=there)
    (tmp_path / "history.json").write_text(export.out.replace("plan_abc123", "copy"))
    taken = await answered(there, "plans", "import", str(tmp_path / "history.json"))
    assert (taken["status"], taken["execution"]["output"]) == ("imported", {"text": "HELLOHELLO"})
    assert [one["id"] for one in await answered(there, "plans", "list")] == ["copy", "plan_abc123"]


async def test_a_plan_that_failed_is_planned_anew(there: dict[str, str], tmp_path: Path) -> None:
    """R1-31 on the command line."""
    await answered(there, "plans", "create", given(tmp_path, plan(step("one", "shout"), step("bad", "break"), id="p")))
    await answered(there, "plans", "approve", "p", "--yes")
    failed = await orchestrator("plans", "execute", "p", environ=there)
    assert (failed.code, "it is failed" in failed.err) == (1, True)
    anew = await answered(there, "plans", "replan", "p")
    assert (await answered(there, "plans", "reject", anew["id"]))["status"] == "cancelled"


async def test_a_goal_is_planned_and_its_faults_told(there: dict[str, str], tmp_path: Path) -> None:
    made = await answered(there, "plans", "goal", "be heard", "--criterion", "shout", "--context", '{"a": 1}')
    assert [one["name"] for one in made["steps"]] == ["workers"]
    lost = await orchestrator("plans", "goal", "dance", "--json", environ=there)
    assert (lost.code, lost.fault["code"]) == (1, "no_candidate")
    faulty = plan(step("a", "nobody"), step("a", "shout"))
    refused = await orchestrator("plans", "create", given(tmp_path, faulty), "--json", environ=there)
    assert (refused.fault["code"], len(refused.fault["errors"])) == ("plan_invalid", 2)
    for words in (
        ("plans", "create", "/nonexistent"),
        ("plans", "goal", "x", "--context", "[]"),
        ("plans", "create", "-"),
    ):
        wrong = await orchestrator(*words, "--json", environ=there)
        assert (wrong.code, wrong.fault["code"]) == (2, "usage")


@pytest.mark.parametrize(("typed", "code", "status"), [("y\n", 0, "approved"), ("n\n", 1, "awaiting_approval")])
async def test_on_a_terminal_a_person_is_asked(there: dict[str, str], typed: str, code: int, status: str) -> None:
    """CONTRACT 8: what is approved is what was shown; words that steer a terminal are shown, not obeyed."""
    made = await answered(
        there, "commands", "create", '{"capability": "shout", "params": {"text": "\\u001b[2Jhi\\u009b"}}'
    )
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "commands", "approve", made["id"]],
            env={**os.environ, **there, "PYTHONPATH": str(ROOT)}, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
        )  # fmt: skip
        os.write(ours, typed.encode())
        out, _ = await asyncio.to_thread(process.communicate, timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (process.returncode, b"\x1b" in out, b"digest " in out) == (code, False, True)
    assert (await answered(there, "commands", "show", made["id"]))["status"] == status


@pytest.mark.parametrize("group", ["commands", "plans"])
async def test_help_begins_with_examples(group: str) -> None:
    """CONTRACT 8, and a suggestion for a typo."""
    told: Done = await orchestrator(group, "--help")
    assert told.out.index("Examples") < told.out.index("list")
    typo = await orchestrator(group, "aprove", "x")
    assert (typo.code, "Did you mean 'approve'" in typo.err) == (2, True)
