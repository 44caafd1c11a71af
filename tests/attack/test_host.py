"""What hostile programs do to the host, to the daemon and to each other: nothing (ABUSE, R2-17)."""

import asyncio
import gc
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.kernel.ids import new_id
from orchestrator.sandbox import engines
from orchestrator.sandbox.abuse.cases import Case
from orchestrator.sandbox.abuse.drill import Trial, drill
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import COLD, IDS, containers, opened

MIB = 2**20
HOSTILE = {
    "a fork bomb": ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", {"wall_ms": 400}, "timeout"),
    "all memory": ("kept = b'x' * 2**28", {}, "oom"),
    "a flood": ("import os\nwhile True: os.write(1, b'x' * 65536)", {}, "output_limit"),
    "a full disk": ("open('f', 'wb').write(bytes(2**26))", {}, "error"),
    "an endless loop": ("while True: pass", {"wall_ms": 300}, "timeout"),
    "a daemon": ("import os, time\nif os.fork() == 0: os.setsid(); time.sleep(60)", {}, "ok"),
}


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def longest_pause():
    """The longest time in which the loop, and with it the whole daemon, stood still; in a list, in seconds."""
    pauses = [0.0]

    async def beat():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            pauses[0] = max(pauses[0], time.monotonic() - began - 0.01)

    beating = asyncio.ensure_future(beat())  # noqa: TID251
    await asyncio.sleep(0)
    yield pauses
    await asyncio.sleep(0.02)  # a last beat, after whatever held it up
    beating.cancel()


@pytest.mark.engine
async def test_hostile_programs_side_by_side_each_get_their_verdict_and_disturb_nobody(run):
    """ABUSE: the right verdict, whatever the neighbours do; a clean job among them runs."""
    hostile = [run(code, limits=limits) for code, limits, _ in HOSTILE.values()]
    *seen, clean = await asyncio.gather(*hostile, run("print(6 * 7)"))
    assert [outcome.status for outcome in seen] == [status for _, _, status in HOSTILE.values()]
    assert (clean.status, clean.stdout) == ("ok", "42\n")


@pytest.mark.engine
async def test_nothing_of_hostile_programs_is_left_on_the_host(state):
    """ABUSE: no process (`opened` looks), container, volume, cgroup, descriptor."""
    before, name = descriptors(), new_id()
    async with opened(state, COLD, name) as box:
        jobs = asyncio.gather(*(box.run(code, limits=limits) for code, limits, _ in HOSTILE.values()))
        ids: set[str] = set()
        while not jobs.done():
            ids |= {entry["Id"] for entry in containers(name)}
            await asyncio.sleep(0.05)
    assert len(ids) >= 3
    assert [group for one in ids for group in Path("/sys/fs/cgroup").glob(f"*/*/{one}")] == []  # version 1
    assert [group for one in ids for group in Path("/sys/fs/cgroup").glob(f"*/*{one}*")] == []  # version 2
    with engines.connect(engines.find(None), 10) as client:
        assert {volume["Name"] for volume in client.volumes()["Volumes"] or []}.isdisjoint(ids)
    assert descriptors() <= before


@pytest.mark.engine
async def test_a_flood_costs_the_host_neither_disk_nor_memory(state):
    """ABUSE: for 1 GB of output the host's disk grows at most 2 MB, the daemon's memory 10 MB."""
    name = new_id()
    async with opened(state, COLD, name) as box:
        await box.run("print('warm')")
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest memory so far
        before = _highest_kib()
        flood = asyncio.ensure_future(box.run("import os\nwhile True: os.write(1, b'x' * 65536)"))  # noqa: TID251
        disk = 0
        while not flood.done():
            disk = max([disk, *(_on_disk(entry["Id"]) for entry in containers(name))])
            await asyncio.sleep(0.02)
        assert (await flood).status == "output_limit"
        assert disk < 2 * MIB
        assert _highest_kib() - before < 10 * 1024


def _highest_kib() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)


def _on_disk(container: str) -> int:
    """What the engine writes for a container beside its image: configuration, and logs if it kept any."""
    with engines.connect(engines.find(None), 10) as client:
        folder = Path(client.info()["DockerRootDir"]) / "containers" / container
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


@pytest.mark.engine
async def test_two_jobs_hold_one_loopback_port(run):
    """Each has a network of its own, so each may bind what the other holds, in names of sockets too."""
    code = """
import socket, time
a = socket.create_server(('127.0.0.1', 8000))
b = socket.socket(socket.AF_UNIX); b.bind('\\0name'); b.listen()
time.sleep(0.6); print('held')
"""
    outcomes = await asyncio.gather(run(code), run(code))
    assert [outcome.stdout for outcome in outcomes] == ["held\n"] * 2


