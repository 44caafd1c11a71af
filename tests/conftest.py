"""Fixtures for all tests: one daemon with the Docker engine, for all that need no daemon of their own."""

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from orchestrator.testing.daemons import Client, Running, running
from tests.own_postgres import Server, find, running_server

pytest_plugins = ["orchestrator.testing.fixtures"]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts behind itself


class Shared:
    """A daemon on a loop and thread of its own, so that tests on loops of theirs can share it."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._ready = threading.Event()
        self._fault: BaseException | None = None
        self.running: Running | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="shared-daemon")

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            async with running(self._state) as self.running:
                self._ready.set()
                await self._stop.wait()
        except BaseException as fault:
            self._fault = fault
            self._ready.set()
            raise

    def start(self) -> Running:
        self._thread.start()
        self._ready.wait(60)
        assert self._fault is None, self._fault
        assert self.running is not None
        return self.running

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that a test calls may configure all logs; the next test has them as they were."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The shared daemon, with the bundled plugins and the engine."""
    daemon = Shared(tmp_path_factory.mktemp("shared") / "state")
    yield daemon.start()
    daemon.end()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The suite's PostgreSQL server; each test makes a database of its own in it."""
    if find() is None:
        pytest.skip("PostgreSQL is not installed here; make test installs it")
    with running_server() as server:
        yield server


@pytest.fixture
async def session() -> Any:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def client(shared: Running, session: aiohttp.ClientSession) -> Client:
    """A keyless client of the shared daemon."""
    return Client(session, shared.url)


@pytest.fixture
def admin(shared: Running, client: Client) -> Client:
    """Its operator."""
    return client.with_key(shared.admin.key)
