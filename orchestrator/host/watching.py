"""Tells that something in the plugin folders has changed. What has changed, a scan finds out."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import structlog
from watchfiles import watch

log = structlog.get_logger("host")
_MOST_DEBOUNCE = 10
_TICK_MS = 200


class Watcher:
    """Calls `changed` on the loop after a change that was followed by quiet, and every `rescan_s` whatever happens.

    A folder that is not there yet is looked for each time; one that was replaced is watched anew.
    """

    def __init__(self, folders: Sequence[Path], debounce_ms: int, rescan_s: float, changed: Callable[[], None]) -> None:
        self._folders = folders
        self._debounce_ms = debounce_ms
        self._rescan_s = rescan_s
        self._changed = changed
        self._over = threading.Event()

    def start(self) -> None:
        """Begin; on the loop that `changed` is to be called on."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, name="host-watcher", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop, and wait until it has stopped."""
        self._over.set()
        await asyncio.to_thread(self._thread.join)

    def _watch(self) -> None:
        told = ""
        while not self._over.is_set():
            try:
                self._watch_these(self._present())
            except (OSError, RuntimeError) as fault:
                # No inotify left, or a folder vanished just now: looking now and then still works.
                if str(fault) != told:
                    log.warning("plugins.not_watched", why=str(fault), looked_at_every_s=self._rescan_s)
                told = str(fault)
                self._over.wait(self._rescan_s)
                self._tell()

    def _watch_these(self, watched: dict[Path, tuple[int, int]]) -> None:
        if not watched:
            self._over.wait(self._rescan_s)
            return
        told = -inf  # the first silence means that the watch stands: what came before it is looked for then
        for changes in watch(
            *watched, watch_filter=None, debounce=self._debounce_ms * _MOST_DEBOUNCE, step=self._debounce_ms,
            stop_event=self._over, rust_timeout=_TICK_MS, yield_on_timeout=True, raise_interrupt=False,
        ):  # fmt: skip
            if changes or time.monotonic() - told >= self._rescan_s:
                told = time.monotonic()
                self._tell()
            if self._present() != watched:
                return

    def _present(self) -> dict[Path, tuple[int, int]]:
        """The folders that are there, each with what makes it that very folder."""
        present = {}
        for folder in self._folders:
            if folder.is_dir():
                facts = folder.stat()
                present[folder] = (facts.st_dev, facts.st_ino)
        return present

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed)
        except RuntimeError:
            self._over.set()  # the loop has closed
