"""The command line as a process against a real daemon: answers on stdout, faults on stderr, exit codes (CONTRACT 8)."""

import asyncio
import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.places import ROOT

ECHO = 'PLUGIN = {"keywords": ["echo"]}\ndef handle(request):\n    return {"text": request.text}\n'
Start = Any


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def fault(self) -> dict[str, Any]:
        """The JSON object on stderr, which is all that is there."""
        found = json.loads(self.err)
        assert isinstance(found, dict)
        return found


async def orchestrator(*words: str, environ: dict[str, str] | None = None, stdout: Any = None) -> Done:
    env = {n: v for n, v in os.environ.items() if not n.startswith("ORCHESTRATOR")}
    env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200", **(environ or {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator", *words, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout or asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Done(process.returncode, (out or b"").decode(), err.decode())


def of(running: Any, key: str | None = None) -> dict[str, str]:
    return {"ORCHESTRATOR_URL": running.url, "ORCHESTRATOR_KEY": key or running.admin.key}


async def test_with_json_a_fault_is_one_object_on_stderr_and_the_exit_code_stays(
    start_daemon: Start, tmp_path: Path
) -> None:
    running = await start_daemon({"echo.py": ECHO})
    there = of(running)
    refused = await orchestrator("query", "blorb", "--json", environ=there)
    assert (refused.code, refused.out, refused.fault["code"]) == (1, "", "no_route")
    assert "nearest" in refused.fault
    wrong = await orchestrator("query", "", "--json", environ=there)
    assert (wrong.code, wrong.fault["code"], wrong.fault["errors"][0]["loc"]) == (2, "invalid", ["text"])
    typo = await orchestrator("plugins", "lst", "--json", environ=there)
    assert (typo.code, typo.fault["code"]) == (2, "usage")
    assert "Did you mean 'list'?" in typo.fault["detail"]
    nobody = await orchestrator("plugins", "list", "--json", environ={"ORCHESTRATOR_URL": "http://127.0.0.1:9"})
    assert (nobody.code, nobody.fault["code"]) == (3, "no_daemon")
    config = tmp_path / "bad.toml"
    config.write_text("[api]\nprot = 1\n")
    bad = await orchestrator("config", "check", "--config", str(config), "--json")
    assert (bad.code, bad.fault["code"]) == (2, "bad_configuration")
    assert "did you mean port?" in bad.fault["errors"][0]["msg"]


async def test_every_command_that_answers_knows_json(start_daemon: Start, tmp_path: Path) -> None:
    running = await start_daemon({"echo.py": ECHO})
    config = tmp_path / "good.toml"
    config.write_text("[api]\nport = 1234\n")
    good = ("--config", str(config), "--json")
    assert json.loads((await orchestrator("config", "check", *good)).out) == {"ok": True}
    shown = {row["setting"]: row["value"] for row in json.loads((await orchestrator("config", "show", *good)).out)}
    assert (shown["api.port"], shown["api.host"], shown["api.allowed_hosts"]) == (1234, "127.0.0.1", [])
    assert "[api]" in json.loads((await orchestrator("config", "render", "--json")).out)["toml"]
    env = await orchestrator("env", "--json", environ=of(running))
    assert json.loads(env.out)["ORCHESTRATOR_AUTH"] == f"X-API-Key: {running.admin.key}"


async def test_env_is_for_a_shell_and_prints_all_or_nothing(start_daemon: Start) -> None:
    running = await start_daemon()
    lines = (await orchestrator("env", environ=of(running))).out.splitlines()
    assert [shlex.split(line)[1].partition("=")[0] for line in lines] == [
        f"ORCHESTRATOR_{name}" for name in ("URL", "KEY", "AUTH", "IDENTITY", "CONTEXT")
    ]
    wrong = await orchestrator("env", environ=of(running, "wrong"))
    assert (wrong.code, wrong.out) == (1, "")


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (("keys", "create", "x", "--scope", "root"), {}),
        (("query", ""), {}),
        (("query", "echo", "--params", "[]"), {}),
        (("audit", "list", "--limit", "0"), {}),
        (("plugins", "list"), {"ORCHESTRATOR_URL": "not an address"}),
        (("serve", "--plugins", "/nonexistent"), {}),
    ],
)  # fmt: skip
async def test_wrong_use_exits_2(start_daemon: Start, words: tuple[str, ...], environ: dict[str, str]) -> None:
    running = await start_daemon({"echo.py": ECHO})
    done = await orchestrator(*words, environ=of(running) | environ)
    assert (done.code, done.out) == (2, ""), done.err
    assert "Traceback" not in done.err


async def test_a_key_is_alone_on_stdout_and_its_id_beside_it(start_daemon: Start) -> None:
    running = await start_daemon()
    made = await orchestrator("keys", "create", "ci", "--scope", "query", environ=of(running))
    me = (await running.keyless.with_key(made.out.strip()).get("/v1/me")).json
    assert me["scopes"] == ["query"]
    assert me["key_id"] in made.err


async def test_reloading_what_stays_broken_fails(start_daemon: Start, tmp_path: Path) -> None:
    running = await start_daemon({"bad.py": "import nothing_of_that_name\n"})
    done = await orchestrator("plugins", "reload", "bad", "--json", environ=of(running))
    assert (done.code, json.loads(done.out)["state"], done.fault["code"]) == (1, "broken", "plugin_broken")


