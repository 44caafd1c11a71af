"""Faults as `application/problem+json` (RFC 9457): a stable code, words for a person, nothing of the host."""

from http import HTTPStatus
from typing import Any

import pydantic_core
from aiohttp import web

from orchestrator.contracts.errors import OrchestratorError

MEDIA_TYPE = "application/problem+json"
_WORDS = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Closed Request"}


class Refusal(OrchestratorError):
    """A fault of the HTTP exchange itself: its status is its own."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail, code=code, **more)
        self.status = status  # type: ignore[misc]


def title(status: int) -> str:
    """The status in words."""
    return _WORDS.get(status) or HTTPStatus(status).phrase


def document(fault: OrchestratorError, request_id: str) -> dict[str, Any]:
    """The problem document of a fault."""
    found = {
        "type": "about:blank",
        "title": title(fault.status),
        "status": fault.status,
        "detail": fault.detail,
        "code": fault.code,
        "request_id": request_id,
    }
    if fault.errors:
        found["errors"] = fault.errors
    return found | {name: value for name, value in fault.extra.items() if name not in found}


def answer(fault: OrchestratorError, request_id: str) -> web.Response:
    """The response to a fault."""
    body = pydantic_core.to_json(document(fault, request_id), inf_nan_mode="null", serialize_unknown=True)
    return web.Response(status=fault.status, body=body, headers={**fault.headers, "Content-Type": MEDIA_TYPE})
