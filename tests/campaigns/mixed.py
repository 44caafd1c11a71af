"""Many clients of several keys, all kinds of jobs at once: right verdicts, no 5xx, flat memory, fair shares (DESIGN 4).

One key has as many clients as all others together, and gets no more for it.
"""

import asyncio
import base64
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from orchestrator.testing.daemons import Answered, Client
from tests.campaigns import rig
from tests.campaigns.jobs import FRIENDLY, HOSTILE, Job
from tests.campaigns.report import Report

SHARE = 0.2
"""How far a key's share may be from an equal one."""
GROWTH_BYTES = 10 * 10**6
"""How much larger the daemon may be in the last fifth of the time than in the second."""
KEYS = 4
PATIENCE_S = 120.0
FOREVER = "print('begun', flush=True)\nwhile True: pass"
_UNDER_WAY = ("queued", "running")


@dataclass(slots=True)
class Seen:
    """What came of all requests; `done` counts executions by key."""

    wrong: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    refused: int = 0
    done: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    resident: list[int] = field(default_factory=list)


class Person:
    """One client of one key, who does one thing after another."""

    def __init__(self, client: Client, key: int, seen: Seen, chance: random.Random) -> None:
        self._client = client
        self._key = key
        self._seen = seen
        self._chance = chance
        self._ways: dict[str, tuple[int, Callable[[], Awaitable[str]]]] = {
            "awaited": (12, self._awaited),
            "streamed": (3, self._streamed),
            "waited for elsewhere": (3, self._elsewhere),
            "cases": (2, self._cases),
            "artifacts": (2, self._artifacts),
            "cancelled": (2, self._cancelled),
            "left": (1, self._left),
            "a session": (1, self._session),
            "invalid": (1, self._invalid),
        }

    async def go_on_until(self, end: float) -> None:
        """Do things of all kinds until that time."""
        names = list(self._ways)
        weights = [weight for weight, _ in self._ways.values()]
        while time.monotonic() < end:
            name = self._chance.choices(names, weights)[0]
            try:
                async with asyncio.timeout(PATIENCE_S):
                    wrong = await self._ways[name][1]()
            except Refused:
                self._seen.refused += 1
                continue
            except (TimeoutError, aiohttp.ClientError, KeyError, ValueError, TypeError) as fault:
                wrong = f"{type(fault).__name__} {fault}"
            self._seen.wrong += [f"{name}: {wrong}"] if wrong else []
            self._seen.kinds[name] += 1
            self._seen.done[self._key] += name != "invalid" and time.monotonic() < end

    def _job(self) -> tuple[Job, dict[str, str]]:
        """A job, and where it runs: half in cells, of subjects that few share."""
        job = self._chance.choice([*HOSTILE, *FRIENDLY, *FRIENDLY])
        where = {"isolation": "container"}
        if self._chance.random() < 0.5:
            where = {"isolation": "cell", "subject": f"subject {self._chance.randrange(2)}"}
        return job, where

    async def _ask(self, method: str, path: str, wanted: int = 200, **options: object) -> Answered:
        answer = await self._client.request(method, path, **options)
        if answer.status == 429:
            raise Refused
        if answer.status != wanted:
            self._seen.faults += [f"{answer.status} {answer.body[:200]!r}"] if answer.status >= 500 else []
            raise ValueError(f"{method} {path}: {answer.status} {answer.body[:200]!r}")
        return answer

    async def _awaited(self) -> str:
        job, where = self._job()
        return job.wrong((await self._ask("POST", rig.PATH, json=job.body(**where))).json)

    async def _streamed(self) -> str:
        job, where = self._job()
        answer = await self._ask("POST", f"{rig.PATH}?stream=sse", json=job.body(**where))
        frames = list(rig.events(answer.body))
        if not frames or frames[-1][0] != "result":
            return f"{job.name}: a stream without a result: {answer.body[-200:]!r}"
        outcome = frames[-1][1]
        pieces = b"".join(rig.piece(data) for event, data in frames if event == "stdout")
        whole = outcome["stdout"]
        whole = base64.b64decode(whole) if outcome["encoding"] == "base64" else whole.encode()
        if pieces != whole:
            return f"{job.name}: {len(pieces)} bytes streamed, {len(whole)} in the result"
        return job.wrong(outcome)

    async def _elsewhere(self) -> str:
        job, where = self._job()
        return job.wrong(await self._ended(await self._begun(job.body(**where))))

    async def _begun(self, body: dict[str, object]) -> str:
        """The address of an execution that was accepted."""
        answer = await self._ask("POST", rig.PATH, 202, json=body, headers={"Prefer": "respond-async"})
        return answer.headers["Location"]

    async def _ended(self, location: str) -> dict[str, object]:
        while (answer := (await self._ask("GET", location)).json)["status"] in _UNDER_WAY:
            await asyncio.sleep(0.2)
        return answer

    async def _cases(self) -> str:
        cases = [{"stdin": "2", "expected_stdout": "4\n"}, {"stdin": "3", "expected_stdout": "7\n"}, {"stdin": "x"}]
        answer = (await self._ask("POST", rig.PATH, json={"code": "print(int(input()) * 2)", "cases": cases})).json
        told = [(case["status"], case.get("passed")) for case in answer["cases"]]
        return "" if told == [("ok", True), ("ok", False), ("error", None)] else str(told)

    async def _artifacts(self) -> str:
        body = {"code": "import os\nos.mkdir('d'); open('d/a.txt', 'w').write('kept')", "artifacts": ["d/*.txt"]}
        answer = (await self._ask("POST", rig.PATH, json=body)).json
        found = {path: base64.b64decode(told["base64"]) for path, told in answer["artifacts"].items()}
        return "" if found == {"d/a.txt": b"kept"} else f"{found} {answer['reason']}"

    async def _cancelled(self) -> str:
        location = await self._begun({"code": FOREVER})
        await asyncio.sleep(self._chance.random())
        status = (await self._ask("DELETE", location)).json["status"]
        return "" if status in ("cancelled", "timeout") else status

    async def _left(self) -> str:
        """Go away at some moment before the answer; the program goes, too."""
        with suppress(TimeoutError):
            gone = aiohttp.ClientTimeout(0.05 + self._chance.random())
            await self._ask("POST", rig.PATH, json={"code": FOREVER}, timeout=gone)
        return ""

    async def _session(self) -> str:
        answer = await self._ask("POST", "/v1/sandbox/sessions", 201, json={"ttl_s": 60})
        at = answer.headers["Location"]
        try:
            await self._ask("POST", f"{at}/executions", json={"code": "x = 6"})
            outcome = (await self._ask("POST", f"{at}/executions", json={"code": "x * 7"})).json
        finally:
            await self._ask("DELETE", at)
        return "" if (outcome["status"], outcome["value"]) == ("ok", "42") else f"{outcome['status']} {outcome}"

    async def _invalid(self) -> str:
        await self._ask("POST", rig.PATH, 422, json={"code": "", "limits": {"pids": 10**6}})
        return ""


