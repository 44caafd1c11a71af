"""The audit: what was done, by whom, on whose permission."""

from dataclasses import asdict
from typing import Any

from aiohttp import web
from pydantic import Field

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
    """Whether the chain holds; `first_bad` is the first row that does not follow, or is not there any more."""

    ok: bool
    entries: int
    first_bad: int | None
    anchored: int = Field(0, description="The newest row that something outside the database vouches for.")
    forged: int = Field(0, description="Anchors in the state directory that this daemon has not signed.")


@endpoint("GET", "/v1/audit", scope=Scope.ADMIN, aliases=("/audit",), answer=AuditRow, lists=True)
async def listing(call: Call) -> web.Response:
    """Audit rows, newest first."""
    page = call.page()
    items = await call.rooms.audit.page(limit=page.limit, before=page.sequence(), subject=page.subject)
    return json_answer(page.answer(items, "seq"))


@endpoint("POST", "/v1/audit/verify", scope=Scope.ADMIN, answer=ChainVerdict)
async def verify(call: Call) -> web.Response:
    """Walk the whole chain, and hold it against the anchors outside the database."""
    return json_answer(asdict(await call.rooms.audit.verify()))