async def test_what_cannot_be_printed_is_a_line_and_exit_1(start_daemon: Start) -> None:
    running = await start_daemon({"echo.py": ECHO})
    with Path("/dev/full").open("wb") as full:
        done = await orchestrator("plugins", "list", environ=of(running), stdout=full)
    assert (done.code, done.err) == (1, "error: the answer cannot be written: No space left on device\n")


async def test_help_and_version_need_no_daemon_and_little_of_the_house() -> None:
    """The daemon's own modules stay out: a command that asks a question must not pay for them."""
    assert "orchestrator 0." in (await orchestrator("--version")).out
    probe = (
        "import sys; from orchestrator.cli import main; sys.argv = ['orchestrator', 'plugins', 'list']\n"
        "try: main.main()\nexcept SystemExit: pass\n"
        "heavy = {'aiohttp', 'alembic', 'docker', 'sqlalchemy', 'structlog'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", probe, env={**os.environ, "PYTHONPATH": str(ROOT), "ORCHESTRATOR_URL": "http://127.0.0.1:9"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()


class TestDoctor:
    async def test_a_daemon_that_does_not_run_is_told_as_that(self, tmp_path: Path) -> None:
        done = await orchestrator("doctor", "--state", str(tmp_path / "state"), "--json")
        states = {row["what"]: row["state"] for row in json.loads(done.out)}
        assert states["daemon"] == "not running"
        assert (states["state directory"], states["store"]) == ("ok", "ok")

    async def test_what_the_daemon_says_of_its_parts_is_told(self, start_daemon: Start) -> None:
        running = await start_daemon()
        done = await orchestrator("doctor", "--json", environ=of(running))
        rows = {row["what"]: row for row in json.loads(done.out)}
        assert done.code == 1
        assert rows["daemon"]["state"] == "mend"
        assert "no Docker engine answers" in rows["daemon"]["detail"]
        assert rows["audit"]["state"] == "ok"

    async def test_a_daemon_that_refuses_is_not_well(self, start_daemon: Start) -> None:
        running = await start_daemon()
        running.daemon.rooms.draining = True
        done = await orchestrator("doctor", "--json", environ=of(running))
        rows = {row["what"]: row for row in json.loads(done.out)}
        assert done.code == 1
        assert rows["daemon"]["state"] == "mend"
        assert (rows["audit"]["state"], "(draining)" in rows["audit"]["detail"]) == ("mend", True)


async def test_grants_are_made_listed_and_revoked(start_daemon: Start) -> None:
    """CONTRACT 8: `--json` everywhere, wrong use is 2, what the daemon refuses is 1."""
    there = of(await start_daemon({"echo.py": ECHO}))
    digest = "d" * 64
    made = await orchestrator(
        "grants", "create", "echo@1.0", f"echo@{digest}", "--uses", "3", "--tokens", "9", "--usd-per-use", "0.5",
        "--sandbox", "cell", "--expires-at", "2099-01-01T00:00:00Z", "--json", environ=there,
    )  # fmt: skip
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert told["capabilities"] == [{"name": "echo", "version": "1.0"}, {"name": "echo", "digest": digest}]
    assert (told["uses_left"], told["budget_total"], told["budget_per_use"]) == (3, {"tokens": 9}, {"usd": "0.5"})
    alone = await orchestrator("grants", "create", "echo@1.0", environ=there)
    assert "grants revoke" in alone.err
    listed = json.loads((await orchestrator("grants", "list", "--json", environ=there)).out)
    assert [one["id"] for one in listed][:2] == [alone.out.strip(), told["id"]]
    lines = (await orchestrator("grants", "list", environ=there)).out.splitlines()
    assert lines[1].split("\t")[2] == f"echo@1.0, echo@{digest[:12]}"
    gone = await orchestrator("grants", "revoke", told["id"], "--json", environ=there)
    assert json.loads(gone.out)["revoked_at"] is not None
    for words, code, why in (
        (["create", "echo"], 2, "usage"), (["create", "echo@1", "--uses", "0"], 2, "invalid"),
        (["revoke", "../keys"], 1, "not_found"), (["create"], 2, "usage"),
    ):  # fmt: skip
        refused = await orchestrator("grants", *words, "--json", environ=there)
        assert (refused.code, refused.fault["code"]) == (code, why)


async def test_a_key_is_made_for_another_identity_and_with_a_quota(start_daemon: Start) -> None:
    running = await start_daemon({"echo.py": ECHO})
    service = await running.admin.post("/v1/identities", json={"kind": "service", "name": "ci"})
    words = ["ci", "--scope", "query", "--identity", service.json["id"], "--tokens-per-day", "1", "--json"]
    made = await orchestrator("keys", "create", *words, environ=of(running))
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert (told["identity_id"], told["quota"]) == (service.json["id"], {"tokens": 1, "per": "day"})
    codes = [(await orchestrator("query", "echo x", environ=of(running, told["key"]))).code for _ in range(2)]
    assert codes == [0, 1]


async def test_a_query_that_awaits_approval_is_exit_code_four(start_daemon: Start) -> None:
    """CONTRACT 8."""
    there = of(await start_daemon({"echo.py": ECHO}, governance__ungranted_plugins=["echo"]))
    waits = await orchestrator("query", "echo x", "--json", environ=there)
    assert (waits.code, waits.fault["code"]) == (4, "awaiting_approval")
