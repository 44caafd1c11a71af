"""Whether the daemon lives, and whether it serves."""

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer


@endpoint("GET", "/healthz", aliases=("/health",))
async def alive(call: Call) -> web.Response:
    """The process lives."""
    return json_answer({"status": "ok"})


@endpoint("GET", "/readyz")
async def ready(call: Call) -> web.Response:
    """Whether queries are served, part by part.

    503 until first ready, while draining or halted, and without a store; an engine that went later is 200, `degraded`.
    """
    checks = call.rooms.checks()
    faults = {name for name, check in checks.items() if check["status"] != "ok"}
    store_gone = checks.get("store", {}).get("status") == "failed"
    if call.rooms.draining:
        status, code = "draining", 503
    elif call.rooms.halts.current is not None:
        status, code = "halted", 503
    elif not call.rooms.started or store_gone:
        status, code = "starting" if not call.rooms.started else "failed", 503
    else:
        status, code = ("degraded" if faults else "ok"), 200
    return json_answer({"status": status, "checks": checks}, code)
