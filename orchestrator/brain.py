"""The Python interface of seed 002: `await Brain().handle_query({...})` (R2-13 to R2-16).

A `Brain` opens the state directory itself, or talks to the daemon that holds it; a query goes the same way in both.
"""

import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import ValidationError

from orchestrator.api import bodies
from orchestrator.config import sources
from orchestrator.config.load import judge
from orchestrator.config.places import checkout, places
from orchestrator.contracts import errors
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.errors import ApprovalRequired, Forbidden, StartRefused, Unavailable
from orchestrator.contracts.queries import QueryRequest
from orchestrator.daemon.compose import Daemon, build
from orchestrator.docker_manager import DockerManager
from orchestrator.kernel.canonical import sha256_hex


class AdminKeys:
    """The admin keys that this program added: a set that keeps hashes only (R2-15)."""

    def __init__(self) -> None:
        self._hashes: set[str] = set()
        self._waiting: list[str] = []

    def add(self, key: str) -> None:
        """Make `key` an admin key of the operator, from the next query on. Raises `ValueError` for an empty one."""
        if not key.strip():
            raise ValueError("a key is not empty")
        if key not in self:
            self._hashes.add(sha256_hex(key.encode()))
            self._waiting.append(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and sha256_hex(key.encode()) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)

    def take(self) -> list[str]:
        """The keys that are not stored yet; they are forgotten here."""
        waiting, self._waiting = self._waiting, []
        return waiting


class Brain:
    """Answers queries from Python, with the operator's rights.

    `await Brain().handle_query({...})` opens the state directory for that one query. `async with Brain() as brain`, or
    `open` and `close`, keep it open for many.
    """

    def __init__(self, state_dir: str | Path | None = None, plugins: list[Path] | None = None) -> None:
        self._places = places(Path(state_dir) if state_dir else None, plugins or [])
        self._configuration = judge(sources.gather(sources.files(None, os.environ, checkout()), os.environ, {}))
        self._stack = AsyncExitStack()
        self._daemon: Daemon | None = None
        self._session: aiohttp.ClientSession | None = None
        self._allow_network = False
        self.docker_manager = DockerManager(self._configuration.settings.sandbox.docker_host)
        self.admin_api_keys = AdminKeys()

    @property
    def allow_network(self) -> bool:
        """Whether code may reach a network; every result says so then. Raises `Forbidden` outside of `dev` (R2-14)."""
        return self._allow_network

    @allow_network.setter
    def allow_network(self, allow: bool) -> None:
        settings = self._configuration.settings
        if allow and not settings.dev:
            raise Forbidden("code gets a network in development mode only: set dev = true", code="network_disabled")
        if allow and (self._session is not None or self._daemon is not None):
            raise Forbidden("say so before the first query", code="network_disabled")
        self._allow_network = allow

    async def open(self) -> Self:
        """Open the state directory, or reach the daemon that holds it. Raises `StartRefused`, `Unavailable`."""
        if self._daemon is not None or self._session is not None:
            return self
        try:
            self._daemon = await self._stack.enter_async_context(build(self._configured(), self._places))
        except StartRefused:
            if not self._places.address.exists():
                raise
            address = json.loads(self._places.address.read_text())["address"]
            key = self._places.admin_key.read_text().strip()
            session = aiohttp.ClientSession(address, headers={"X-API-Key": key})
            self._session = await self._stack.enter_async_context(session)
        return self

    async def handle_query(self, query: dict[str, Any]) -> dict[str, Any]:
        """Answer `{"text", "intent"?, "params"?, "plugin"?}` with the object of `POST /query`.

        Refusals raise the same `OrchestratorError` wherever they are made: here, or by the daemon. So does what a
        person has to approve first, `ApprovalRequired`, with `id` and `command_id` in its `extra` (X-01).
        """
        try:
            request = QueryRequest.model_validate(query)
        except ValidationError as fault:
            raise bodies.invalid(fault) from None
        if self._daemon is not None or self._session is not None:
            return await self._answer(request)
        async with self:
            return await self._answer(request)

    async def _answer(self, request: QueryRequest) -> dict[str, Any]:
        if self._daemon is None:
            return await self._ask_daemon(request)
        for secret in self.admin_api_keys.take():
            operator = self._daemon.operator.id
            await self._daemon.rooms.keys.create("python", frozenset({Scope.ADMIN}), operator, operator, secret=secret)
        caller = Caller(self._daemon.operator.id, "person", frozenset({Scope.ADMIN}), source="python")
        answer = await self._daemon.rooms.desk.answer(request, caller)
        found: dict[str, Any] = json.loads(answer)
        return found

    async def close(self) -> None:
        """Let go of the state directory, or of the daemon."""
        self._daemon = self._session = None
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    def _configured(self) -> Any:
        flags: dict[str, Any] = {"sandbox.allow_network": True} if self._allow_network else {}
        if self.docker_manager.base_url is not None:
            flags["sandbox.docker_host"] = self.docker_manager.base_url
        return judge(sources.gather(sources.files(None, os.environ, checkout()), os.environ, flags))

    async def _ask_daemon(self, request: QueryRequest) -> dict[str, Any]:
        if self._session is None:
            raise Unavailable("the brain is closed", code="draining")
        if self.admin_api_keys.take():
            raise Forbidden("a daemon holds the state directory: make keys with `orchestrator keys create`")
        async with self._session.post("/query", json=request.model_dump(exclude_defaults=True)) as response:
            body: dict[str, Any] = await response.json(content_type=None)
            if response.status == ApprovalRequired.status:
                raise ApprovalRequired("a person has to approve it first", extra=body)
            if response.status >= 400:
                raise errors.of_problem(body)
            return body
