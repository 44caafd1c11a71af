"""Server-sent events: how a stream of them is opened, and what one looks like on the wire."""

from typing import Any

import pydantic_core
from aiohttp import web

from orchestrator.api.endpoint import Call

MEDIA_TYPE = "text/event-stream"


async def opened(call: Call) -> web.StreamResponse:
    """A response to which frames can be written."""
    response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE})
    await response.prepare(call.request)
    await response.write(b": stream\n\n")
    return response


def frame(event: str, data: Any, number: int | None = None) -> bytes:
    """One event; `number` is what a client resumes from."""
    body = pydantic_core.to_json(data)
    head = b"" if number is None else b"id: %d\n" % number
    return head + b"event: %s\ndata: %s\n\n" % (event.encode(), body)
