"""Supervised tasks: every coroutine that runs by itself has a name, an owner, and an end that somebody sees."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger("tasks")
_AGAIN_S = 1.0


class Supervisor:
    """Owns the tasks of one program.

    A *root* task runs as long as the program: one that fails, or ends unexpectedly, sets `failed` and so stops the
    program in order. A *child* task may end at any time; a failure is logged with its name.
    """

    def __init__(self) -> None:
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def root(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` for the life of the program."""
        task = self._start(name, work)
        task.add_done_callback(self._root_ended)
        return task

    def child(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` once, in the background."""
        task = self._start(name, work)
        task.add_done_callback(_log_failure)
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait until all of it has ended.

        Cancelled again and again: a group of tasks in which one fails at the same moment swallows the first time.
        """
        self._closing = True
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_AGAIN_S)
        self.failed.cancel()

    def _start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _root_ended(self, task: asyncio.Task[Any]) -> None:
        _log_failure(task)
        if not self._closing and not self.failed.done():
            self.failed.set_result(task.get_name())


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("task.failed", task=task.get_name(), exc_info=fault)
