"""Sessions: an interpreter that keeps variables and files from one piece of code to the next."""

from aiohttp import web

from orchestrator.api.endpoint import Call, awaiting, endpoint, json_answer
from orchestrator.api.endpoints.executions import answered
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.errors import ApprovalRequired
from orchestrator.contracts.executions import Execution
from orchestrator.contracts.sessions import PieceRequest, Session, SessionFile, SessionRequest

PATH = "/v1/sandbox/sessions"
ONE = PATH + "/{id}"
FILE = ONE + "/files/{path:.+}"
_BYTES = "application/octet-stream"
_CODES = ("session_ended", "sandbox_unavailable", "queue_full")


@endpoint(
    "POST", PATH, scope=Scope.EXECUTE, body=SessionRequest, answer=Session, status=201,
    codes=("limit_above_profile", "queue_full", "sandbox_unavailable", "halted", "no_grant"), awaits=True,
)  # fmt: skip
async def opening(call: Call) -> web.Response:
    """Open a session."""
    try:
        session = await call.rooms.sessions.open(call.body, call.caller)
    except ApprovalRequired as required:
        return awaiting(required, PATH)
    return json_answer(session, 201, {"Location": f"{PATH}/{session.id}"})


@endpoint("GET", PATH, scope=Scope.EXECUTE, answer=Session, lists=True)
async def listing(call: Call) -> web.Response:
    """Sessions, newest first; those that have ended, too."""
    page = call.page()
    found = await call.rooms.sessions.page(
        call.caller, limit=page.limit, before=page.identifier(), subject=page.subject
    )
    return json_answer(page.answer([session.model_dump() for session in found], "id"))


@endpoint("GET", ONE, scope=Scope.EXECUTE, answer=Session)
async def read(call: Call) -> web.Response:
    """One session as it is now."""
    return json_answer(await call.rooms.sessions.get(call.parameter("id"), call.caller))


@endpoint("DELETE", ONE, scope=Scope.EXECUTE, answer=Session)
async def ending(call: Call) -> web.Response:
    """End a session; what it kept is gone. One that has ended stays as it is."""
    return json_answer(await call.rooms.sessions.end(call.parameter("id"), call.caller))


@endpoint(
    "POST", ONE + "/executions", scope=Scope.EXECUTE, body=PieceRequest, answer=Execution, codes=_CODES,
    query=("stream",),
)  # fmt: skip
async def run(call: Call) -> web.StreamResponse:
    """Run a piece of code where those before it left off; `value` is that of its last expression."""
    session_id = call.parameter("id")
    return await answered(
        call, lambda listener: call.rooms.sessions.start(session_id, call.body, call.caller, listener)
    )


@endpoint("GET", ONE + "/files", scope=Scope.EXECUTE, answer=SessionFile, lists=True, codes=_CODES)
async def files(call: Call) -> web.Response:
    """The plain files in its working directory, by path."""
    found = await call.rooms.sessions.files(call.parameter("id"), call.caller)
    return json_answer({"items": [file.model_dump() for file in found], "next": None})


@endpoint("GET", FILE, scope=Scope.EXECUTE, codes=_CODES)
async def read_file(call: Call) -> web.Response:
    """One file, as it is."""
    content = await call.rooms.sessions.read_file(call.parameter("id"), call.parameter("path"), call.caller)
    return web.Response(body=content, headers={"Content-Type": _BYTES})


@endpoint("PUT", FILE, scope=Scope.EXECUTE, answer=SessionFile, media_type="*/*", codes=_CODES)
async def write_file(call: Call) -> web.Response:
    """Put a file there, in place of one of that name; the body is its content."""
    name = call.parameter("path")
    return json_answer(await call.rooms.sessions.write_file(call.parameter("id"), name, call.raw, call.caller))
