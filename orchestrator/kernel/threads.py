"""A pool of daemon threads for code that may never come back.

The standard library's executor joins its threads when the interpreter ends, so one hung plugin would keep the daemon
from stopping; and it has no way to tell how many of its threads are lost.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """Runs callables in at most `size` threads, started when needed and never joined. Used from one event loop."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle: deque[None] = deque()  # one item for each idle thread; its methods are atomic
        self._started = 0
        self._closed = False
        self._inbox: _Inbox | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Call `work` in a thread and answer what it returns or raises. A cancelled caller leaves it running."""
        if self._closed:
            raise RuntimeError(f"the threads of {self._name} are closed")
        if self._inbox is None:
            self._inbox = _Inbox(asyncio.get_running_loop())
        future: asyncio.Future[T] = self._inbox.loop.create_future()
        self._find_thread()
        self._jobs.put((self._inbox, future, work))
        return await future

    def close(self) -> None:
        """Let idle threads end; one that is busy ends when its work does."""
        self._closed = True
        for _ in range(self._started):
            self._jobs.put(None)

    def _find_thread(self) -> None:
        """Claim an idle thread, or start one if there may be more; else the job waits for whichever is free first."""
        try:
            self._idle.pop()
        except IndexError:
            if self._started < self._size:
                self._started += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            inbox, future, work = job
            try:
                value, fault = work(), None
            except BaseException as error:  # noqa: BLE001 - SystemExit of a plugin included: it belongs to the caller
                value, fault = None, error
            self._idle.append(None)
            inbox.post(future, value, fault)


class _Inbox:
    """Results on their way to a loop: it is woken once for all that come before it looks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._results: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False

    def post(self, future: "asyncio.Future[Any]", value: Any, fault: BaseException | None) -> None:
        """From any thread: hand a result over."""
        self._results.append((future, value, fault))
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                return  # the loop has closed: nobody waits any more

    def _deliver(self) -> None:
        self._woken = False  # first, so that what is posted from here on wakes the loop again
        while self._results:
            _settle(*self._results.popleft())


_Job = tuple[_Inbox, "asyncio.Future[Any]", Callable[[], Any]]


def _settle(future: "asyncio.Future[Any]", value: Any, fault: BaseException | None) -> None:
    if future.cancelled():
        return
    if fault is None:
        future.set_result(value)
    elif isinstance(fault, StopIteration):
        future.set_exception(RuntimeError(f"raised StopIteration: {fault}"))
    else:
        future.set_exception(fault)
