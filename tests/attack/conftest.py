"""The attack suite's fixtures: a sandbox of one's own for a test, and one for the whole corpus."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.contracts.executions import Execution
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox import images
from orchestrator.sandbox.abuse import corpus
from orchestrator.sandbox.abuse.drill import Finding, Run, Trial, drill_all, trials
from orchestrator.sandbox.service import Sandbox
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import COLD, IDS, IMAGES, Box, opened, ready

BACKENDS = {
    "docker-runc": {},
    "docker-runsc": {"runtime": "runsc", "accept_unenforced": ["inodes", "memory_bytes"]},
    "bubblewrap": {"engine": "bubblewrap"},
}
LANES = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="Go through the abuse corpus so many times.")
    parser.addoption("--thorough", action="store_true", help="Try each of its cases in a container of its own, too.")
    parser.addoption("--backend", choices=BACKENDS, default="docker-runc", help="Where the abuse corpus is tried.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each trial of the corpus, in each round."""
    if "trial" not in metafunc.fixturenames:
        return
    rounds = metafunc.config.getoption(
        "rounds", 1
    )  # the defaults are for a run of all tests, which sees no option here
    thorough = metafunc.config.getoption("thorough", False)
    whole = any(Path(word).resolve() == Path(__file__).parent for word in metafunc.config.args)  # as `make attack` asks
    where = metafunc.config.getoption("backend", "docker-runc")
    found = trials(corpus.load(), where, thorough=thorough, brief=not whole)
    todo = [(trial, number) for number in range(rounds) for trial in found]
    names = [f"{trial}" + (f" ({number + 1})" if rounds > 1 else "") for trial, number in todo]
    metafunc.parametrize(("trial", "round_"), todo, ids=names)


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> SandboxSettings:
    """The settings of the backend that the corpus is tried on."""
    return SandboxSettings(**BACKENDS[request.config.getoption("backend", "docker-runc")], uid_first=IDS)


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory, chosen: SandboxSettings) -> Path:
    """One state directory for the session, so that the limits are tried once; and the images that the cases need."""
    for profile in ("default", "javascript", "shell"):
        images.build(chosen, IMAGES, profile, lambda _: None)
    images.build(COLD, IMAGES, "default", lambda _: None)
    return tmp_path_factory.mktemp("state")


@pytest.fixture
async def box(state: Path) -> AsyncIterator[Box]:
    async with opened(state) as box:
        await ready(box)
        yield box


@pytest.fixture
def sandbox(box: Box) -> Sandbox:
    return box.sandbox


@pytest.fixture
def run(box: Box) -> Callable[..., Awaitable[Execution]]:
    return box.run


class Ahead:
    """Makes the chosen tests' trials, some at a time and ahead of those who ask: most of a trial is waiting."""

    def __init__(self, todo: list[Trial], run: Run, supervisor: Supervisor) -> None:
        self._found: dict[str, list[asyncio.Future[Finding]]] = {}
        for trial in todo:
            self._found.setdefault(str(trial), []).append(asyncio.get_running_loop().create_future())
        self._drilling = supervisor.child("drills", drill_all(todo, run, self._tell, LANES))

    async def finding(self, trial: Trial, round_: int) -> Finding:
        """What came of a trial; waits until it was made."""
        found = self._found[str(trial)][round_]
        await asyncio.wait({found, self._drilling}, return_when=asyncio.FIRST_COMPLETED)
        return found.result() if found.done() else self._drilling.result()

    def _tell(self, finding: Finding) -> None:
        next(found for found in self._found[str(finding.trial)] if not found.done()).set_result(finding)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ahead(state: Path, chosen: SandboxSettings, request: pytest.FixtureRequest) -> AsyncIterator[Ahead]:
    """The trials of all tests that were chosen, on one sandbox; nothing of it may be left."""
    todo = [item.callspec.params["trial"] for item in request.session.items if "ahead" in item.fixturenames]
    supervisor = Supervisor()
    async with opened(state, chosen) as box:
        await ready(box)
        yield Ahead(todo, box.execute, supervisor)
        await supervisor.close()
