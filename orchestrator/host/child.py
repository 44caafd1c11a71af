"""A plugin's own process (isolation `process`): the same machinery as inline, with the daemon behind a socket.

It says `loaded` with the plugin's `PLUGIN` and hooks, then answers one request after another. It reads no file of the
plugin: the checked bytes come with the first frame.
"""

import asyncio
import base64
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.contracts.errors import OrchestratorError
from orchestrator.host.answers import NotJson, encode
from orchestrator.host.faults import described, import_advice, own_traceback
from orchestrator.host.frames import fault_from_json, fault_to_json, read_frame, write_frame
from orchestrator.host.importing import Shelf, import_version, stated
from orchestrator.host.inline import Inline
from orchestrator.host.keeper import keep
from orchestrator.host.managers import HostManager, Loop
from orchestrator.host.ports import EventListener
from orchestrator.host.registry import BadHooks, Hook, hooks_of
from orchestrator.host.sources import Snapshot, Source
from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.threads import DaemonThreads
from orchestrator.sdk.records import Record, Request

_MOST_FRAME = 2**31
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


@dataclass(frozen=True, slots=True)
class Token:
    """Stands for the daemon's `Call`; `deadline` is in seconds of this machine's monotonic clock."""

    id: int
    deadline: float


class Tasks:
    """The child's tasks; they end with the process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def child(self, name: str, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run `work` in the background."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Channel:
    """The socket to the daemon: frames out, questions with their answers."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}

    def tell(self, kind: str, **members: Any) -> None:
        """Send one frame."""
        write_frame(self._writer, {"kind": kind, **members})

    async def ask(self, what: str, **members: Any) -> Any:
        """Ask the daemon; raises the fault that it answers with."""
        number = next(self._numbers)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            self.tell("ask", number=number, what=what, **members)
            return await answer
        finally:
            del self._open[number]

    def answered(self, frame: dict[str, Any]) -> None:
        """The daemon's answer to a question has come."""
        future = self._open.get(frame["number"])
        if future is None or future.done():
            return
        if "fault" in frame:
            future.set_exception(fault_from_json(frame["fault"]))
        else:
            future.set_result(frame["value"])


class RemoteServices:
    """`ports.Services` over the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = count(1)
        self.listeners: dict[int, EventListener] = {}

    async def run_code(self, call: Any, code: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(await self._channel.ask("run_code", call=call.id, text=code, fields=dict(fields)))

    async def query(self, call: Any, text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(await self._channel.ask("query", call=call.id, text=text, fields=dict(fields)))

    async def publish(self, plugin: str, topic: str, data: Mapping[str, Any], call: Any) -> None:
        await self._channel.ask("publish", call=None if call is None else call.id, text=topic, fields=dict(data))

    def subscribe(self, plugin: str, pattern: str, listener: EventListener) -> Callable[[], None]:
        number = next(self._numbers)
        self.listeners[number] = listener
        self._channel.tell("subscribe", listener=number, pattern=pattern)

        def end() -> None:
            self.listeners.pop(number, None)

        return end


class ChildLog:
    """`manager.log` in a child: structlog's calling convention, the lines go to the daemon's log."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, bound: dict[str, Any] | None = None) -> None:
        self._channel = channel
        self._loop = loop
        self._bound = bound or {}

    def bind(self, **fields: Any) -> "ChildLog":
        """A log whose lines all carry `fields`."""
        return ChildLog(self._channel, self._loop, self._bound | fields)

    def __getattr__(self, level: str) -> Callable[..., None]:
        if level not in _LEVELS:
            raise AttributeError(level)

        def write(event: str, **fields: Any) -> None:
            shown = {name: str(value)[:500] for name, value in (self._bound | fields).items()}
            told = {"level": "error" if level == "exception" else level, "event": str(event)[:500], "fields": shown}
            self._loop.call_soon_threadsafe(lambda: self._channel.tell("log", **told))

        return write