class Refused(Exception):
    """Too much waits already (429): the client tries something else."""


async def campaign(
    seconds: float = 300.0, clients: int = 64, seed: int = 1, share: float = SHARE, growth_bytes: int = GROWTH_BYTES
) -> Report:
    """So many clients, half of them of one key, for so long."""
    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="orchestrator-mixed-") as folder:
        async with rig.daemon(Path(folder)) as target:
            keys = [await target.admin.with_scopes("execute") for _ in range(KEYS)]
            end = time.monotonic() + seconds
            people = [Person(keys[key], key, seen, random.Random(seed * 1_000 + n)) for n, key in _spread(clients)]
            watching = asyncio.get_running_loop().create_task(_watch(target, end, seen))
            await asyncio.gather(*(person.go_on_until(end) for person in people))
            await watching
            await target.quiet()
            chain = (await target.admin.post("/v1/audit/verify")).json
    total = sum(seen.done.values())
    report = Report(
        f"{clients} clients of {KEYS} keys for {seconds:g} s: {total} executions, {total / seconds:.1f} a second"
    )
    report.tell("kinds", ", ".join(f"{number} {kind}" for kind, number in sorted(seen.kinds.items())))
    report.nothing("wrong verdicts", seen.wrong)
    report.nothing("answers of 500 and above", seen.faults)
    report.tell("refused because too much waited (429)", seen.refused)
    fair = total / KEYS
    farthest = max(abs(seen.done[key] - fair) / fair for key in range(KEYS)) if total else 1.0
    report.tell("executions by key", ", ".join(str(seen.done[key]) for key in range(KEYS)))
    report.at_most("a key's share from an equal one", farthest * 100, share * 100, "%")
    fifth = len(seen.resident) // 5
    growth = statistics.median(seen.resident[-fifth:]) - statistics.median(seen.resident[fifth : 2 * fifth])
    report.at_most("memory, last fifth against the second", growth / 1e6, growth_bytes / 1e6, "MB more")
    report.tell("memory at most", max(seen.resident) / 1e6, "MB")
    report.nothing("breaks in the audit's chain", [] if chain["ok"] else [chain])
    return report


def _spread(clients: int) -> list[tuple[int, int]]:
    """Every client's number and key: the first key has half of them, the others share the rest."""
    return [(n, 0 if n % 2 else 1 + n // 2 % (KEYS - 1)) for n in range(clients)]


async def _watch(target: rig.Target, end: float, seen: Seen) -> None:
    while time.monotonic() < end:
        seen.resident.append(target.resident_bytes())
        await asyncio.sleep(0.25)
