"""Supervised tasks."""

import asyncio
import contextlib

from orchestrator.kernel import tasks
from orchestrator.kernel.tasks import Supervisor


async def test_a_task_that_swallows_its_cancelling_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(tasks, "_AGAIN_S", 0.01)
    supervisor, begun, cancelled = Supervisor(), asyncio.Event(), []

    async def deaf() -> None:
        for _ in range(2):
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            cancelled.append(True)

    supervisor.child("deaf", deaf())
    await begun.wait()
    async with asyncio.timeout(10):
        await supervisor.close()
    assert len(cancelled) == 2


async def test_a_root_task_that_ends_is_told_by_its_name():
    supervisor = Supervisor()

    async def ends() -> None:
        return

    supervisor.root("short", ends())
    assert await supervisor.failed == "short"
    await supervisor.close()
