"""The one gate that every request passes, and the fixed order in which it is refused (CONTRACT 1).

Host, origin, size, media type, key, scope, rate, body. Each refusal is cheap, and comes before the next is looked at.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from aiohttp import web

from orchestrator.api import bodies, headers, peers, problems
from orchestrator.api.endpoint import Call, Endpoint
from orchestrator.api.idempotency import Idempotency
from orchestrator.api.problems import Refusal
from orchestrator.api.rates import KeyRates, RefusalTally, WrongKeys
from orchestrator.api.rooms import Rooms
from orchestrator.api.work import Work
from orchestrator.audit.entries import Entry
from orchestrator.contracts.callers import LOOPBACK, Caller, Scope
from orchestrator.contracts.errors import (
    Forbidden,
    Malformed,
    OrchestratorError,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from orchestrator.contracts.model import Model
from orchestrator.governance.identities import Context
from orchestrator.kernel.ids import new_id

log = structlog.get_logger("api")
T = TypeVar("T")
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = ("GET", "HEAD")
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
RATE_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("rate_headers", dict[str, str])


class Nothing(Model):
    """The body of a request whose endpoint takes none."""


class Gate:
    """Admits requests, or says no in the one order."""

    def __init__(self, rooms: Rooms, idempotency: Idempotency) -> None:
        self._rooms = rooms
        self._settings = rooms.settings
        self._idempotency = idempotency
        self._rates = KeyRates(rooms.settings.key_rate_per_s)
        self._wrong_keys = WrongKeys(rooms.settings.wrong_keys_per_minute)
        self.tally = RefusalTally()
        self.work = Work()

    async def pass_through(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """The aiohttp middleware: whatever happens, the client gets an answer in the one form."""
        offered = request.headers.get("X-Request-Id", "")
        request_id = offered if _REQUEST_ID.fullmatch(offered) else new_id()
        request[REQUEST_ID] = request_id
        try:
            self._addressed(request)
            response = await handler(request)
        except OrchestratorError as fault:
            response = self._refusal(request, fault)
        except web.HTTPException as fault:
            response = self._refusal(request, _translated(fault))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("api.defect", method=request.method, path=request.path, request_id=request_id)
            response = self._refusal(request, OrchestratorError("a defect of the daemon; its log says more"))
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        self._rooms.metrics.request_done(request.method, route, response.status)
        return response

    async def stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        """The signal before the headers of any answer leave, a stream's included."""
        headers.stamp(response, request[REQUEST_ID])
        response.headers.update(request.get(RATE_HEADERS, {}))

    def unread(self, peer: str | None, code: str) -> None:
        """Count the refusal of what could not be read as a request."""
        self._count_unknown(peer, code)
        self._rooms.metrics.refused.labels(code).inc()

    async def serve(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        """Take one request through all checks to its endpoint."""
        self._acceptable(request, endpoint)
        caller = request[CALLER] = self._caller(request, endpoint)
        self._scope(request, caller, endpoint)
        self._rate(request, caller)
        if self._rooms.draining and request.method not in _SAFE:
            raise Unavailable("the daemon is shutting down", code="draining")
        if request.method in _SAFE:
            return await self._admitted(request, caller, endpoint)
        with self.work:
            return await self._admitted(request, caller, endpoint)

    async def _admitted(self, request: web.Request, caller: Caller, endpoint: Endpoint) -> web.StreamResponse:
        call = Call(request, request[REQUEST_ID], caller, None, self._rooms)
        if endpoint.governed:
            call.context = await self._context(call)
        raw = call.raw = await self._read(request)
        if "Idempotency-Key" in request.headers and request.method == "POST":
            return await self._idempotency.once(call, endpoint, raw, lambda: self._answer(call, endpoint, raw))
        return await self._answer(call, endpoint, raw)

    async def _context(self, call: Call) -> Context:
        """In whose name and where a command is given; refused, and written down, before its body is read (R4-01)."""
        headers = call.request.headers
        try:
            return await self._rooms.identities.acting(
                call.caller, headers.get("x-identity-id"), headers.get("x-context-id"),
                four_eyes=self._rooms.governance.four_eyes,
            )  # fmt: skip
        except OrchestratorError as fault:
            await self._record_refusal(call, fault)
            raise

    async def _answer(self, call: Call, endpoint: Endpoint, raw: bytes) -> web.StreamResponse:
        try:
            call.check_query(endpoint)
            if endpoint.body is not None and not endpoint.raw:
                call.body = bodies.parse(endpoint.body, raw, endpoint.body_code)
            elif raw and endpoint.media_type == "application/json" and not endpoint.raw:
                bodies.parse(Nothing, raw)
            return await endpoint.handler(call)
        except OrchestratorError as fault:
            await self._audit_refusal(call, endpoint, fault)
            raise

    def _addressed(self, request: web.Request) -> None:
        """Refuse what is not addressed to this daemon, or comes from a page elsewhere."""
        settings = self._settings
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        names = [host] if request.raw_path.startswith("/") else [host, request.host]  # the target may name one as well
        if not all(peers.host_allowed(name, settings.allowed_hosts, settings.host) for name in names):
            raise Refusal(
                421, "host_denied", "this Host is not served; the setting api.allowed_hosts lists those that are"
            )
        if request.method in _SAFE or origin is None or peers.origin_allowed(origin, host, settings.allowed_origins):
            return
        raise Forbidden(
            "this Origin may not; the setting api.allowed_origins lists those that may", code="origin_denied"
        )

    def _acceptable(self, request: web.Request, endpoint: Endpoint) -> None:
        """Refuse a body by its size and type, unread."""
        most = self._settings.max_body_bytes
        if (request.content_length or 0) > most:
            raise Refusal(413, "too_large", f"a body has at most {most} bytes")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refusal(415, "media_type", "send the body as it is, without a Content-Encoding")
        if request.body_exists and endpoint.media_type not in ("*/*", request.content_type.lower()):
            raise Refusal(415, "media_type", f"this endpoint takes {endpoint.media_type}")

    def _caller(self, request: web.Request, endpoint: Endpoint) -> Caller:
        nobody = Caller(owner=LOOPBACK, kind="loopback", scopes=frozenset())
        if endpoint.scope is None and not endpoint.any_key:
            return nobody
        secret = _secret(request)
        if secret is None:
            return self._keyless(request, endpoint)
        return self._rooms.keys.caller(secret) or self._wrong_key(request)

    def _keyless(self, request: web.Request, endpoint: Endpoint) -> Caller:
        local = peers.is_loopback(request.remote or "", request.headers)
        if endpoint.scope is Scope.QUERY and local and not self._rooms.governance.require_key:
            return Caller(owner=LOOPBACK, kind="loopback", scopes=frozenset({Scope.QUERY}))
        raise Unauthenticated(
            "a key is needed: X-API-Key, or Authorization: Bearer", headers={"WWW-Authenticate": "Bearer"}
        )

    def _wrong_key(self, request: web.Request) -> Caller:
        wait = self._wrong_keys.add(request.remote or "", self._rooms.clock.monotonic())
        if wait:
            request[RATE_HEADERS] = _rate_headers(self._settings.wrong_keys_per_minute, 0, wait)
            raise TooMany("too many wrong keys", code="rate_limited", retry_after_s=wait)
        raise Unauthenticated(
            "the key is unknown, revoked or expired", code="key_invalid", headers={"WWW-Authenticate": "Bearer"}
        )

    def _scope(self, request: web.Request, caller: Caller, endpoint: Endpoint) -> None:
        if endpoint.scope is not None and not caller.may(endpoint.scope):
            fault = Forbidden(f"the key lacks the scope {endpoint.scope.value}")
            entry = Entry(
                "request.refused", _path(request), caller.owner, fault.code, _facts(request, caller), caller.owner
            )
            self._rooms.journal.note(entry)
            raise fault

    def _rate(self, request: web.Request, caller: Caller) -> None:
        if caller.key_id is None or peers.is_loopback(request.remote or "", request.headers):
            return
        left, wait = self._rates.take(caller.key_id, self._rooms.clock.monotonic())
        size = self._rates.size
        request[RATE_HEADERS] = _rate_headers(int(size), int(left), (size - left) / self._rates.rate)
        if wait:
            raise TooMany(f"a key may ask {self._rates.rate:g} times a second", code="rate_limited", retry_after_s=wait)

    async def _read(self, request: web.Request) -> bytes:
        """The body. Raises `Refusal` for one that is too large or too slow, `Malformed` for one that breaks off."""
        if not request.body_exists:
            return b""
        most = self._settings.max_body_bytes
        too_large = Refusal(413, "too_large", f"a body has at most {most} bytes")
        if request.content.is_eof():  # all of it has arrived
            raw = request.content.read_nowait()
            if len(raw) > most:
                raise too_large
            return raw
        try:
            async with asyncio.timeout(self._settings.body_timeout_ms / 1000):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None
        except web.RequestPayloadError:
            raise Malformed("the body cannot be read as its headers say") from None
        except TimeoutError:
            raise Refusal(408, "body_timeout", "the body did not arrive in time") from None

    async def _audit_refusal(self, call: Call, endpoint: Endpoint, fault: OrchestratorError) -> None:
        """Write down what was refused to a known caller; queries and executions have written their own rows."""
        if endpoint.method != "GET" and not call.audited:
            await self._record_refusal(call, fault)

    async def _record_refusal(self, call: Call, fault: OrchestratorError) -> None:
        data = {**_facts(call.request, call.caller), "detail": fault.detail[:500]}
        await self._rooms.journal.record(
            Entry("request.refused", _path(call.request), call.caller.owner, fault.code, data, call.caller.owner)
        )

    def _refusal(self, request: web.Request, fault: OrchestratorError) -> web.Response:
        if CALLER not in request:  # refused before anybody knew who asked
            self._count_unknown(request.remote, fault.code)
        self._rooms.metrics.refused.labels(fault.code).inc()
        return problems.answer(fault, request[REQUEST_ID])

    def _count_unknown(self, peer: str | None, code: str) -> None:
        self.tally.add(peer or "unknown", code, int(self._rooms.clock.now().timestamp() // 60))


def _rate_headers(limit: int, left: int, full_in_s: float) -> dict[str, str]:
    """How many may come, how many of them are left, and in how many seconds all of them will be there again."""
    reset = str(math.ceil(full_in_s))
    return {"RateLimit-Limit": str(limit), "RateLimit-Remaining": str(left), "RateLimit-Reset": reset}


def _facts(request: web.Request, caller: Caller) -> dict[str, Any]:
    return {"method": request.method, "path": _path(request), "key_id": caller.key_id, "peer": request.remote}


def _path(request: web.Request) -> str:
    """A path as it is written down: short, and without what a database does not keep."""
    return request.path[:200].replace("\x00", "\ufffd")


def _secret(request: web.Request) -> str | None:
    """The key that a request carries. Raises `Unauthenticated` where headers disagree or the scheme is another."""
    found = {key.strip() for key in request.headers.getall("X-API-Key", [])}
    for authorization in request.headers.getall("Authorization", []):
        scheme, _, secret = authorization.partition(" ")
        found.add(secret.strip() if scheme.lower() == "bearer" else "")
    if len(found) > 1 or "" in found:
        raise Unauthenticated(
            "one key, in X-API-Key or as a Bearer token", code="key_invalid", headers={"WWW-Authenticate": "Bearer"}
        )
    return found.pop() if found else None


def _translated(fault: web.HTTPException) -> OrchestratorError:
    known = {404: "not_found", 405: "method", 413: "too_large", 415: "media_type", 400: "malformed"}
    headers = {"Allow": fault.headers["Allow"]} if "Allow" in fault.headers else {}
    return Refusal(fault.status, known.get(fault.status, "refused"), fault.reason, headers=headers)
