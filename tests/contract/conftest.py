"""A store on each backend."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.kernel.clock import FakeClock
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.port import Store
from tests.contract.stores import GROUNDS, Ground, PostgresGround, SqliteGround
from tests.own_postgres import Server


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    opened = Supervisor()
    yield opened
    await opened.close()


@pytest.fixture(params=GROUNDS)
async def ground(request: pytest.FixtureRequest, tmp_path: Path, supervisor: Supervisor) -> AsyncIterator[Ground]:
    """An empty database."""
    if request.param == "sqlite":
        yield SqliteGround(tmp_path, supervisor)
        return
    server: Server = request.getfixturevalue("postgres_server")
    async with server.database() as name:
        yield PostgresGround(server, name, supervisor)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(ground: Ground, clock: FakeClock) -> AsyncIterator[Store]:
    opened = await ground.open(clock)
    yield opened
    await opened.close()
