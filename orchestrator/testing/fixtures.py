"""Pytest fixtures for plugin authors: `pytest_plugins = ["orchestrator.testing.fixtures"]`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.testing.daemons import NO_ENGINE, Running, running

Start = Callable[..., Any]


@pytest.fixture
async def start_daemon(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start_daemon({"hello.py": source}, host__timeout_s=1)`: a daemon that serves these files, engineless."""
    async with AsyncExitStack() as stack:

        async def start(files: dict[str, str] | None = None, **settings: Any) -> Running:
            folder = tmp_path / "plugins"
            folder.mkdir(exist_ok=True)
            for name, source in (files or {}).items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(source)
            settings.setdefault("sandbox__docker_host", NO_ENGINE)
            settings.setdefault("bundled", False)
            return await stack.enter_async_context(running(tmp_path / "state", [folder], **settings))

        yield start
