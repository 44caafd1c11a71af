"""Connections whose clients do not speak HTTP: told so in the one form, without a traceback in the log for each."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.web_protocol import RequestHandler

from orchestrator.api import headers, problems
from orchestrator.api.problems import Refusal
from orchestrator.kernel.ids import new_id

log = structlog.get_logger("api")


Unread = Callable[[str | None, str], None]
"""Told the peer and the code of each refusal that no application saw."""
_TOO_LONG = Refusal(431, "too_large", "the request line or a header is too long: 8190 bytes are the most")
_METHOD = Refusal(405, "method", "there is no such method", headers={"Allow": "GET, HEAD, POST, PUT, DELETE"})
_REQUEST_LINE = re.compile(r"b['\"][!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/1\.[01](\\r|['\"])")
"""A good request line as the parser quotes it: then only its method was unknown."""
_NOT_HTTP = Refusal(400, "malformed", "this is not an HTTP request that can be read")
_DEFECT = Refusal(500, "internal", "a defect of the daemon; its log says more")


class Runner(web.AppRunner):
    """Serves an application; what cannot be parsed gets a problem document."""

    __slots__ = ("_unread",)

    def __init__(self, app: web.Application, unread: Unread, **more: Any) -> None:
        super().__init__(app, **more)
        self._unread = unread

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)
        server.unread = self._unread
        return server


class _Server(web.Server):
    unread: Unread

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


def gone(request: web.Request) -> "asyncio.Future[None]":
    """Done when the client of this request has left."""
    protocol = request.protocol
    assert isinstance(protocol, _Connection)
    return protocol.lost


class _Connection(RequestHandler):
    __slots__ = ("lost",)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that could not be parsed, or whose answer could not be made."""
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer has been sent already")
        if status >= 500:
            log.error("api.defect", exc_info=exc)
            refusal = _DEFECT
        else:
            log.debug("api.not_http", peer=request.remote, fault=str(exc)[:200])
            refusal = _judged(exc)
            assert isinstance(self._manager, _Server)
            self._manager.unread(request.remote, refusal.code)
        request_id = new_id()
        response = problems.answer(refusal, request_id)
        headers.stamp(response, request_id)
        response.force_close()
        return response


def _judged(fault: BaseException | None) -> Refusal:
    """What was wrong with something that is no request."""
    if isinstance(fault, LineTooLong):
        return _TOO_LONG
    return _METHOD if isinstance(fault, BadHttpMethod) and _REQUEST_LINE.search(str(fault)) else _NOT_HTTP
