"""A query, where it was sent, and its answer (CONTRACT 2)."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from orchestrator.contracts.model import JsonObject, Model, Name, View


class QueryRequest(Model):
    """What a user asks for."""

    text: Annotated[str, Field(min_length=1, max_length=32_768)]
    intent: Name | None = Field(None, description="What is wanted, by name; decides before keywords do.")
    params: JsonObject = Field(default_factory=dict)
    plugin: Name | None = Field(None, description="The plugin that must answer.")
    dry_run: bool = Field(False, description="Only say where the query would go.")

    @field_validator("params")
    @classmethod
    def _finite(cls, params: JsonObject) -> JsonObject:
        """`1e999` is JSON and no number that could be handed on."""
        try:
            json.dumps(params, allow_nan=False)
        except ValueError:
            raise ValueError("holds a number that is too large, or is nested too deep") from None
        return params


class Candidate(View):
    """A plugin that could answer, and how well it fits, in [0, 1]."""

    plugin: str
    score: float


class Route(View):
    """Where a query goes, and what decided it."""

    by: Literal["plugin", "intent", "hook", "keywords"]
    score: float
    candidates: list[Candidate]


class QueryAnswer(View):
    """The answer to a query; `response` is exactly what the plugin's `handle` returned."""

    id: str
    status: Literal["ok", "routed", "running", "failed", "awaiting_approval"]
    intent: str | None
    plugin: str | None
    response: Any = None
    duration_ms: float
    route: Route | None = None
