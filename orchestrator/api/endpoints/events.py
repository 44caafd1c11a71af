"""Events as they are committed, over SSE. The log is the truth: a client resumes by number and misses nothing."""

import asyncio
from contextlib import suppress

from aiohttp import web

from orchestrator.api import sse
from orchestrator.api.endpoint import Call, endpoint
from orchestrator.bus import topics
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.errors import Invalid

_KEEP_ALIVE_S = 15.0


@endpoint("GET", "/v1/events", scope=Scope.QUERY, media_type=sse.MEDIA_TYPE, query=("topic",))
async def stream(call: Call) -> web.StreamResponse:
    """Events that the caller may see, from now on or from `Last-Event-ID`; `?topic=query.*` narrows."""
    pattern, seq = _pattern(call), _position(call)
    with suppress(ConnectionError):
        response = await sse.opened(call)
        while not call.rooms.draining:
            advanced = call.rooms.journal.advanced
            found, seq = await call.rooms.audit.events_after(seq, call.caller)
            for event in found:
                if topics.matches(pattern, event.topic):
                    await response.write(sse.frame(event.topic, event.as_json(), event.seq))
            if not found:
                await _wait(advanced, response)
    return response


def _pattern(call: Call) -> str:
    pattern = call.request.query.get("topic", ">")
    if not topics.is_pattern(pattern):
        raise Invalid("topic: no topic pattern", errors=[{"loc": ["query", "topic"], "msg": "words, `*`, a last `>`"}])
    return pattern


def _position(call: Call) -> int:
    text = call.request.headers.get("Last-Event-ID")
    if text is None:
        return call.rooms.journal.last_seq
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid(
            "Last-Event-ID: not a number", errors=[{"loc": ["header", "Last-Event-ID"], "msg": "not a number"}]
        )
    seq, last = int(text), call.rooms.journal.last_seq
    if (
        seq > last
    ):  # numbers only grow: it was counted in another log, and waiting here would miss what comes until then
        told = f"the log ends at {last}"
        raise Invalid(f"Last-Event-ID: {told}", errors=[{"loc": ["header", "Last-Event-ID"], "msg": told}])
    return seq


async def _wait(advanced: asyncio.Event, response: web.StreamResponse) -> None:
    try:
        async with asyncio.timeout(_KEEP_ALIVE_S):
            await advanced.wait()
    except TimeoutError:
        await response.write(b": alive\n\n")
