"""A plan of ten steps through `kill -9`: before and after each of its commits, and at any moment (REQUIREMENTS 3.2).

One life of the daemon takes up what the one before was killed in, shows that it comes to its end, and begins the next.
"""

import asyncio
import contextlib
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.testing.daemons import NO_ENGINE, Client
from tests.benchmarks import servers
from tests.campaigns.report import Report, percentile

STEPS = 10
RESUME_S = 2.0
PLUGIN = """
import pathlib
PLUGIN = {"intents": ["work"]}
async def handle(request):
    with pathlib.Path(request.params["mark"]).open("a") as file: file.write("x")
"""
_ENDED = "COMMAND.STEP.COMPLETED"
_NEVER = 10**9


@dataclass(slots=True)
class Seen:
    """What came of the plans."""

    kills: int = 0
    faults: list[str] = field(default_factory=list)
    resumed_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Life:
    """One daemon, and who acts on it. `armed` is the file whose presence lets it count its commits."""

    process: asyncio.subprocess.Process
    client: Client
    own: dict[str, str]
    folder: Path

    @property
    def armed(self) -> Path:
        return self.folder / "armed"

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        return await self.client.request(method, f"/v1/commands{path}", headers=self.own, **options)

    async def approved(self) -> str:
        """A command of ten steps that may be executed."""
        marks = self.folder / "marks"
        marks.mkdir(exist_ok=True)
        name = f"plan-{time.monotonic_ns()}"
        steps = [
            {
                "id": f"s{n}", "type": "tool", "name": "work", "description": "work",
                "params": {"mark": str(marks / f"{name}-{n}")},
            }
            for n in range(STEPS)
        ]  # fmt: skip
        made = await self.ask("POST", "", json={"intent": json.dumps({"steps": steps})})
        path = f"/{made.json['id']}"
        assert (await self.ask("POST", f"{path}/plan")).status == 201
        assert (await self.ask("POST", f"{path}/approve", json={"approved": True})).status == 200
        return path

    async def ended(self, path: str) -> str:
        """Where a command is when it does not execute any more; one whose execution nobody acknowledged is begun."""
        async with asyncio.timeout(30):
            while (status := (await self.ask("GET", f"{path}/status")).json["status"]) in ("executing", "approved"):
                if status == "approved":
                    await self.ask("POST", f"{path}/execute")
                await asyncio.sleep(0.01)
        return str(status)


async def campaign(
    stride: int = 1, random_kills: int = 100, seed: int = 1, resume_s: float = RESUME_S
) -> Report:  # fmt: skip
    """Kill before and after every commit (each `stride`-th), and at so many random moments."""
    chance, seen = random.Random(seed), Seen()
    with tempfile.TemporaryDirectory(prefix="orchestrator-kills-") as name:
        folder = Path(name)
        (folder / "plugins").mkdir()
        (folder / "plugins" / "work.py").write_text(PLUGIN)
        under_way: str | None = None
        commits = 0
        for number in count(1, stride):
            reached = False
            for when in ("before", "after"):
                async with life(folder, when, number) as daemon:
                    await _account(daemon, under_way, seen)
                    under_way = await _killed_in(daemon, None)
                    reached |= daemon.process.returncode is not None
            if not reached:
                break
            commits = number
        for _ in range(random_kills):
            async with life(folder, "after", _NEVER) as daemon:
                await _account(daemon, under_way, seen)
                under_way = await _killed_in(daemon, chance.random() * 0.3)
        async with life(folder, "after", _NEVER) as daemon:
            await _account(daemon, under_way, seen)
            verified = (await daemon.client.post("/v1/audit/verify")).json
    report = Report(f"a plan of {STEPS} steps through {seen.kills} times kill -9")
    report.tell("commits of one plan, each a crash point twice", commits)
    report.nothing("lost, done twice, or ended otherwise", seen.faults)
    report.nothing("audit", [] if verified["ok"] else [verified])
    report.at_most("from ready to the end of what was taken up, worst", max(seen.resumed_s, default=0.0), resume_s, "s")
    report.tell("the same, p50", percentile(seen.resumed_s, 0.5), "s")
    return report


@contextlib.asynccontextmanager
async def life(folder: Path, when: str, number: int) -> AsyncIterator[Life]:
    """A daemon that will die at that commit once it is armed; it is killed at the end if it has not."""
    (folder / "armed").unlink(missing_ok=True)
    port = servers.free_port()
    serve = ("serve", "--port", str(port), "--state", str(folder / "state"), "--plugins", str(folder / "plugins"))
    command = ("-m", "tests.campaigns.dying_daemon", str(folder / "armed"), when, str(number), *serve)
    environ = {"ORCHESTRATOR_LOGS__LEVEL": "error", "ORCHESTRATOR_SANDBOX__DOCKER_HOST": NO_ENGINE}
    async with servers.server(*command, port=port, environ=environ) as process, aiohttp.ClientSession() as session:
        key = (folder / "state" / "admin.key").read_text().strip()
        client = Client(session, f"http://127.0.0.1:{port}", key)
        me = (await client.get("/v1/me")).json
        own = {"x-identity-id": me["identity_id"], "x-context-id": me["contexts"][0]["id"]}
        try:
            yield Life(process, client, own, folder)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _killed_in(daemon: Life, after_s: float | None) -> str:
    """Begin a command and have the daemon killed in it: where it is armed for, or after so many seconds."""
    path = await daemon.approved()
    daemon.armed.touch()
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # the answer may die with the daemon
        await daemon.ask("POST", f"{path}/execute")
    if after_s is not None:
        await asyncio.sleep(after_s)
        daemon.process.kill()
        await daemon.process.wait()
        return path
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        await daemon.ended(path)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await daemon.process.wait()
    return path


async def _account(daemon: Life, path: str | None, seen: Seen) -> None:
    """Show that what an earlier life was killed in comes to its end, each step with one outcome and none done anew."""
    if path is None:
        return
    began = time.monotonic()
    status = await daemon.ended(path)
    seen.resumed_s.append(time.monotonic() - began)
    seen.kills += 1
    rows = (await daemon.client.get(f"/v1/audit?subject={path[1:]}&limit=1000")).json["items"][::-1]
    begun: Counter[int] = Counter()
    done: set[int] = set()
    for row in rows:
        index = (row["data"].get("metadata") or {}).get("stepIndex")
        if row["action"] == "command.step_started":
            begun[index] += 1
            seen.faults += [f"{path}: step {index} begun when it had completed"] if index in done else []
        elif row["action"] == _ENDED:
            seen.faults += [f"{path}: step {index} completed twice"] if index in done else []
            done.add(index)
    if (status, len(done)) != ("completed", STEPS):
        seen.faults.append(f"{path}: {status} with {len(done)} steps completed")
    plan = (await daemon.ask("GET", f"{path}/plan")).json["steps"]
    for step in plan:
        runs = os.path.getsize(step["params"]["mark"])
        if runs > begun[step["step_index"]]:
            seen.faults.append(
                f"{path}: step {step['step_index']} ran {runs} times in {begun[step['step_index']]} attempts"
            )
