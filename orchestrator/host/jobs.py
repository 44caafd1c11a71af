"""One piece of plugin code in a thread of its own, which may be told to stop, and which may fork without harm.

A thread cannot be killed. What Python offers is to raise in it: that frees a thread that spins or swallows time in
Python code, and does nothing to one that waits in the kernel until it returns.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from orchestrator.host.importing import root_of


class Stopped(BaseException):
    """Raised in a plugin's thread after its deadline, when nobody waits for it any more."""


class Job:
    """Callable once, by a thread; `stop` may come from any other, at any time."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._stopped = False

    def __call__(self) -> Any:
        with self._lock:
            if self._stopped:
                return None
            self._thread = threading.get_ident()
        process = os.getpid()
        try:
            return self._work()
        finally:
            if os.getpid() != process:
                os._exit(0)  # the plugin forked, and its copy of the daemon ends here
            self._leave()

    def stop(self) -> None:
        """Nobody waits any more: do not begin, or be interrupted."""
        # The lock is held for an instant only; a loop must not wait even so, and who leaves needs no stop.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if not self._stopped and self._thread is not None:
                _raise_in(self._thread, Stopped)
            self._stopped = True
        finally:
            self._lock.release()

    def _leave(self) -> None:
        with self._lock:
            self._thread = None
            if self._stopped:
                _raise_in(threading.get_ident(), None)  # takes back what has not struck yet


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind is not None else None
    )


def _end_copy_of_loop() -> None:
    """In a forked child: end at once if plugin code forked on the event loop, which must not run twice."""
    frame: FrameType | None = sys._getframe()
    plugin = False
    while frame is not None:
        if frame.f_code is Job.__call__.__code__:
            return
        plugin = plugin or root_of(frame) is not None
        frame = frame.f_back
    if plugin:
        os._exit(0)


os.register_at_fork(after_in_child=_end_copy_of_loop)
