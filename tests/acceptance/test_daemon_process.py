"""The daemon as a process: start, refusal to start, drain, reload, and death in the middle of everything."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.testing.daemons import Client
from tests.acceptance.daemon_process import spawn, started
from tests.own_postgres import Server, without_password

SLOW = """
import asyncio
PLUGIN = {"keywords": ["slow"]}
async def handle(request):
    await asyncio.sleep(float(request.text.split()[-1]))
    return "done"
"""
ECHO = 'PLUGIN = {"keywords": ["echo"]}\nasync def handle(request):\n    return request.text\n'


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "slow.py").write_text(SLOW)
    (folder / "echo.py").write_text(ECHO)
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def test_the_first_start_makes_the_operator_and_its_last_line_says_where(state: Path, plugins: Path) -> None:
    """CONTRACT 0, R2-02."""
    async with started(state, "--plugins", str(plugins)) as daemon:
        assert daemon.lines[-1] == f"orchestrator is ready at {daemon.url} (admin key in {state / 'admin.key'})\n"
        assert daemon.url.startswith("http://127.0.0.1:")
        assert (state / "admin.key").read_text().count("\n") == 1
        assert (state / "admin.key").stat().st_mode & 0o777 == 0o600
        me = (await daemon.admin.get("/v1/me")).json
        assert (me["kind"], me["scopes"], [c["sphere"] for c in me["contexts"]]) == ("person", ["admin"], ["personal"])
        assert any("plugin echo" in line and "approved by its file" in line for line in daemon.lines)
        assert any("default grant" in line for line in daemon.lines)


async def test_a_second_start_keeps_operator_and_key(state: Path) -> None:
    seen = []
    for _ in range(2):
        async with started(state) as daemon:
            seen.append(((await daemon.admin.get("/v1/me")).json["identity_id"], (state / "admin.key").read_text()))
            daemon.process.terminate()
            assert await daemon.wait() == 0
    assert seen[0] == seen[1]


async def test_two_daemons_never_share_a_state_directory(state: Path) -> None:
    """R0-03."""
    async with started(state) as daemon:
        second = await spawn(state)
        _, err = await second.communicate()
        assert second.returncode == 1
        assert f"in use by another daemon (process {daemon.process.pid})" in err.decode().replace("\n", " ")


async def test_all_faults_of_a_configuration_stop_the_start_at_once(state: Path, tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text('[api]\nprot = 1\nhost = "0.0.0.0"\n')
    process = await spawn(state, "--config", str(config), environ={"ORCHESTRATOR_STORAGE__READERS": "none"})
    _, err = await process.communicate()
    told = err.decode().replace("\n", " ")
    assert process.returncode == 2
    assert f"{config}:2: api.prot: there is no such setting; did you mean port?" in told
    assert "environment ORCHESTRATOR_STORAGE__READERS: storage.readers" in told
    assert not state.exists()


async def test_a_taken_port_is_said_and_nothing_is_left(state: Path, tmp_path: Path) -> None:
    async with started(state) as daemon:
        port = daemon.url.rpartition(":")[2]
        other = await spawn(tmp_path / "other", "--port", port)
        _, err = await other.communicate()
        assert other.returncode == 1
        assert "Address already in use" in err.decode()
        assert "Traceback" not in err.decode()


async def test_sigterm_drains_what_runs_is_answered_and_nothing_new_is_taken(state: Path, plugins: Path) -> None:
    """CONTRACT 0."""
    async with started(state, "--plugins", str(plugins)) as daemon:
        async with asyncio.TaskGroup() as group:
            under_way = group.create_task(daemon.keyless.post("/query", json={"text": "slow 1.5"}))
            await _until_routed(daemon.keyless)
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.send_signal(signal.SIGTERM)  # within a second: the same one
        assert (under_way.result().status, under_way.result().json["response"]) == (200, "done")
        assert await daemon.wait() == 0
    rows = sqlite3.connect(state / "orchestrator.db")
    assert rows.execute("SELECT action FROM audit ORDER BY seq DESC LIMIT 1").fetchone() == ("daemon.stopped",)
    rows.close()


async def test_while_it_drains_the_door_is_open_and_says_so(state: Path, plugins: Path) -> None:
    """CONTRACT 1: `/readyz` is 503 and new work `draining` until what runs has ended, on new connections as well."""
    async with started(state, "--plugins", str(plugins)) as daemon:
        async with asyncio.TaskGroup() as group:
            under_way = group.create_task(daemon.keyless.post("/query", json={"text": "slow 2"}))
            await _until_routed(daemon.keyless)
            daemon.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(2):
                while (await daemon.keyless.get("/readyz")).status == 200:
                    await asyncio.sleep(0)
            ready = await daemon.keyless.get("/readyz", headers={"Connection": "close"})
            refused = await daemon.keyless.post("/query", json={"text": "echo"}, headers={"Connection": "close"})
            alive = await daemon.keyless.get("/healthz", headers={"Connection": "close"})
            assert not under_way.done()
        assert (ready.status, ready.json["status"]) == (503, "draining")
        assert (refused.status, refused.json["code"]) == (503, "draining")
        assert alive.status == 200
        assert under_way.result().json["response"] == "done"
        assert await daemon.wait() == 0


async def test_a_drain_takes_no_longer_than_it_may(state: Path, plugins: Path) -> None:
    limits = {"ORCHESTRATOR_API__SHUTDOWN_MS": "300"}
    async with started(state, "--plugins", str(plugins), environ=limits) as daemon:
        asking = asyncio.get_running_loop().create_task(daemon.keyless.post("/query", json={"text": "slow 60"}))
        await _until_routed(daemon.keyless)
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.wait(15) == 0
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_later_signal_ends_at_once(state: Path, plugins: Path) -> None:
    """CONTRACT 0."""
    async with started(state, "--plugins", str(plugins)) as daemon:
        asking = asyncio.get_running_loop().create_task(daemon.keyless.post("/query", json={"text": "slow 20"}))
        await _until_routed(daemon.keyless)
        daemon.process.send_signal(signal.SIGINT)
        await asyncio.sleep(1.2)
        daemon.process.send_signal(signal.SIGINT)
        assert await daemon.wait(5) == 128 + signal.SIGINT
        await asyncio.gather(asking, return_exceptions=True)


async def test_sighup_takes_good_settings_and_leaves_bad_ones(state: Path, plugins: Path, tmp_path: Path) -> None:
    config = tmp_path / "o.toml"
    config.write_text("")
    async with started(state, "--plugins", str(plugins), "--config", str(config)) as daemon:
        ask = {"text": "echo zebra"}
        assert (await daemon.keyless.post("/query", json=ask)).status == 200
        config.write_text('[routing.denied.animals]\nkeywords = ["zebra"]\n')
        daemon.process.send_signal(signal.SIGHUP)
        assert await _outcome_of_reload(daemon.admin, 1) == "ok"
        assert (await daemon.keyless.post("/query", json=ask)).status == 403
        config.write_text("[routing]\nnear_misses = -1\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert await _outcome_of_reload(daemon.admin, 2) == "refused"
        assert (await daemon.keyless.post("/query", json=ask)).status == 403


@dataclass(frozen=True)
class Base:
    """What a daemon is told of its database, and how somebody else looks into that."""

    environ: dict[str, str]
    rows: Callable[[str], Awaitable[list[tuple[object, ...]]]]


@pytest.fixture(params=["sqlite", "postgres"])
async def base(request: pytest.FixtureRequest, state: Path) -> Base:
    if request.param == "sqlite":

        async def rows_of_file(statement: str) -> list[tuple[object, ...]]:
            with contextlib.closing(sqlite3.connect(state / "orchestrator.db")) as connection:
                return connection.execute(statement).fetchall()

        return Base({}, rows_of_file)
    server: Server = request.getfixturevalue("postgres_server")
    database = await server.new_database()

    async def rows_of_server(statement: str) -> list[tuple[object, ...]]:
        connection = await server.connect(database)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return Base({"ORCHESTRATOR_STORAGE__URL": server.url(database)}, rows_of_server)


async def test_two_daemons_with_states_of_their_own_never_share_a_database(
    state: Path, tmp_path: Path, postgres_server: Server
) -> None:
    """R0-03. Nothing that either says has the password in it."""
    environ = {"ORCHESTRATOR_STORAGE__URL": postgres_server.url(await postgres_server.new_database())}
    environ["ORCHESTRATOR_STORAGE__BUSY_TIMEOUT_MS"] = "200"
    async with started(state, environ=environ) as daemon:
        ready = (await daemon.keyless.get("/readyz")).json
        assert ready["checks"]["store"]["status"] == "ok"
        second = await spawn(tmp_path / "other", environ=environ)
        out, err = await second.communicate()
        assert second.returncode == 1
        told = " ".join(err.decode().split())
        assert f"the database is in use by another daemon (process {daemon.process.pid})" in told
        assert "Traceback" not in told
        assert without_password(out.decode() + told + "".join(daemon.lines))
        assert not (state / "orchestrator.db").exists()


@pytest.mark.slow
async def test_no_acknowledged_row_is_lost_by_a_kill(state: Path, plugins: Path, base: Base) -> None:
    """Ten times `kill -9` under the load of eight clients: every answered query is in the audit, and the chain holds."""
    acknowledged: set[str] = set()
    for _ in range(10):
        async with started(state, "--plugins", str(plugins), environ=base.environ) as daemon:

            async def ask() -> None:
                for n in range(10_000):
                    try:
                        answer = await daemon.keyless.post("/query", json={"text": f"echo {n}"})
                    except OSError:
                        return
                    except Exception as fault:
                        if type(fault).__module__.startswith("aiohttp"):
                            return
                        raise
                    acknowledged.add(answer.json["id"])

            enough = len(acknowledged) + 40
            asking = [asyncio.get_running_loop().create_task(ask()) for _ in range(8)]
            while len(acknowledged) < enough:
                await asyncio.sleep(0)
            daemon.process.kill()
            await asyncio.gather(*asking)
    async with started(state, "--plugins", str(plugins), environ=base.environ) as daemon:
        verdict = (await daemon.admin.post("/v1/audit/verify")).json
        assert verdict["ok"], verdict
        one = acknowledged.pop()
        assert (await daemon.keyless.get(f"/query/{one}")).json["id"] == one
        acknowledged.add(one)
    kept = {row[0] for row in await base.rows("SELECT subject FROM audit WHERE action = 'query.completed'")}
    assert acknowledged <= kept


@pytest.mark.engine
async def test_of_an_execution_that_a_crash_took_it_is_told_who_allowed_it_and_that_it_may_have_run(
    state: Path,
) -> None:
    """R0-03, R4-43: the entry of its end stands on the same permission as that of its start."""
    there = {"ORCHESTRATOR_SANDBOX__DOCKER_HOST": os.environ.get("DOCKER_HOST", "")}
    path = "/v1/sandbox/executions"
    async with started(state, environ=there) as daemon:
        body = {"code": "while True: pass", "limits": {"wall_ms": 60_000}, "subject": "somebody"}
        answer = await daemon.admin.post(path, json=body, headers={"Prefer": "respond-async"})
        assert answer.status == 202, answer.body
        daemon.process.kill()
        await daemon.wait()
    async with started(state, environ=there) as daemon:
        told = (await daemon.admin.get(f"{path}/{answer.json['id']}")).json
        assert (told["status"], told["subject"], told["language"]) == ("infra", "somebody", "python")
        assert "may have run" in told["reason"]
        listed = (await daemon.admin.get(path)).json["items"][0]
        assert listed == {name: value for name, value in told.items() if name in listed}
        assert {"exit_code", "signal", "usage", "sandbox"} <= set(listed)
        rows = (await daemon.admin.get(f"/v1/audit?subject={answer.json['id']}")).json["items"]
        end, start = rows
        assert (start["action"], end["action"], end["outcome"]) == ("sandbox.started", "sandbox.completed", "infra")
        assert end["approval_id"] == start["approval_id"] is not None
        assert end["data"]["approved_by"] == start["data"]["approved_by"]


async def test_refusals_before_a_key_are_one_row_a_peer_and_minute(state: Path) -> None:
    """CONTRACT 1."""
    async with started(state) as daemon:
        for _ in range(20):
            await daemon.keyless.get("/v1/me")
        daemon.process.terminate()
        await daemon.wait()
    rows = sqlite3.connect(state / "orchestrator.db")
    found = [json.loads(r[0]) for r in rows.execute("SELECT data FROM audit WHERE action = 'request.refused'")]
    rows.close()
    assert sum(f["counts"]["key_required"] for f in found) == 20
    assert len(found) <= 2
    assert {f["peer"] for f in found} == {"127.0.0.1"}


async def _until_routed(client: Client) -> None:
    """Until a query has set out for its plugin."""
    async with asyncio.timeout(10):
        url = client.url + "/v1/events?topic=query.routed"
        async with client.session.get(url, headers={"Last-Event-ID": "0"}) as stream:
            async for line in stream.content:
                if line.startswith(b"event: query.routed"):
                    return


async def _outcome_of_reload(admin: Client, which: int) -> str:
    async with asyncio.timeout(10):
        while True:
            rows = (await admin.get("/v1/audit?limit=1000")).json["items"]
            found = [row["outcome"] for row in rows if row["action"] == "config.reloaded"]
            if len(found) >= which:
                return str(found[0])
            await asyncio.sleep(0.02)
