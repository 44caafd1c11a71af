"""One suite over all backends: each verdict, limit and wall of CONTRACT 4, the same on each but for what it declares."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.ids import new_id
from orchestrator.sandbox import images
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import IMAGES, Box, Told, left_behind, opened
from tests.contract.backends import BACKENDS, Backend
from tests.contract.cases import LIMITS, SIGHTS, VERDICTS, WALLS, Case, Seen

pytestmark = pytest.mark.engine
CASES = {**VERDICTS, **LIMITS, **WALLS, **SIGHTS}


class Had:
    """One backend as it can be had here: its settings, and a state directory in which its trial is remembered."""

    def __init__(self, backend: Backend, settings: SandboxSettings, state: Path) -> None:
        self.backend = backend
        self.settings = settings
        self.state = state


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda backend: backend.name)
def had(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Had]:
    backend: Backend = request.param
    with backend.opened() as settings, pytest.MonkeyPatch.context() as patch:
        if settings.docker_host:
            patch.setenv("DOCKER_HOST", settings.docker_host)  # so that the rig looks for what is left there
        images.build(settings, IMAGES, "default", lambda _: None)
        yield Had(backend, settings, tmp_path_factory.mktemp(backend.name))


@pytest.fixture
async def box(had: Had) -> AsyncIterator[Box]:
    async with opened(had.state, had.settings) as box:
        assert box.sandbox.health()[0] == "ok", box.sandbox.health()
        yield box


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def common(had: Had) -> AsyncIterator[Box]:
    """One sandbox for all programs, each of which gets a container of its own all the same."""
    async with opened(had.state, had.settings) as box:
        assert box.sandbox.health()[0] == "ok", box.sandbox.health()
        yield box


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", CASES)
async def test_a_program_ends_as_the_contract_says(had, common, name):
    """CONTRACT 4: the table of limits, the table of verdicts, "Always", "What a job sees"; and a clean job runs after it."""
    case: Case = CASES[name]
    right: Seen = had.backend.differs.get(name, case.seen)
    outcome = await common.run(case.code, limits=case.limits, **case.request)
    assert Seen(
        outcome.status, outcome.exit_code, outcome.signal, frozenset(outcome.limits_hit), right.says, right.why
    ) == Seen(right.status, 0 if right.status == "ok" else right.exit_code, right.signal, frozenset(right.hits), right.says, right.why), (
        outcome.reason, outcome.stderr[-1000:],
    )  # fmt: skip
    assert right.says in outcome.stdout + outcome.stderr, (outcome.stdout[-1000:], outcome.stderr[-1000:])
    assert name not in SIGHTS or outcome.stdout == "ok\n"


def test_every_declared_difference_is_one(had):
    for name, seen in had.backend.differs.items():
        assert seen.why
        assert (seen.status, seen.hits, seen.says) != (
            CASES[name].seen.status,
            CASES[name].seen.hits,
            CASES[name].seen.says,
        )


async def test_every_result_says_where_it_ran_and_what_was_not_enforced(had, box):
    where = (await box.run("print(1)")).sandbox
    backend = had.backend
    assert (where.engine, where.runtime, tuple(where.limits_unenforced)) == (
        backend.engine,
        backend.runtime,
        backend.lacks,
    )
    assert (where.network, where.isolation, where.warm) == ("none", "container", False)
    assert {profile.kernel_boundary for profile in box.sandbox.profiles()} == {backend.kernel}


async def test_a_backend_that_lacks_a_limit_serves_only_where_that_is_accepted(had):
    async with opened(None, had.settings.model_copy(update={"accept_unenforced": []})) as box:
        if not had.backend.lacks:
            assert box.sandbox.health()[0] == "ok"
            return
        for name in had.backend.lacks:
            assert name in box.sandbox.health()[1]
        with pytest.raises(Unavailable, match=r"set sandbox\.accept_unenforced = "):
            await box.run("print(1)")


async def test_a_profile_that_demands_a_kernel_of_its_own_gets_it_or_nothing(had, box):
    profile = box.sandbox._profiles["default"]
    profile.manifest = profile.manifest.model_copy(update={"kernel": "separate"})
    if had.backend.kernel == "separate":
        assert (await box.run("print(1)")).stdout == "1\n"
        return
    with pytest.raises(Unavailable, match="demands a kernel of its own") as caught:
        await box.run("print(1)")
    assert (caught.value.status, caught.value.code) == (503, "sandbox_unavailable")


POSTURE = """
import ctypes, json, os
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(json.dumps({
    'ids': [*os.getresuid(), *os.getresgid()], 'groups': os.getgroups(),
    'capabilities': {name: status[name].strip() for name in ('CapInh', 'CapPrm', 'CapEff')},
    'filter': status['Seccomp'].strip(), 'no_new_privs': ctypes.CDLL(None).prctl(39, 0, 0, 0, 0),
    'fds': sorted(os.listdir('/proc/self/fd'))[:4],
}))
"""


async def test_posture_read_back_is_the_policy(box):
    """CONTRACT 4 "Always": unprivileged, no groups, no capability, no new privileges, our filter, three descriptors."""
    seen = json.loads((await box.run(POSTURE)).stdout)
    assert len(set(seen["ids"])) == 1
    assert min(seen["ids"]) >= 10_000
    assert (seen["groups"], seen["filter"], seen["no_new_privs"]) == ([], "2", 1)
    assert set(seen["capabilities"].values()) == {"0" * 16}
    assert seen["fds"][:3] == ["0", "1", "2"]


async def test_usage_is_counted(box):
    outcome = await box.run(
        "x = b'x' * (30 * 2**20)\nimport time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    )
    usage = outcome.usage
    assert 200 <= usage.cpu_ms <= usage.wall_ms + 200
    assert usage.peak_memory_bytes >= 30 * 2**20


async def test_a_client_that_cancels_ends_the_program(box):
    begun, execution = asyncio.Event(), new_id()
    async with asyncio.TaskGroup() as group:
        told = Told(lambda status: begun.set() if status == "running" else None)
        running = group.create_task(box.run("while True: pass", id=execution, progress=told))
        await begun.wait()
        assert box.sandbox.cancel(execution)
    assert running.result().status == "cancelled"


async def test_nothing_of_a_job_outlives_its_answer(had):
    """CONTRACT 4: processes at once, its container within 2 s; `opened` looks for both on the host."""
    daemon = new_id()
    async with opened(had.state, had.settings, daemon) as box:
        outcome = await box.run(
            "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: os.closerange(0, 9); time.sleep(600)\n"
            "  os._exit(0)\nos.wait(); print('left')",
        )  # fmt: skip
        assert (outcome.status, outcome.stdout) == ("ok", "left\n")
        async with asyncio.timeout(2):
            while left_behind(had.settings, daemon):
                await asyncio.sleep(0.05)  # the engine tells nobody who does not ask


async def test_each_job_has_chance_of_its_own(box):
    ran = [await box.run("import random; print(random.random(), hash('x'))") for _ in range(2)]
    assert len({outcome.stdout for outcome in ran}) == 2


async def test_artifacts_are_collected_by_the_host(box):
    code = "open('a.txt', 'w').write('x' * 10)\nimport os; os.symlink('/etc/passwd', 'b.txt')"
    outcome = await box.run(code, artifacts=["*.txt"])
    assert list(outcome.artifacts) == ["a.txt"]
    assert [(skipped.path, skipped.reason) for skipped in outcome.artifacts_skipped] == [("b.txt", "symlink")]


LEAVES = """
import os, pathlib
for place in ('.', '/tmp', '/dev/shm'): pathlib.Path(place, 'left').write_text('x'); os.mkdir(f'{place}/deep'); pathlib.Path(place, 'deep/x').touch()
if os.fork() == 0: __import__('time').sleep(600)
"""
FINDS = "import os; print(sum((os.listdir(p) for p in ('.', '/tmp', '/dev/shm')), []), [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())])"


async def test_a_cell_is_used_again_and_is_as_fresh(box):
    """CONTRACT 4 `cell`: reused, wiped in between."""
    assert (await box.run(LEAVES, isolation="cell")).status == "ok"
    second = await box.run(FINDS, isolation="cell")
    assert (second.stdout, second.sandbox.warm, second.sandbox.isolation) == ("[] []\n", True, "cell"), second.stderr


async def test_cases_run_one_program_for_each(box):
    cases = [{"stdin": str(n), "expected_stdout": f"{n * n}\n"} for n in range(4)]
    outcome = await box.run("print(int(input()) ** 2)", cases=cases)
    assert outcome.status == "ok"
    assert [case.passed for case in outcome.cases] == [True] * 4
