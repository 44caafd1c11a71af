"""A host on a folder of its own, with a real permit office and services that remember what they were asked."""

import asyncio
import gc
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.contracts.callers import LOOPBACK, Caller, Scope
from orchestrator.contracts.errors import Unavailable
from orchestrator.governance.permits import PermitOffice
from orchestrator.host.calls import Call
from orchestrator.host.host import Host
from orchestrator.host.settings import HostSettings
from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor

CALLER = Caller(LOOPBACK, "loopback", frozenset({Scope.QUERY}))
QUICK = {"delete_grace_ms": 50, "linger_ms": 20, "rescan_s": 0.5}


class Ledger:
    """The host's services: what was asked is kept, answers are made of it; `engine` False means that none is there."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, str, dict[str, Any]]] = []
        self.published: list[tuple[str, str, dict[str, Any], Any]] = []
        self.listeners: dict[str, list[Any]] = {}
        self.engine = True

    async def run_code(self, call: Call, code: str, fields: Any) -> dict[str, Any]:
        if not self.engine:
            raise Unavailable("no engine answers")
        self.asked.append(("run_code", call, code, dict(fields)))
        return {"status": "ok", "stdout": f"ran {code}", "usage": {"wall_ms": 1.5}}

    async def query(self, call: Call, text: str, fields: Any) -> dict[str, Any]:
        self.asked.append(("query", call, text, dict(fields)))
        return {"status": "ok", "response": {"heard": text}}

    async def publish(self, plugin: str, topic: str, data: Any, call: Call | None) -> None:
        self.published.append((plugin, topic, dict(data), call))

    def subscribe(self, plugin: str, pattern: str, listener: Any) -> Callable[[], None]:
        self.listeners.setdefault(pattern, []).append(listener)
        return lambda: self.listeners[pattern].remove(listener)


class Rig:
    """One host under test."""

    def __init__(self, folder: Path, state: Path, settings: HostSettings, **more: Any) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.office = PermitOffice(self.clock, ttl_s=60)
        self.services = Ledger()
        self.metrics = Metrics()
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.supervisor = Supervisor()
        self._news = asyncio.Condition()
        more = {"folders": [folder], "entry_points": False, **more}
        self.host = Host(
            settings, services=self.services, check=self.office.check, clock=self.clock, metrics=self.metrics,
            supervisor=self.supervisor, record=self._record, state_dir=state, **more,
        )  # fmt: skip

    def write(self, name: str, source: str) -> Path:
        """Write a plugin file, as one rename."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(textwrap.dedent(source))
        beside.replace(path)
        return path

    def call(self, name: str, **members: Any) -> Call:
        query_id = new_id()
        entry = self.host.table().get(name)
        capability = entry.capability if entry is not None else "plugin:none"
        permit = self.office.issue(capability, query_id, CALLER, "grant", "g", "p")
        return Call(query_id, CALLER, permit, **members)

    async def ask(self, name: str, text: str = "hello", **fields: Any) -> Any:
        """What `handle` of a plugin returns."""
        request = {"id": "q", "text": text, "intent": None, "params": {}, "source": "http", **fields}
        return (await self.host.handle(name, request, self.call(name))).value

    async def event(self, topic: str, subject: str, count: int = 1) -> dict[str, Any]:
        """Wait until so many such events were recorded, and answer the last one's data."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: len(self._matching(topic, subject)) >= count)
        return self._matching(topic, subject)[-1]

    def view(self, name: str) -> Any:
        return self.host.view(name, admin=True)

    def _matching(self, topic: str, subject: str) -> list[dict[str, Any]]:
        return [data for t, s, data in self.events if (t, s) == (topic, subject)]

    async def _record(self, topic: str, subject: str, data: dict[str, Any]) -> None:
        self.events.append((topic, subject, data))
        async with self._news:
            self._news.notify_all()


@asynccontextmanager
async def running(tmp_path: Path, sources: dict[str, str] | None = None, **more: Any) -> AsyncIterator[Rig]:
    """A started host on `tmp_path/plugins` with these files; settings by name, other arguments of `Host` too."""
    folder = tmp_path / "plugins"
    folder.mkdir(exist_ok=True)
    known = {name: more.pop(name) for name in list(more) if name in HostSettings.model_fields}
    rig = Rig(folder, tmp_path / "state", HostSettings(**{**QUICK, **known}), **more)
    for name, source in (sources or {}).items():
        rig.write(name, source)
    try:
        await rig.host.start()
        yield rig
    finally:
        await rig.host.close()
        await rig.supervisor.close()


async def settled(rig) -> None:
    async with asyncio.timeout(10):
        while rig.host._nursery._retiring:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


def footprint() -> tuple[int, int, int, int]:
    gc.collect()
    gc.collect()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return threading.active_count(), descriptors, len(sys.modules), len(gc.get_objects())


async def routes(rig, text: str = "x"):
    return await rig.host.route_hooks({"text": text, "params": {"k": []}}, [{"plugin": "good", "score": 0.4}])


MANAGER = """
    PLUGIN = {"config": {"properties": {"n": {"default": 2}}}}
    def init(manager):
        global M
        M = manager
"""


def with_manager(*handle: str) -> str:
    return "\n".join([*(line[4:] for line in MANAGER.splitlines()), *handle, ""])
