"""A whole daemon inside a test: real rooms, a real port, its own state directory."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.config import sources
from orchestrator.config.load import Configuration, judge
from orchestrator.config.places import places
from orchestrator.daemon.compose import Daemon, build
from orchestrator.daemon.serve import open_door

NO_ENGINE = "unix:///nonexistent/docker.sock"
"""As `sandbox.docker_host`: a daemon without an engine."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One HTTP answer. `json` is None where the body is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    def __iter__(self) -> Any:
        """`status, body = await client.get(...)`."""
        return iter((self.status, self.json))


@dataclass(frozen=True, slots=True)
class Client:
    """A client with fixed headers. `as_admin()` and `without_key()` answer others of the same daemon."""

    session: aiohttp.ClientSession
    url: str
    key: str | None = None

    async def request(self, method: str, path: str, **options: Any) -> Answered:
        """Any request; `headers` are added to the key's."""
        headers = {**({"X-API-Key": self.key} if self.key else {}), **options.pop("headers", {})}
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            return Answered(response.status, response.headers.copy(), await response.read())

    async def get(self, path: str, **options: Any) -> Answered:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answered:
        return await self.request("POST", path, **options)

    async def with_scopes(self, *scopes: str) -> "Client":
        """An admin's client makes one with a new key of these scopes."""
        made = (await self.post("/v1/keys", json={"name": "test", "scopes": list(scopes)})).json
        return self.with_key(made["key"])

    def with_key(self, key: str | None) -> "Client":
        """The same daemon with another key, or none."""
        return replace(self, key=key)


@dataclass(frozen=True, slots=True)
class Running:
    """A running daemon and its clients."""

    daemon: Daemon
    url: str
    admin: Client
    keyless: Client

    async def client(self, *scopes: str) -> Client:
        """A client with a new key of the operator's."""
        return await self.admin.with_scopes(*scopes)


def configuration(**settings: Any) -> Configuration:
    """Defaults and these settings, by dotted name with `__` for the dot; a free port."""
    flags = {"api.port": 0, "logs.level": "warning", **{name.replace("__", "."): v for name, v in settings.items()}}
    return judge(sources.gather([], {}, flags))


@asynccontextmanager
async def running(
    state: Path, plugins: Sequence[Path] = (), *, bundled: bool = True, **settings: Any
) -> AsyncIterator[Running]:
    """A daemon that serves until the block ends."""
    found = places(state, list(plugins), {})
    if not bundled:
        found = replace(found, plugin_folders=tuple(p.resolve() for p in plugins))
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(build(configuration(**settings), found))
        url, _, _ = await open_door(daemon, stack)
        daemon.rooms.started = True
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        keyless = Client(session, url)
        yield Running(daemon, url, keyless.with_key(found.admin_key.read_text().strip()), keyless)
