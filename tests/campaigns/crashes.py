"""A thousand jobs and twenty times `kill -9` of the daemon: nothing is left, nothing acknowledged is lost (R2-17)."""

import asyncio
import random
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp

from orchestrator.testing.daemons import Client
from tests.campaigns import rig
from tests.campaigns.jobs import FRIENDLY, HOSTILE
from tests.campaigns.report import Report
from tests.campaigns.traces import Traces, following

DEATH_S = 2.0
"""How long after the daemon its jobs may live: each runner ends with its stream, and the kernel ends the rest."""
_UNDER_WAY = ("queued", "running")
_SETTINGS = {"sandbox__cell_idle_s": 1, "sandbox__armed": 2, "sandbox__armed_most": 2}
"""A pool that does not grow with demand, each of whose workers has a descriptor."""


@dataclass(slots=True)
class Seen:
    """What came of the jobs; `told` are verdicts that a client has in hand, `taken` executions that were accepted."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    death_s: list[float] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)


async def campaign(jobs: int = 1_000, kills: int = 20, clients: int = 8, seed: int = 1) -> Report:
    """Spread so many jobs over the lives of a daemon that is killed so often, and over one that ends in order."""
    chance, seen = random.Random(seed), Seen()
    with tempfile.TemporaryDirectory(prefix="orchestrator-crashes-") as name, following() as traces:
        folder = Path(name)
        usual: set[str] = set()
        for life in range(kills):
            async with rig.daemon(folder, **_SETTINGS) as target:
                usual = usual or {*_files(folder), "state/audit.anchors"}  # the first anchor comes with time
                await _account(target.admin, seen)
                await _work(target, jobs * (life + 1) // (kills + 1), clients, chance, seen, kill=True)
            await _watch_death(seen)
        async with rig.daemon(folder, **_SETTINGS) as target:
            await _account(target.admin, seen)
            await _work(target, (seen.answered + jobs) // 2, clients, chance, seen, kill=False)
            await target.quiet()
            before = target.descriptors()
            await _work(target, jobs, clients, chance, seen, kill=False)
            await target.quiet()
            more = target.descriptors() - before
            chain = (await target.admin.post("/v1/audit/verify")).json
        report = Report(f"{seen.answered} jobs answered, {kills} times kill -9, {clients} clients")
        report.nothing("wrong verdicts", seen.wrong)
        report.nothing(f"processes {DEATH_S:g} s after a kill", seen.survivors)
        report.tell("the last process after a kill, worst", max(seen.death_s, default=0.0), "s")
        report.nothing("breaks in the audit's chain", [] if chain["ok"] else [chain])
        report.at_most("descriptors more at rest after more jobs", more, 0)
        _tell_traces(report, traces, (folder / "state/daemon.id").read_text().strip())
        report.nothing("temporary files, files of the state", set(_files(folder)) - usual)
        report.nothing("processes under the jobs' ids", rig.processes_of_jobs())
    return report


def _tell_traces(report: Report, traces: Traces, daemon: str) -> None:
    report.tell("containers that were made", len(traces.made(daemon)))
    for kind, left in traces.left(daemon).items():
        report.nothing(kind, left)


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in rig.paths(folder)]


async def _work(target: rig.Target, until: int, clients: int, chance: random.Random, seen: Seen, *, kill: bool) -> None:
    """Send jobs until so many have been answered in all; then perhaps kill the daemon, with other jobs under way."""
    numbers = count()

    async def client() -> None:
        while seen.answered < until and target.process.returncode is None:
            with suppress(aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
                await _send(target.admin, next(numbers), chance, seen)
        if kill and target.process.returncode is None:
            target.process.kill()

    await asyncio.gather(*(client() for _ in range(clients)))
    if kill:
        await target.process.wait()


async def _send(client: Client, number: int, chance: random.Random, seen: Seen) -> None:
    """One job; every fourth is not waited for."""
    job = chance.choice([*HOSTILE, *FRIENDLY])
    body = job.body(isolation=chance.choice(["container", "cell"]))
    if number % 4 == 3:
        answer = await rig.execute(client, body, headers={"Prefer": "respond-async"})
        seen.taken.add(answer.json["id"])
    else:
        answer = await rig.execute(client, body)
        if answer.status != 200:
            seen.wrong.append(f"{job.name}: {answer.status} {answer.body[:200]!r}")
        else:
            seen.told[answer.json["id"]] = answer.json["status"]
            seen.wrong += [wrong] if (wrong := job.wrong(answer.json)) else []
    seen.answered += 1


async def _account(client: Client, seen: Seen) -> None:
    """After a kill: what a client was told stands, and what was accepted has come to an end."""
    for execution_id, status in seen.told.items():
        found = (await client.get(f"{rig.PATH}/{execution_id}")).json
        if found.get("status") != status:
            seen.wrong.append(f"{execution_id} was {status}, and is {found} in the next life")
    for execution_id in seen.taken:
        found = (await client.get(f"{rig.PATH}/{execution_id}")).json
        if found.get("status") in (None, *_UNDER_WAY):
            seen.wrong.append(f"{execution_id} was accepted, and is {found} in the next life")
    seen.told.clear()
    seen.taken.clear()


async def _watch_death(seen: Seen) -> None:
    """Wait for the last process of the dead daemon's jobs."""
    began = time.monotonic()
    while (left := rig.processes_of_jobs()) and time.monotonic() - began < DEATH_S:
        await asyncio.sleep(0.02)
    seen.death_s.append(time.monotonic() - began)
    seen.survivors += [f"{len(left)} processes"] if left else []
