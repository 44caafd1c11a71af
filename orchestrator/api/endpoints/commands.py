"""Commands: seed 004's nine endpoints, and the list (CONTRACT 5)."""

from typing import Any

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.commands import (
    ApproveCommand,
    CommandStatusView,
    CommandView,
    CreateCommand,
    Decision,
    ExecutionStarted,
    PlanView,
    RejectCommand,
)

PATH = "/v1/commands"
ONE = PATH + "/{id}"


@endpoint("POST", PATH, scope=Scope.COMMAND, governed=True, body=CreateCommand, answer=CommandView, status=201)
async def create(call: Call) -> web.Response:
    """Take in an intent as a command; it is not planned yet."""
    made = await call.rooms.commands.create(call.body, call.acting, call.caller)
    return json_answer(made, 201, {"Location": f"{PATH}/{made['id']}"})


@endpoint("GET", PATH, scope=Scope.COMMAND, governed=True, answer=CommandView, lists=True, query=("open",))
async def listing(call: Call) -> web.Response:
    """The identity's commands, newest first; with `open=true` those that await a person."""
    page = call.page()
    only_open = call.request.query.get("open") == "true"
    items = await call.rooms.commands.page(call.acting, limit=page.limit, before=page.identifier(), only_open=only_open)
    return json_answer(page.answer(items, "id"))


@endpoint("GET", ONE, scope=Scope.COMMAND, governed=True, answer=CommandView)
async def one(call: Call) -> web.Response:
    """One command."""
    told = await call.rooms.commands.get(_id(call), call.acting)
    return json_answer({**told, "results": await call.rooms.results.of(_id(call), call.acting)})


@endpoint("GET", ONE + "/status", scope=Scope.COMMAND, governed=True, answer=CommandStatusView)
async def status(call: Call) -> web.Response:
    """Where it is, and whether it awaits a person."""
    return json_answer(await call.rooms.commands.status(_id(call), call.acting))


@endpoint(
    "POST", ONE + "/plan", scope=Scope.COMMAND, governed=True, answer=PlanView, status=201,
    codes=("no_candidate", "budget_exceeded", "illegal_transition"),
)  # fmt: skip
async def plan(call: Call) -> web.Response:
    """Make a plan and reserve its cost; again makes another, and voids an approval."""
    return json_answer(await call.rooms.commands.planning.plan(_id(call), call.acting, call.caller), 201)


@endpoint("GET", ONE + "/plan", scope=Scope.COMMAND, governed=True, answer=PlanView)
async def get_plan(call: Call) -> web.Response:
    """The plan as it is approved, and how its steps went."""
    return json_answer(await call.rooms.commands.planning.get_plan(_id(call), call.acting))


@endpoint(
    "POST", ONE + "/approve", scope=Scope.APPROVE, governed=True, body=ApproveCommand, answer=CommandView,
    codes=("approval_expired", "plan_changed", "person_required", "four_eyes", "illegal_transition"),
)  # fmt: skip
async def approve(call: Call) -> web.Response:
    """Approve the plan that was shown; with `approved` false, refuse it."""
    return json_answer(await call.rooms.commands.approve(_id(call), call.body, call.acting, call.caller))


@endpoint("POST", ONE + "/reject", scope=Scope.APPROVE, governed=True, body=RejectCommand, answer=CommandView)
async def reject(call: Call) -> web.Response:
    """Refuse the plan: the command is cancelled."""
    return json_answer(await call.rooms.commands.reject(_id(call), call.body.notes, call.acting, call.caller))


@endpoint(
    "POST", ONE + "/execute", scope=Scope.COMMAND, governed=True, answer=ExecutionStarted, status=202,
    codes=("approval_expired", "plan_changed", "scope_locked", "effects_pending", "halted", "illegal_transition"),
)  # fmt: skip
async def execute(call: Call) -> web.Response:
    """Begin to do what was approved; while it goes on, the same execution is answered."""
    execution_id = await call.rooms.commands.execute(_id(call), call.acting, call.caller)
    return json_answer({"execution_id": execution_id}, 202, {"Location": f"{PATH}/{_id(call)}"})


@endpoint("POST", ONE + "/cancel", scope=Scope.COMMAND, governed=True, answer=CommandView)
async def cancel(call: Call) -> web.Response:
    """End a command, and what runs of it."""
    return json_answer(await call.rooms.commands.cancel(_id(call), call.acting, call.caller))


@endpoint("POST", ONE + "/decision", scope=Scope.APPROVE, governed=True, body=Decision, answer=CommandView)
async def decide(call: Call) -> web.Response:
    """Say what becomes of a failed command: `retry`, `modify` or `discard`."""
    return json_answer(await call.rooms.commands.decide(_id(call), call.body.action, call.acting, call.caller))


def _id(call: Call) -> Any:
    return call.parameter("id")