class Child:
    """The plugin in this process and the frames that drive it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._services = RemoteServices(channel)
        self._tasks = Tasks()
        self._loop = Loop(SystemClock())
        self._shelf = Shelf()
        self._shelf.open()
        self._threads = DaemonThreads("plugin", 1)
        self._hooks: dict[str, Hook] = {}
        self._capabilities: list[dict[str, Any]] = []
        self._name = ""
        self._inline: Inline

    def take(self, frame: dict[str, Any]) -> None:
        """Act on one frame of the daemon."""
        if frame["kind"] == "answer":
            self._channel.answered(frame)
        else:
            self._tasks.child(frame["kind"], self._answered(frame))

    async def _answered(self, frame: dict[str, Any]) -> None:
        try:
            value = await getattr(self, f"do_{frame['kind']}")(frame)
            self._channel.tell("done", value=value)
        except OrchestratorError as fault:
            self._channel.tell("done", fault=fault_to_json(fault))

    async def do_load(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Import the plugin: `{"plugin", "hooks"}`, or `{"broken", "traceback"}`."""
        where = {**frame["source"], "path": Path(frame["source"]["path"]), "folder": Path(frame["source"]["folder"])}
        files = {name: base64.b64decode(content) for name, content in frame["files"].items()}
        snapshot = Snapshot(Source(**where), files, frame["digest"])
        self._name = snapshot.source.name
        self._inline = Inline(self._name, self._tasks, self._threads, frame["max_bytes"], self._shelf.source_line)
        root = self._shelf.add(snapshot)
        result: dict[str, Any] = await self._inline.in_thread(lambda: self._import(snapshot, root), frame["seconds"])
        return result

    def _import(self, snapshot: Snapshot, root: str) -> dict[str, Any]:
        try:
            module, target = import_version(snapshot, root)
            self._hooks = hooks_of(target, root)
            return {"plugin": encode(stated(module, target), 2**20).value, "hooks": list(self._hooks)}
        except BadHooks as fault:
            return {"broken": str(fault)}
        except NotJson as fault:
            return {"broken": fault.of("PLUGIN")}
        except BaseException as fault:  # noqa: BLE001 - SystemExit at import is a broken plugin too
            return {
                "broken": import_advice(fault, self._name), "traceback": own_traceback(fault, self._shelf.source_line)
            }  # fmt: skip

    async def do_init(self, frame: dict[str, Any]) -> None:
        """Hand the manager over."""
        self._capabilities = frame["capabilities"]
        log = ChildLog(self._channel, asyncio.get_running_loop())
        manager = HostManager(
            frame["name"], self._services, self._loop, log, lambda: self._capabilities, frame["config"],
            frame["secrets"], self._deliver,
        )  # fmt: skip
        if "init" in self._hooks:
            await self._inline.perform(self._hooks["init"], {"manager": manager}, frame["seconds"])

    async def do_call(self, frame: dict[str, Any]) -> Any:
        """Answer a request by `handle`, `route` or a hook that comes after."""
        self._capabilities = frame.get("capabilities") or self._capabilities
        token = None if frame["call"] is None else Token(frame["call"], time.monotonic() + frame["seconds"])
        request = Request(frame["request"])
        arguments = {"request": request, "candidates": [Record(c) for c in frame.get("candidates") or ()]}
        hook = self._hooks[frame["hook"]]
        return (await self._inline.call(hook, arguments, frame["seconds"] + 1, token)).value

    async def do_event(self, frame: dict[str, Any]) -> None:
        """Hand an event to the listener that asked for it."""
        if (listener := self._services.listeners.get(frame["listener"])) is not None:
            await listener(frame["event"])

    async def do_close(self, frame: dict[str, Any]) -> None:
        """Let the plugin put things away."""
        if "close" in self._hooks:
            await self._inline.perform(self._hooks["close"], {}, frame["seconds"])

    async def _deliver(self, listener: Any, event: dict[str, Any]) -> None:
        await self._inline.deliver(listener, event, 3600)


async def _serve(channel_socket: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel_socket, limit=2**20)
    child = Child(Channel(writer))
    while (frame := await read_frame(reader, _MOST_FRAME)) is not None:
        child.take(frame)


def main(descriptor: int, life_line: int, memory_bytes: int) -> None:
    """Become a plugin's process. Ends when the daemon closes the channel."""
    keep(life_line)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # Lines appear in the daemon's log when they are printed, not when a buffer is full.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    channel_socket = socket.socket(fileno=descriptor)
    try:
        asyncio.run(_serve(channel_socket))
    except BaseException as fault:  # noqa: BLE001 - the last word of this process goes to its log
        sys.stderr.write(f"{described(fault)}\n")
    finally:
        os._exit(0)
