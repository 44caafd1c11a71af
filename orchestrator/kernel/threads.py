"""A pool of daemon threads for code that may never come back.

The standard library's executor joins its threads when the interpreter ends, so one hung plugin would keep the daemon
from stopping; and it has no way to tell how many of its threads are lost.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class DaemonThreads:
    """Runs callables in at most `size` threads, started when needed and never joined."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Call `work` in a thread and answer what it returns or raises. A cancelled caller leaves it running."""
        if self._closed:
            raise RuntimeError(f"the threads of {self._name} are closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._idle.acquire(blocking=False) and self._started < self._size:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._jobs.put((loop, future, work))
        return await future

    def close(self) -> None:
        """Let idle threads end; one that is busy ends when its work does."""
        self._closed = True
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _run(*job)
            self._idle.release()


def _run(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", work: Callable[[], Any]) -> None:
    try:
        value, fault = work(), None
    except BaseException as error:  # noqa: BLE001 - SystemExit of a plugin included: it belongs to the caller
        value, fault = None, error
    try:
        loop.call_soon_threadsafe(_settle, future, value, fault)
    except RuntimeError:
        return  # the loop has closed: nobody waits any more


def _settle(future: "asyncio.Future[Any]", value: Any, fault: BaseException | None) -> None:
    if future.cancelled():
        return
    if fault is None:
        future.set_result(value)
    elif isinstance(fault, StopIteration):
        future.set_exception(RuntimeError(f"raised StopIteration: {fault}"))
    else:
        future.set_exception(fault)
