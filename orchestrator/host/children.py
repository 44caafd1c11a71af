"""One child process of a plugin, seen from the daemon: spawned, spoken to, ended with all that it started."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from orchestrator.contracts.errors import PluginFailed
from orchestrator.host.frames import BadFrame, fault_from_json, read_frame, write_frame
from orchestrator.host.inline import Tasks
from orchestrator.host.settings import HostSettings
from orchestrator.kernel.clock import Clock

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from orchestrator.host.child import main; main(*map(int, sys.argv[2:]))"
)
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_DIED_OF_SIGNAL = 128
_LINE = 2000

log = structlog.get_logger("plugin")

OnFrame = Callable[["Child", dict[str, Any]], Awaitable[None]]


class Child:
    """A plugin's process. One request at a time; `alive` turns false at its end, whatever ended it."""

    def __init__(self, plugin: str, settings: HostSettings, tasks: Tasks, clock: Clock, on_frame: OnFrame) -> None:
        self._plugin = plugin
        self._settings = settings
        self._tasks = tasks
        self._clock = clock
        self._on_frame = on_frame
        self._answer: asyncio.Future[Any] | None = None
        self._ended: asyncio.Event = asyncio.Event()
        self._process: asyncio.subprocess.Process
        self._writer: asyncio.StreamWriter
        self._life_line = -1
        self._call: Any = None
        self._number = 0
        self.alive = False
        self.listeners: set[int] = set()
        self.told_capabilities: Any = None
        self.idle_since = 0.0

    async def start(self) -> None:
        """Spawn the process; it has said nothing yet."""
        ours, theirs = socket.socketpair()
        life_end, self._life_line = os.pipe()
        output_end, output = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno()), str(life_end),
                str(self._settings.process_memory_bytes), pass_fds=(theirs.fileno(), life_end), cwd="/",
                env=_ENVIRONMENT, start_new_session=True, stdin=asyncio.subprocess.DEVNULL, stdout=output,
                stderr=output,
            )  # fmt: skip
        except BaseException:
            for descriptor in (self._life_line, output_end):
                os.close(descriptor)
            ours.close()
            self._life_line = -1
            self._ended.set()
            raise
        finally:
            theirs.close()
            os.close(life_end)
            os.close(output)
        self.alive = True
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**20)
        self._tasks.child(f"plugin.{self._plugin}.frames", self._read(reader))
        self._tasks.child(f"plugin.{self._plugin}.output", self._log_output(output_end))
        self._tasks.child(f"plugin.{self._plugin}.process", self._wait())

    async def exchange(self, kind: str, **members: Any) -> Any:
        """Send a frame and await its answer. Raises the fault that it tells, `PluginFailed` if the process ends."""
        if not self.alive:
            raise self._gone()
        answer = self._answer = asyncio.get_running_loop().create_future()
        try:
            write_frame(self._writer, {"kind": kind, **members})
            with suppress(ConnectionError):
                await self._writer.drain()
            frame = await answer
        finally:
            self._answer = None
        if "fault" in frame:
            raise fault_from_json(frame["fault"])
        return frame.get("value")

    def tell(self, kind: str, **members: Any) -> None:
        """Send a frame that has no answer."""
        if self.alive:
            write_frame(self._writer, {"kind": kind, **members})

    def answering(self, call: Any) -> int | None:
        """From now on it answers `call`; its number is what the child must show to act for it."""
        self._call = call
        self._number += 1
        return self._number if call is not None else None

    def call_of(self, number: Any) -> Any:
        """The call being answered, if `number` is its own; what a former one left behind acts for nobody."""
        return self._call if number == self._number else None

    @property
    def gone(self) -> bool:
        """Whether it has been reaped, or never was."""
        return self._ended.is_set()

    def kill(self) -> None:
        """End the process and all that it started, now."""
        if self._life_line >= 0:
            os.close(self._life_line)  # the keeper's signal to end whatever descends from it
            self._life_line = -1
        self.alive = False

    async def end(self) -> None:
        """Kill it and wait until it is gone."""
        self.kill()
        await self._ended.wait()

    async def _wait(self) -> None:
        await self._process.wait()
        self.kill()
        # The keeper itself may have been killed; its session is the group of all that did not detach.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._writer.close()
        self._ended.set()
        self._fail(self._gone())

    def _fail(self, fault: PluginFailed) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(fault)

    def _gone(self) -> PluginFailed:
        code = getattr(self._process, "returncode", None)
        how = f"with exit status {code}" if code is not None else "unexpectedly"
        # The child's signal comes as the keeper's exit status, its own as a negative one.
        number = 0 if code is None else -code if code < 0 else code - _DIED_OF_SIGNAL
        if number > 0:
            with suppress(ValueError):
                how = f"of {signal.Signals(number).name}"
        return PluginFailed(f"the process of the plugin {self._plugin} ended {how}")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        most = self._settings.max_response_bytes * 6 + 2**20
        try:
            while (frame := await read_frame(reader, most)) is not None:
                if frame.get("kind") == "done":
                    if self._answer is not None and not self._answer.done():
                        self._answer.set_result(frame)
                else:
                    await self._on_frame(self, frame)
        except (BadFrame, KeyError, TypeError, ValueError) as fault:
            self._fail(PluginFailed(f"the process of the plugin {self._plugin} sent nonsense: {fault}"))
        self.kill()

    async def _log_output(self, descriptor: int) -> None:
        """What it prints goes to the log line by line, no more than the setting allows in a minute."""
        reader = asyncio.StreamReader(limit=2**16)
        pipe = os.fdopen(descriptor, "rb", 0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        allowance = Allowance(self._settings.process_log_bytes, self._clock)
        try:
            while chunk := await reader.read(2**14):
                for line in chunk.decode("utf-8", "replace").splitlines():
                    if shown := allowance.take(line[:_LINE]):
                        log.info("plugin.output", plugin=self._plugin, line=shown)
                if not self.alive:
                    break
        finally:
            transport.close()


class Allowance:
    """So many bytes of text a minute; what is more is left out, and that said once."""

    def __init__(self, most_bytes: int, clock: Clock) -> None:
        self._most = most_bytes
        self._clock = clock
        self._since = clock.monotonic()
        self._left = most_bytes
        self._said = False

    def take(self, text: str) -> str | None:
        """The text if there is room for it, once a note that there is none, then None until the minute is over."""
        now = self._clock.monotonic()
        if now - self._since >= 60:
            self._since, self._left, self._said = now, self._most, False
        self._left -= len(text) + 1
        if self._left >= 0:
            return text
        if self._said:
            return None
        self._said = True
        return f"(more than {self._most} bytes in a minute; the rest is left out)"
