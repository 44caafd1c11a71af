"""The audit: what was done, by whom, on whose permission."""

from typing import Any

from aiohttp import web

from orchestrator.api.endpoint import Call, endpoint, json_answer
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.model import View


class AuditRow(View):
    """One row of the hash chain."""

    seq: int
    time: str
    actor: str
    action: str
    subject: str | None
    outcome: str
    approval_id: str | None
    data: dict[str, Any]
    prev_hash: str
    hash: str


class ChainVerdict(View):
    """Whether the chain holds; `first_bad` is the first row that does not follow."""

    ok: bool
    entries: int
    first_bad: int | None


@endpoint("GET", "/v1/audit", scope=Scope.ADMIN, aliases=("/audit",), answer=AuditRow, lists=True)
async def listing(call: Call) -> web.Response:
    """Audit rows, newest first."""
    page = call.page()
    items = await call.rooms.audit.page(limit=page.limit, before=page.sequence(), subject=page.subject)
    return json_answer(page.answer(items, "seq"))


@endpoint("POST", "/v1/audit/verify", scope=Scope.ADMIN, answer=ChainVerdict)
async def verify(call: Call) -> web.Response:
    """Walk the whole chain."""
    verdict = await call.rooms.audit.verify()
    return json_answer({"ok": verdict.ok, "entries": verdict.entries, "first_bad": verdict.first_bad})
