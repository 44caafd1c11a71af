"""The interface as OpenAPI 3.1: made from the declared endpoints and the models that validate."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.api.endpoint import Endpoint
from orchestrator.api.sse import MEDIA_TYPE as EVENTS
from orchestrator.contracts.callers import Scope
from orchestrator.contracts.model import View

_GENERAL = ("host_denied", "origin_denied", "malformed", "method", "too_large", "media_type", "invalid", "internal")
_KEYED = ("key_required", "key_invalid", "scope_missing", "rate_limited", "draining", "store_unavailable")
_REF = "#/components/schemas/{model}"


class FieldFault(View):
    """One fault of a body."""

    loc: list[str | int]
    msg: str


class Problem(View):
    """Every refusal and failure (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldFault] | None = None


class Awaiting(View):
    """What waits for a person (CONTRACT 2)."""

    id: str
    status: str
    command_id: str


class Interface:
    """The document of some endpoints, made when it is first asked for: no start need wait for it."""

    def __init__(self, endpoints: Iterable[Endpoint], version: str) -> None:
        self._endpoints = list(endpoints)
        self._version = version

    @cached_property
    def document(self) -> dict[str, Any]:
        """See `document`."""
        return document(self._endpoints, self._version)


OPENAPI: web.AppKey[Interface] = web.AppKey("openapi", Interface)


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The OpenAPI document of these endpoints."""
    known = list(endpoints)
    models: dict[type[BaseModel], None] = {Problem: None, Awaiting: None}
    for e in known:
        models.update({m: None for m in (e.body, e.answer) if m is not None})
    inputs = {e.body for e in known if e.body is not None}
    modes: list[Any] = [(m, "validation" if m in inputs else "serialization") for m in models]
    refs, schemas = models_json_schema(modes, ref_template=_REF)
    by_model = {model: refs[(model, mode)] for model, mode in modes}
    paths: dict[str, Any] = {}
    for e in known:
        for path in (e.path, *e.aliases):
            paths.setdefault(path, {})[e.method.lower()] = _operation(e, path, by_model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orchestrator",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(e: Endpoint, path: str, refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    handler: Any = e.handler
    subject = handler.__module__.rpartition(".")[2]
    operation: dict[str, Any] = {
        "operationId": f"{subject}_{handler.__name__}{'' if path == e.path else '_alias'}",
        "summary": e.summary,
        "tags": [subject],
        "parameters": _parameters(e, path),
        "responses": {
            str(e.status): _success(e, refs),
            **({"202": _awaiting(refs)} if e.awaits else {}),
            "default": _problem(e, refs),
        },
    }
    if e.body is not None:
        operation["requestBody"] = {"required": True, "content": {e.media_type: {"schema": refs[e.body]}}}
    if e.scope is not None or e.any_key:
        keyless: list[dict[str, Any]] = [{}] if e.scope is Scope.QUERY else []  # loopback, unless a setting forbids
        operation["security"] = [{"key": []}, {"bearer": []}, *keyless]
        operation["x-scope"] = e.scope.value if e.scope else "any"
    return operation


def _parameters(e: Endpoint, path: str) -> list[dict[str, Any]]:
    text: dict[str, Any] = {"type": "string"}
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    found: list[dict[str, Any]] = [{"name": n, "in": "path", "required": True, "schema": text} for n in names]
    if e.lists:
        limit = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
        found += [
            {"name": n, "in": "query", "schema": s} for n, s in (("limit", limit), ("after", text), ("subject", text))
        ]
    found += [{"name": n, "in": "query", "schema": text} for n in e.query]
    if e.media_type == EVENTS:
        found.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "integer", "minimum": 0}})
    if e.method == "POST":
        found.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}})
    return found


def _success(e: Endpoint, refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    if e.media_type == EVENTS:
        return {"description": e.summary, "content": {EVENTS: {"schema": {"type": "string"}}}}
    if e.answer is None:
        return {"description": e.summary}
    schema: dict[str, Any] = refs[e.answer]
    if e.lists:
        members = {"items": {"type": "array", "items": schema}, "next": {"type": ["string", "null"]}}
        schema = {"type": "object", "required": ["items", "next"], "properties": members}
    return {"description": e.summary, "content": {"application/json": {"schema": schema}}}


def _awaiting(refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    told = "A person has to approve it first; it is answered at `Location` then."
    return {"description": told, "content": {"application/json": {"schema": refs[Awaiting]}}}


def _problem(e: Endpoint, refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    codes = [*_GENERAL, *(_KEYED if e.scope or e.any_key else ()), *e.codes]
    if "{" in e.path:
        codes.append("not_found")
    told = f"A problem. Its `code` is one of: {', '.join(dict.fromkeys(codes))}"
    return {
        "description": told,
        "x-codes": list(dict.fromkeys(codes)),
        "content": {"application/problem+json": {"schema": refs[Problem]}},
    }
