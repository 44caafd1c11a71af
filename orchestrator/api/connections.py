"""Connections whose clients do not speak HTTP: told so in the one form, without a traceback in the log for each."""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from orchestrator.api import problems
from orchestrator.api.problems import Refusal
from orchestrator.kernel.ids import new_id

log = structlog.get_logger("api")


class Runner(web.AppRunner):
    """Serves an application; what cannot be parsed gets a problem document."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)


class _Server(web.Server):
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
        code = {400: "malformed", 413: "too_large", 431: "too_large"}.get(status, "internal")
        if status >= 500:
            log.error("api.defect", exc_info=exc)
            detail = "a defect of the daemon; its log says more"
        else:
            log.debug("api.not_http", peer=request.remote, fault=str(exc)[:200])
            detail = "this is not an HTTP request that can be read"
        request_id = new_id()
        response = problems.answer(Refusal(status, code, detail), request_id)
        response.headers["X-Request-Id"] = request_id
        response.force_close()
        return response