@pytest.mark.engine
async def test_a_cell_serves_nobody_but_whom_it_served_first(state):
    """CONTRACT 4: reused only within one key and subject. A worker's ids are its own, so they tell cells apart."""
    code = "import os; print(os.getuid())"
    async with opened(state, SandboxSettings(armed=0, uid_first=IDS)) as box:
        seen = {}
        for owner, subject in (("a", "x"), ("a", "y"), ("b", "x"), ("a", None)):
            runs = [await box.run(code, owner=owner, subject=subject, isolation="cell") for _ in range(4)]
            assert [run.sandbox.warm for run in runs] == [False, True, True, True]
            seen[owner, subject] = {run.stdout for run in runs}
    assert len(set().union(*seen.values())) == sum(map(len, seen.values()))


@pytest.mark.engine
async def test_ten_thousand_artifacts_are_told_within_bounds(run):
    """CONTRACT 4: so many as the limit says are kept, the rest is said, and not ten thousand times."""
    code = "for n in range(10_000): open(str(n), 'w').close()"
    outcome = await run(code, artifacts=["*"], limits={"inodes": 16_384})
    assert (outcome.status, len(outcome.artifacts)) == ("ok", 64)
    assert {skipped.reason for skipped in outcome.artifacts_skipped[:-1]} == {"too_many"}
    assert len(outcome.artifacts_skipped) <= 257
    assert outcome.artifacts_skipped[-1].reason.startswith("and ")


@pytest.mark.engine
async def test_artifacts_of_all_cases_have_one_bound(run):
    """A sparse file costs the sandbox nothing, and the daemon its whole size: once, and not once for each case."""
    code = "open('f', 'wb').truncate(2**26)"
    outcome = await run(code, artifacts=["f"], cases=[{}] * 3, limits={"artifact_bytes": 64 * MIB})
    assert [case.status for case in outcome.cases] == ["ok"] * 3
    assert sum(artifact.bytes for case in outcome.cases for artifact in case.artifacts.values()) <= 64 * MIB
    assert {skipped.reason for case in outcome.cases for skipped in case.artifacts_skipped} == {"total"}


DEEP = "import os\nos.makedirs('a/' * 60); os.chdir('a/' * 60)\nfor n in range(950): open(f'n{n}', 'w').close()"


@pytest.mark.engine
@pytest.mark.parametrize("glob", ["**", "**/*z", "*/**/*a*/**/*a*/**/*a*/**/b", "**/*" * 40])
async def test_no_glob_and_no_depth_makes_the_daemon_stand_still(run, glob):
    """Whoever sends globs and whoever makes files may be hostile; others' requests are served meanwhile."""
    async with longest_pause() as pauses:
        outcome = await run(DEEP, artifacts=[glob] * 64)
    assert outcome.status == "ok"
    assert pauses[0] < 1


WRONG = {
    "another verdict": ({"code": "1 / 0"}, "came error 1, not ok 0"),
    "a refusal": ({"code": "", "env": {"LD_PRELOAD": "x"}}, "refused as invalid at [('env', 'LD_PRELOAD')], not run"),
    "a body that is none": ({"body": "{"}, "refused as invalid"),
    "no refusal": ({"code": "", "refused": [["code"]]}, "it was run, and should be refused at [['code']]"),
    "a first job that fails": ({"leaves": "1 / 0", "finds": ""}, "the first job did not leave what it should: error"),
}


@pytest.mark.engine
@pytest.mark.parametrize(("fields", "told"), WRONG.values(), ids=WRONG)
async def test_a_wrong_verdict_does_not_pass(box, fields, told):
    """The drill itself is tried: what differs is told."""
    case = Case.model_validate({"theme": "t", "name": "wrong", **fields})
    finding = await drill(Trial(case, "cell"), box.execute, "somebody")
    assert len(finding.differences) == 1
    assert told in finding.differences[0]


@pytest.mark.engine
async def test_a_sandbox_that_cannot_run_is_told_as_such():
    """An engine that is not there is a difference in every case, and no exception."""
    async with opened(None, SandboxSettings(docker_host="unix:///nowhere.sock", uid_first=IDS)) as box:
        finding = await drill(Trial(Case(theme="t", name="any", code=""), "container"), box.execute, "somebody")
    assert finding.differences[0].startswith("it was not run: ")
