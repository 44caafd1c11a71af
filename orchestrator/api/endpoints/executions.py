"""Executions: code in a container without a network."""

import asyncio
import base64
import codecs
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from orchestrator.api import connections, sse
from orchestrator.api.endpoint import Call, awaiting, endpoint, json_answer
from orchestrator.api.problems import Refusal, document
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.errors import ApprovalRequired, Invalid, OrchestratorError
from orchestrator.contracts.executions import Execution, ExecutionRequest, OutputName, Progress
from orchestrator.governance.executions import Running

PATH = "/v1/sandbox/executions"
_CHARACTER_BYTES = 4
Start = Callable[[Progress | None], Awaitable[Running]]


@endpoint(
    "POST",
    PATH,
    scope=Scope.EXECUTE,
    body=ExecutionRequest,
    answer=Execution,
    codes=("limit_above_profile", "queue_full", "sandbox_unavailable", "halted", "no_grant", "budget_exceeded"),
    query=("stream",),
    awaits=True,
)
async def run(call: Call) -> web.StreamResponse:
    """Run a program; 200 whatever it did. `Prefer: respond-async` answers 202 at once, `?stream=sse` streams output."""
    try:
        return await answered(call, lambda listener: call.rooms.executions.start(call.body, call.caller, listener))
    except ApprovalRequired as required:
        return awaiting(required, PATH)


async def answered(call: Call, start: Start) -> web.StreamResponse:
    """What `start` begins, answered as the client wants it: at its end, by a stream, or at once."""
    call.audited = True
    if (how := call.request.query.get("stream")) is not None:
        if how != "sse":
            raise Invalid("stream: sse is the only one", errors=[{"loc": ["query", "stream"], "msg": "sse"}])
        return await _stream(call, start)
    running = await start(None)
    if "respond-async" in call.request.headers.get("Prefer", ""):
        headers = {"Location": f"{PATH}/{running.id}", "Preference-Applied": "respond-async"}
        return json_answer(running.view(), 202, headers)
    return json_answer(await _outcome(call, running))


@endpoint("GET", PATH, scope=Scope.EXECUTE, answer=Execution, lists=True)
async def listing(call: Call) -> web.Response:
    """Executions without their outputs, newest first."""
    page = call.page()
    items = await call.rooms.executions.page(
        call.caller, limit=page.limit, before=page.identifier(), subject=page.subject
    )
    return json_answer(page.answer(items, "id"))


@endpoint("GET", PATH + "/{id}", scope=Scope.EXECUTE, answer=Execution)
async def read(call: Call) -> web.Response:
    """One execution with its outputs; `queued` or `running` until it has ended."""
    return json_answer(await call.rooms.executions.get(call.parameter("id"), call.caller))


@endpoint("DELETE", PATH + "/{id}", scope=Scope.EXECUTE, answer=Execution)
async def cancel(call: Call) -> web.Response:
    """End an execution; the answer says how it ended. One that has ended stays as it is."""
    return json_answer(await call.rooms.executions.cancel(call.parameter("id"), call.caller))


async def _outcome(call: Call, running: Running) -> Execution:
    """Its end; a client that leaves takes it down. Raises what kept it from starting."""
    assert running.task is not None
    either: list[asyncio.Future[Any]] = [running.task, connections.gone(call.request)]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not running.task.done():
        await call.rooms.executions.cancel(running.id, call.caller)
        raise Refusal(499, "client_gone", "the client left before the answer")
    outcome = running.task.result()
    if isinstance(outcome, OrchestratorError):
        raise outcome
    return outcome


async def _stream(call: Call, start: Start) -> web.StreamResponse:
    """Frames `stdout` and `stderr` as they come, then `result`; a client that leaves takes the program down.

    What a slow client has not read yet waits here, and is at most what the limits let the program write.
    """
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    listener = _Listener(pieces)
    running = await start(listener)
    assert running.task is not None
    for end in (running.task, connections.gone(call.request)):
        end.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        response = await sse.opened(call)
        while (piece := await pieces.get()) is not None:
            await response.write(piece)
        if not running.task.done():
            raise ConnectionResetError("the client left before the end")
        for rest in listener.rest():
            await response.write(rest)
        outcome = running.task.result()
        failed = isinstance(outcome, OrchestratorError)
        body = document(outcome, call.request_id) if isinstance(outcome, OrchestratorError) else outcome
        await response.write(sse.frame("error" if failed else "result", body))
    except ConnectionError:
        await call.rooms.executions.cancel(running.id, call.caller)
        raise
    return response


class _Listener:
    """Makes frames of output as it comes. Text is cut between characters; what is no text goes as base64."""

    def __init__(self, pieces: "asyncio.Queue[bytes | None]") -> None:
        self._pieces = pieces
        self._seq = 0
        self._pending = {"stdout": b"", "stderr": b""}

    def status(self, status: str) -> None:
        return

    def output(self, name: OutputName, data: bytes) -> None:
        data = self._pending[name] + data
        whole = _whole_characters(data)
        self._pending[name] = data[whole:]
        if whole:
            self._pieces.put_nowait(self._frame(name, data[:whole]))

    def rest(self) -> list[bytes]:
        """What never became a whole character."""
        return [self._frame(name, data) for name, data in self._pending.items() if data]

    def _frame(self, name: str, data: bytes) -> bytes:
        self._seq += 1
        try:
            text, encoding = data.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = base64.b64encode(data).decode(), "base64"
        return sse.frame(name, {"seq": self._seq, "data": text, "encoding": encoding}, self._seq)


def _whole_characters(data: bytes) -> int:
    """How many bytes go before a character that is cut at the end; all where there is none."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    decoder.decode(data[-_CHARACTER_BYTES:])
    return len(data) - len(decoder.getstate()[0])
