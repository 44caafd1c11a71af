"""The daemon behind the Python interface: in this process, or the one that holds the state directory (CONTRACT 8).

Either way it is asked through its door, as any client, so that one set of rules holds. While this process has the state
directory open, it is the daemon: what waits for an approval can be approved from the command line meanwhile.
"""

import asyncio
import io
import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import aiohttp
import pydantic_core

from orchestrator.config import sources
from orchestrator.config.load import Configuration, judge
from orchestrator.config.places import Places, checkout, places
from orchestrator.contracts import errors
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import Conflict, StartRefused, Unavailable
from orchestrator.daemon import lock
from orchestrator.daemon.compose import Daemon, build
from orchestrator.daemon.serve import open_door
from orchestrator.governance.capabilities import Capability
from orchestrator.governance.identities import Context
from orchestrator.governance.local import Handler

_LOCAL = {"api.host": "127.0.0.1", "api.port": 0}


class Workspace:
    """One state directory. Each call opens it for its own time; `async with` keeps it open for many."""

    _known: ClassVar[dict[Path, "Workspace"]] = {}

    def __init__(self, where: Places) -> None:
        self._places = where
        self._users = 0
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._who: dict[str, str] = {}
        self.daemon: Daemon | None = None
        self.registered: dict[str, tuple[Capability, Handler]] = {}
        self.taken_in: dict[str, str] = {}
        """Under which id a plan was taken in that had to be taken in again."""

    @classmethod
    def of(cls, state_dir: str | Path | None = None, plugins: list[Path] | None = None) -> "Workspace":
        """The workspace of a state directory: the same for all that name the same one."""
        where = places(Path(state_dir) if state_dir else None, plugins or [])
        return cls._known.setdefault(where.state, cls(where))

    @property
    def here(self) -> Daemon:
        """The daemon in this process. Raises `Conflict` (`held_elsewhere`) where another one holds the state."""
        if self.daemon is None:
            raise Conflict(
                "a daemon holds the state directory, and code of this process does not run there: end it, or name "
                "another state_dir", code="held_elsewhere",
            )  # fmt: skip
        return self.daemon

    def register(self, capability: Capability, handler: Handler) -> None:
        """Plan and call a capability of this process, now and whenever it is open."""
        self.registered[capability.skill] = (capability, handler)
        if self.daemon is not None:
            self.daemon.rooms.commands.planning.local.put(capability, handler)

    def unregister(self, name: str) -> None:
        """Plan it no more."""
        self.registered.pop(name, None)
        if self.daemon is not None:
            self.daemon.rooms.commands.planning.local.remove(name)

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        """What the daemon answers, in the operator's name or in that of a key. Raises the fault that it tells."""
        if self._session is None:
            raise Unavailable("the state directory is not open", code="draining")
        who = self._who if key is None else await self._identified(key)
        sent = None if body is None else io.BytesIO(pydantic_core.to_json(body))
        headers = {**who, **({"Content-Type": "application/json"} if sent else {})}
        async with self._session.request(method, path, data=sent, headers=headers) as response:
            answer = json.loads(await response.read() or b"null")
            if response.status >= 400:
                raise errors.of_problem(answer)
            return answer

    async def acting(self) -> tuple[Caller, Context]:
        """The operator, as the daemon in this process knows him from his key, and where he acts."""
        rooms = self.here.rooms
        caller = rooms.keys.caller(self._who["X-API-Key"])
        assert caller is not None, "the key opened the door"
        return caller, await rooms.identities.acting(caller, self._who["x-identity-id"], self._who["x-context-id"])

    async def __aenter__(self) -> Self:
        """Open it. Raises `StartRefused`, `Conflict`."""
        async with self._turn():
            if self._users == 0:
                try:
                    await self._open()
                except BaseException:
                    await self._close()
                    raise
            self._users += 1
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        async with self._turn():
            self._users -= 1
            if self._users == 0:
                await self._close()

    def _turn(self) -> asyncio.Lock:
        """Opening and closing, one at a time. A program may run one event loop after another."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = (loop, asyncio.Lock())
        return self._lock[1]

    async def _open(self) -> None:
        try:
            address = await self._start()
        except StartRefused:
            if not self._places.address.exists():
                raise
            address = json.loads(self._places.address.read_text())["address"]
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession(address))
        self._who = await self._identified(self._places.admin_key.read_text().strip())
        if self.registered:
            for capability, handler in self.registered.values():
                self.here.rooms.commands.planning.local.put(capability, handler)

    async def _start(self) -> str:
        self.daemon = await self._stack.enter_async_context(build(_configured(), self._places))
        address, _, _ = await open_door(self.daemon, self._stack)
        self.daemon.rooms.started = True
        lock.announce(self._places.address, address)
        self._stack.callback(self._places.address.unlink, missing_ok=True)
        return address

    async def _close(self) -> None:
        self.daemon = self._session = None
        await self._stack.aclose()

    async def _identified(self, key: str) -> dict[str, str]:
        """The headers of one who acts with this key, in his active context. Raises `Unauthenticated`."""
        assert self._session is not None
        async with self._session.get("/v1/me", headers={"X-API-Key": key}) as response:
            me = json.loads(await response.read())
        if response.status >= 400:
            raise errors.of_problem(me)
        active = next((one["id"] for one in me["contexts"] if one["active"]), "")
        return {"X-API-Key": key, "x-identity-id": me["identity_id"], "x-context-id": active}


def _configured() -> Configuration:
    return judge(sources.gather(sources.files(None, os.environ, checkout()), os.environ, _LOCAL))
