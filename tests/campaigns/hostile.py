"""A thousand hostile jobs: each rightly judged, dead in time, and survived by nothing (ABUSE "Time").

A deadline's lateness is taken where a client stands: from the deadline to the answer, which comes after the proof that
all is dead. What the runner itself says of it is told beside.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.testing.daemons import Client
from tests.campaigns import rig
from tests.campaigns.jobs import HOSTILE, WALL_MS, Job
from tests.campaigns.report import Report, percentile

LATENESS_MS = 250
"""At most, p99."""


@dataclass(slots=True)
class Seen:
    """What came of the jobs."""

    wrong: list[str] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    late_inside_ms: list[float] = field(default_factory=list)
    worst: tuple[float, str] = (0.0, "")


async def campaign(jobs: int = 1_000, clients: int = 4, seed: int = 1, lateness_ms: float = LATENESS_MS) -> Report:
    """Send `jobs` of them by so many clients at a time, half to fresh containers and half to cells."""
    seen, began = Seen(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orchestrator-hostile-") as folder:
        async with rig.daemon(Path(folder)) as target:
            rows = _rows(jobs, random.Random(seed))

            async def client(subject: str) -> None:
                for job, isolation in rows:
                    await _attack(target.admin, job, {"isolation": isolation, "subject": subject}, seen)

            await asyncio.gather(*(client(f"client {n}") for n in range(clients)))
            took = time.monotonic() - began
            await target.quiet()
            clean = await rig.execute(target.admin, {"code": "print(6 * 7)"})
    report = Report(f"{jobs} hostile jobs of {len(HOSTILE)} kinds, {clients} at a time, in containers and cells")
    report.nothing("wrong verdicts", seen.wrong)
    report.nothing("processes that outlived their answer", seen.survivors)
    report.at_most("deadline to answer, p99", percentile(seen.late_ms, 0.99), lateness_ms, "ms")
    report.tell("deadline to answer, p50", percentile(seen.late_ms, 0.5), "ms")
    report.tell(f"deadline to answer, worst ({seen.worst[1]})", seen.worst[0], "ms")
    report.tell("deadline to death by the runner's word, p99", percentile(seen.late_inside_ms, 0.99), "ms")
    report.tell("jobs a second", jobs / took)
    report.nothing("a clean job afterwards", [] if clean.json.get("stdout") == "42\n" else [clean.body])
    return report


def _rows(jobs: int, chance: random.Random) -> Iterator[tuple[Job, str]]:
    """Kinds by turns in a new order each time, so that each follows each."""
    kinds = [(job, isolation) for isolation in ("container", "cell") for job in HOSTILE]
    while jobs > 0:
        chance.shuffle(kinds)
        yield from kinds[:jobs]
        jobs -= len(kinds)


async def _attack(client: Client, job: Job, where: dict[str, str], seen: Seen) -> None:
    """Run one and look for survivors. No other job comes into its cell meanwhile: the subject is the client's own."""
    began = time.perf_counter()
    answer = await rig.execute(client, job.body(**where))
    took_ms = (time.perf_counter() - began) * 1e3
    if answer.status != 200:
        seen.wrong.append(f"{job.name}: {answer.status} {answer.body[:200]!r}")
        return
    outcome = answer.json
    uid = job.uid(outcome)
    alive = [] if uid is None else rig.processes_of(uid)
    seen.survivors += [f"{job.name} in a {where['isolation']}: {alive}"] if alive else []
    seen.wrong += [wrong] if (wrong := job.wrong(outcome)) else []
    if "wall_ms" in job.hits:
        used = outcome["usage"]
        late_ms = took_ms - used["queued_ms"] - used["start_ms"] - WALL_MS
        seen.late_ms.append(late_ms)
        seen.late_inside_ms.append(used["wall_ms"] - WALL_MS)
        seen.worst = max(seen.worst, (late_ms, f"{job.name}, {where['isolation']}"))
