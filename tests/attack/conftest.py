"""The attack suite's fixtures. Each theme is one table of cases; after every case a clean job must run, and nothing be left."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.executions import Execution
from orchestrator.sandbox import images
from orchestrator.sandbox.service import Sandbox
from tests.attack.rig import COLD, IMAGES, Box, opened

Run = Callable[..., Awaitable[Execution]]


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state directory for the session, so that the limits are tried once."""
    images.build(COLD, IMAGES, "default", lambda _: None)
    return tmp_path_factory.mktemp("state")


@pytest.fixture
async def box(state: Path) -> AsyncIterator[Box]:
    async with opened(state) as box:
        assert box.sandbox.health()[0] == "ok", box.sandbox.health()
        yield box


@pytest.fixture
def sandbox(box: Box) -> Sandbox:
    return box.sandbox


@pytest.fixture
def run(box: Box) -> Run:
    return box.run


@pytest.fixture
def attack(run: Run) -> Run:
    """Run one case, compare its whole verdict, and see that a clean job of the same limits runs after it.

    `hits` are the limits, in any order; `says` is in the output; `most_ms` bounds the time it took.
    """

    async def call(
        code: str, *, status: str = "ok", hits: tuple[str, ...] = (), exit_code: int | None = None,
        signal: str | None = None, says: str = "", most_ms: float = 9_000, limits: dict[str, int] | None = None, **more: Any,
    ) -> Execution:  # fmt: skip
        outcome = await run(code, limits=limits, **more)
        seen = (outcome.status, outcome.exit_code, outcome.signal, set(outcome.limits_hit))
        exit_code = 0 if status == "ok" else exit_code
        assert seen == (status, exit_code, signal, set(hits)), (outcome.reason, outcome.stderr[-1000:])
        assert says in outcome.stdout + outcome.stderr, (outcome.stdout[-1000:], outcome.stderr[-1000:])
        assert outcome.reason.endswith(".")
        assert outcome.usage.wall_ms <= most_ms
        clean = await run("print(6 * 7)", limits=limits)
        assert (clean.status, clean.stdout) == ("ok", "42\n"), clean
        return outcome

    return call
