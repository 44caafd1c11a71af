"""Commands through `kill -9`: what was acknowledged is not lost, what completed is not done twice (REQUIREMENTS 3.2)."""

import asyncio
import contextlib
import re
from pathlib import Path

import aiohttp
import pytest

from orchestrator.testing.daemons import Client
from tests.acceptance.daemon_process import spawn, started

WAITS = """
import asyncio, pathlib
PLUGIN = {"intents": ["work"], "effects": "EFFECTS"}
HERE = pathlib.Path("FOLDER")
async def handle(request):
    with (HERE / "begun").open("a") as file: file.write("x")
    while not (HERE / "go").exists(): await asyncio.sleep(0.01)
    return len((HERE / "begun").read_text())
"""
POISON = 'PLUGIN = {"intents": ["work"]}\ndef handle(request):\n    import os; os.kill(os.getpid(), 9)\n'
pytestmark = pytest.mark.slow


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    return tmp_path / "state"


def life(state: Path):
    return started(state, "--plugins", str(state.parent / "plugins"))


async def headers(client: Client) -> dict[str, str]:
    me = (await client.get("/v1/me")).json
    return {"x-identity-id": me["identity_id"], "x-context-id": me["contexts"][0]["id"]}


async def begin(client: Client) -> str:
    """A command that has begun to run, as its address."""
    own = {"headers": await headers(client)}
    made = await client.post("/v1/commands", json={"intent": '{"capability": "work"}'}, **own)
    path = made.headers["Location"]
    assert (await client.post(f"{path}/plan", **own)).status == 201
    assert (await client.post(f"{path}/approve", json={"approved": True}, **own)).status == 200
    assert (await client.post(f"{path}/execute", **own)).status == 202
    return str(path)


async def ended(client: Client, path: str):
    own = {"headers": await headers(client)}
    async with asyncio.timeout(20):
        while (told := (await client.get(f"{path}/status", **own)).json)["status"] == "executing":
            await asyncio.sleep(0.02)
    return told


async def until(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("effects", "status"), [("pure", "completed"), ("versioned", "failed")])
async def test_a_step_that_a_crash_cut_off_is_done_again_only_where_that_harms_nobody(
    state: Path, effects, status
) -> None:
    """3.2 "kill -9 mid-plan": a pure one is; of another one a person hears that it may have had effects."""
    source = WAITS.replace("EFFECTS", effects).replace("FOLDER", str(state.parent))
    (state.parent / "plugins" / "work.py").write_text(source)
    async with life(state) as daemon:
        path = await begin(daemon.admin)
        await until(state.parent / "begun")
        daemon.process.kill()
        await daemon.wait()
    (state.parent / "go").touch()
    async with life(state) as daemon:
        told = await ended(daemon.admin, path)
        assert (told["status"], told["open"]) == (status, status == "failed")
        times = len((state.parent / "begun").read_text())
        assert times == (2 if effects == "pure" else 1)
        if effects == "versioned":
            assert "may have had effects" in told["failure"]["error"]
        assert (await daemon.admin.post("/v1/audit/verify")).json["ok"]


async def test_a_plans_history_goes_through_a_crash(state: Path) -> None:
    """R1-23, I7: one execution, told to its end; the attempt that was cut off began once more, and nothing is doubled."""
    source = WAITS.replace("EFFECTS", "pure").replace("FOLDER", str(state.parent))
    (state.parent / "plugins" / "work.py").write_text(source)
    step = {"type": "tool", "name": "work", "description": "", "params": {}}
    body = {"id": "p", "steps": [{**step, "id": "a"}, {**step, "id": "b"}]}
    async with life(state) as daemon:
        own = {"headers": await headers(daemon.admin)}
        path = (await daemon.admin.post("/v1/plans", json=body, **own)).headers["Location"]
        assert (await daemon.admin.post(f"{path}/approve", json={"approved": True}, **own)).status == 200
        assert (await daemon.admin.post(f"{path}/execute", **own)).status == 202
        await until(state.parent / "begun")
        daemon.process.kill()
        await daemon.wait()
    (state.parent / "go").touch()
    async with life(state) as daemon:
        async with asyncio.timeout(20):
            while (told := (await daemon.admin.get(path, **own)).json)["status"] == "executing":
                await asyncio.sleep(0.02)
        assert (told["execution"]["status"], told["execution"]["output"]) == ("completed", 3)
        events = [one["event"] for one in (await daemon.admin.get(f"{path}/replay", **own)).json["items"]]
        assert events == [
            "plan_created", "plan_approved", "execution_started", "step_started", "step_started", "step_completed",
            "step_started", "step_completed", "execution_completed",
        ]  # fmt: skip
        assert (await daemon.admin.get(f"{path}/export", **own)).status == 200


async def test_what_was_changed_while_no_daemon_ran_is_not_gone_on_with(state: Path) -> None:
    """3.2 "approve, then plan or plugin changes": the command fails, holds nothing, and no step of it seems to run."""
    file = state.parent / "plugins" / "work.py"
    file.write_text(WAITS.replace("EFFECTS", "pure").replace("FOLDER", str(state.parent)))
    async with life(state) as daemon:
        path = await begin(daemon.admin)
        await until(state.parent / "begun")
        daemon.process.kill()
        await daemon.wait()
    file.write_text(file.read_text() + "# another version\n")
    async with life(state) as daemon:
        told = await ended(daemon.admin, path)
        assert (told["status"], told["failure"]["error"]) == (
            "failed", "what was approved has changed while no daemon ran",
        )  # fmt: skip
        (step,) = (await daemon.admin.get(f"{path}/plan", headers=await headers(daemon.admin))).json["steps"]
        assert step["status"] == "failed"


async def test_a_step_that_kills_the_daemon_is_poison_after_three_times(state: Path) -> None:
    """3.2 "poison step": the third life that it would end leaves it alone, and everything else goes on."""
    (state.parent / "plugins" / "work.py").write_text(POISON)
    async with life(state) as daemon:
        with contextlib.suppress(aiohttp.ClientError):  # the answer to `execute` may die with the daemon
            await begin(daemon.admin)
        await daemon.wait()
    deaths = 1
    while (told := await _survived(state)) is None:
        deaths += 1
        assert deaths <= 3
    assert (told["status"], deaths) == ("failed", 3)
    assert "poison" in told["failure"]["error"]


async def _survived(state: Path):
    """How the one command stands in a life that did not end by it; None where it did."""
    process = await spawn(state, "--plugins", str(state.parent / "plugins"))
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            if (ready := re.search(rb"ready at (http://\S+) ", line)) is None:
                continue
            async with aiohttp.ClientSession() as session:
                client = Client(session, ready[1].decode(), (state / "admin.key").read_text().strip())
                with contextlib.suppress(aiohttp.ClientError):
                    (row,) = (await client.get("/v1/commands", headers=await headers(client))).json["items"]
                    return await ended(client, f"/v1/commands/{row['id']}")
        return None
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
