"""A plugin that holds the event loop is named, and where Python allows, interrupted.

A thread asks the loop for a sign of life. None for `warn_s`: it looks at what the loop's thread is running, and if the
innermost code of ours or of a plugin is a plugin's, the log names plugin, file and line. None for `interrupt_s`: if the
loop runs in the main thread, a signal raises `LoopHeld` in that frame, so that all others wait no longer.
"""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from orchestrator.host.importing import root_of

SIGNAL = signal.SIGRTMIN + 7
Blame = Callable[[str, str, int, float], None]
"""`blame(root module name, file name, line, seconds held so far)`, called in the watchdog's thread."""


class LoopHeld(BaseException):
    """Raised inside a plugin's code that held the event loop for too long."""


def culprit(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is a plugin's, unless the daemon's own code runs further in."""
    while frame is not None:
        if root_of(frame) is not None:
            return frame
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "orchestrator":
            return None
        frame = frame.f_back
    return None


class Watchdog:
    """Watches the loop it is started on. `start` and `close` belong on that loop's thread."""

    def __init__(self, warn_s: float, interrupt_s: float, blame: Blame) -> None:
        self._warn_s = warn_s
        self._interrupt_s = interrupt_s
        self._blame = blame
        self._over = threading.Event()
        self._beat = threading.Event()
        self._previous: Any = None
        self._interrupts = False

    def start(self) -> None:
        """Begin watching."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(SIGNAL, _raise_in_plugin)
            self._interrupts = True
        self._thread = threading.Thread(target=self._watch, name="host-watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching and give the signal back."""
        self._over.set()
        self._thread.join()
        if self._interrupts:
            signal.signal(SIGNAL, self._previous)

    def _watch(self) -> None:
        while not self._over.wait(self._warn_s / 2):
            self._beat.clear()
            try:
                self._loop.call_soon_threadsafe(self._beat.set)
            except RuntimeError:
                return  # the loop has closed
            if not self._beat.wait(self._warn_s):
                self._held(time.monotonic() - self._warn_s)

    def _held(self, since: float) -> None:
        """The loop is held: name the culprit once, interrupt it as often as it takes, until the loop beats again."""
        named: str | None = None
        urged = since
        while not self._beat.is_set() and not self._over.is_set():
            now = time.monotonic()
            frame = culprit(sys._current_frames().get(self._loop_thread))
            root = root_of(frame) if frame is not None else None
            if frame is not None and root is not None:
                if root != named:
                    named = root
                    self._blame(root, frame.f_code.co_filename, frame.f_lineno, now - since)
                if self._interrupts and now - urged >= self._interrupt_s:
                    urged = now
                    signal.pthread_kill(self._loop_thread, SIGNAL)
            del frame
            self._beat.wait(self._warn_s / 2)


def _raise_in_plugin(_number: int, frame: FrameType | None) -> None:
    if culprit(frame) is not None:
        raise LoopHeld
