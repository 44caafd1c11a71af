"""Goals and plans in seed 001's words: each plan is done by a command (CONTRACT 5)."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.commands import ApproveCommand
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plan_acts import (
    ExecutePlan,
    GivenPlan,
    History,
    PlanDetail,
    PlanExecutionStarted,
    Replan,
    Replay,
    StatsView,
    Timeline,
)
from orchestrator.contracts.plans import Goal
from orchestrator.plans import archives, history

PATH = "/v1/plans"
ONE = PATH + "/{id}"
_TAKEN_IN = ("plan_invalid", "plan_exists", "budget_exceeded")


@endpoint(
    "POST", "/v1/goals/plan", scope=Scope.COMMAND, governed=True, body=Goal, answer=PlanDetail, status=201,
    codes=("no_candidate", *_TAKEN_IN),
)  # fmt: skip
async def plan_goal(call: Call) -> web.Response:
    """Plan a goal: for each success criterion the capability that fits it best; the plan awaits an approval."""
    return _made(await call.rooms.plans.for_goal(call.body, call.acting, call.caller))


@endpoint(
    "POST", PATH, scope=Scope.COMMAND, governed=True, body=GivenPlan, answer=PlanDetail, status=201,
    body_code="plan_invalid", codes=_TAKEN_IN,
)  # fmt: skip
async def create(call: Call) -> web.Response:
    """Take in a plan: judged with all its faults at once, priced, and put to a person."""
    return _made(await call.rooms.plans.create(call.body, call.acting, call.caller))


@endpoint(
    "POST", PATH + "/import", scope=Scope.COMMAND, governed=True, body=History, answer=PlanDetail, status=201, raw=True,
    codes=("history_invalid", "plan_exists"),
)  # fmt: skip
async def take_in(call: Call) -> web.Response:
    """Import an exported history, to be read like one of here; nothing of it is executed."""
    return _made(await call.rooms.plans.take_in(call.raw, call.acting, call.caller))


@endpoint("GET", PATH, scope=Scope.COMMAND, governed=True, answer=PlanDetail, lists=True)
async def listing(call: Call) -> web.Response:
    """The identity's plans, newest first, without their executions; fewer at once where they are large."""
    page = call.page()
    items, more = await call.rooms.plans.page(call.acting, limit=page.limit, before=page.identifier())
    return json_answer({"items": items, "next": items[-1]["uuid"] if more else None})


@endpoint("GET", ONE, scope=Scope.COMMAND, governed=True, answer=PlanDetail)
async def one(call: Call) -> web.Response:
    """A plan, where it is, and its execution once there is one."""
    return json_answer(await call.rooms.plans.get(_id(call), call.acting))


@endpoint(
    "POST", ONE + "/approve", scope=Scope.APPROVE, governed=True, body=ApproveCommand, answer=PlanDetail,
    codes=("approval_expired", "plan_changed", "person_required", "illegal_transition"),
)  # fmt: skip
async def approve(call: Call) -> web.Response:
    """Approve the plan that was shown; with `approved` false, refuse it."""
    return json_answer(await call.rooms.plans.approve(_id(call), call.body, call.acting, call.caller))


@endpoint(
    "POST", ONE + "/execute", scope=Scope.COMMAND, governed=True, body=ExecutePlan, answer=PlanExecutionStarted,
    status=202, codes=("approval_expired", "plan_changed", "scope_locked", "illegal_transition"),
)  # fmt: skip
async def execute(call: Call) -> web.Response:
    """Begin to do what was approved; while it goes on, the same execution is answered."""
    begun = await call.rooms.plans.execute(_id(call), call.body.context, call.acting, call.caller)
    return json_answer({"execution_id": begun}, 202, {"Location": f"{PATH}/{_id(call)}"})


@endpoint(
    "POST", ONE + "/replan", scope=Scope.COMMAND, governed=True, body=Replan, answer=PlanDetail, status=201,
    codes=(*_TAKEN_IN, "illegal_transition"),
)  # fmt: skip
async def replan(call: Call) -> web.Response:
    """A new plan without the step that failed; what completed is kept, and a person approves anew."""
    wanted = call.body
    return _made(await call.rooms.plans.replan(_id(call), wanted.step_id, wanted.error, call.acting, call.caller))


@endpoint("GET", ONE + "/timeline", scope=Scope.COMMAND, governed=True, answer=Timeline)
async def timeline(call: Call) -> web.Response:
    """What happened when, with the durations of what ended."""
    plan_id, events = await call.rooms.plans.history(_id(call), call.acting)
    return json_answer({"planId": plan_id, "items": [moment.as_json() for moment in history.timeline(events)]})


@endpoint("GET", ONE + "/stats", scope=Scope.COMMAND, governed=True, answer=StatsView)
async def stats(call: Call) -> web.Response:
    """Sums over what happened."""
    _, events = await call.rooms.plans.history(_id(call), call.acting)
    return json_answer(history.stats(events).as_json())


@endpoint("GET", ONE + "/export", scope=Scope.COMMAND, governed=True, answer=History)
async def export(call: Call) -> web.Response:
    """The whole history as canonical JSON, for `POST /v1/plans/import`."""
    plan_id, events = await call.rooms.plans.history(_id(call), call.acting)
    return json_answer(archives.exported(events, plan_id))


@endpoint("GET", ONE + "/replay", scope=Scope.COMMAND, governed=True, answer=Replay)
async def replay(call: Call) -> web.Response:
    """Every entry in the order in which it was recorded; nothing is executed."""
    plan_id, events = await call.rooms.plans.history(_id(call), call.acting)
    told: list[JsonObject] = []
    history.replay(events, plan_id, lambda event: told.append(event.model_dump(mode="json")))
    return json_answer({"planId": plan_id, "items": told})


def _made(detail: JsonObject) -> web.Response:
    return json_answer(detail, 201, {"Location": f"{PATH}/{detail['id']}"})


def _id(call: Call) -> str:
    return call.parameter("id")
