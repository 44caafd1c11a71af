"""One case: what is asked of the sandbox, and the whole verdict that must come (CONTRACT 4, shared ABUSE list)."""

import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.contracts.executions import ExecutionRequest, Status
from orchestrator.contracts.model import Model

Backend = Literal["docker-runc", "docker-runsc", "bubblewrap"]
"""The engine and, where there are several, its runtime."""
Isolation = Literal["container", "cell"]


class Asked(Model):
    """What is sent. Values may be wrong, where that is the attack; keys are those of a request."""

    code: str | None = None
    leaves: str | None = Field(None, description="In place of `code`, of a pair: what a first job leaves behind.")
    finds: str | None = Field(None, description="What the second job of a pair looks for, in the same cell.")
    leaves_with: dict[str, Any] = Field(default_factory=dict, description="Members of the first job's request alone.")
    body: str | None = Field(None, description="The whole request as JSON, where it cannot be said with the fields.")
    language: str = "python"
    profile: str = "default"
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    stdin: str | dict[str, str] | None = None
    files: dict[str, str | dict[str, str]] = Field(default_factory=dict)
    artifacts: list[str] = Field(default_factory=list)
    limits: dict[str, int] = Field(default_factory=dict)


class Case(Asked):
    """One attack and its verdict. What is not stated is expected of an ordinary program that ends well."""

    theme: str = Field(description="The stem of its file.")
    name: str = Field(min_length=3, max_length=200, description="Reads like a sentence.")
    family: str = Field("", description="The name that the members of a family share; else the case's own.")

    status: Status = "ok"
    exit_code: int | None = Field(None, description="0 is understood where the status is `ok`.")
    signal: str | None = None
    hits: list[str] = Field(default_factory=list, description="The limits that were hit: all of them, in any order.")
    stdout: str | None = Field(None, description="All of the standard output, as the answer carries it.")
    says: str = Field("", description="What occurs in the standard output or error.")
    never: list[str] = Field(default_factory=list, description="What occurs in neither.")
    encoding: Literal["utf-8", "base64"] = "utf-8"
    most_ms: float | None = Field(None, description="How long it may take; 250 ms past its deadline is understood.")
    kept_artifacts: dict[str, int] = Field(default_factory=dict, description="Paths and sizes of all artifacts.")
    skipped: dict[str, str] = Field(default_factory=dict, description="Paths that are no artifacts, with the reason.")
    refused: list[list[str | int]] = Field(
        default_factory=list, description="Where the request's faults are; it is refused before a worker is touched."
    )
    refused_code: str = "invalid"
    not_on: dict[Backend, str] = Field(default_factory=dict, description="Where it does not apply, and why not.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [name for name in ("code", "leaves", "body") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("has exactly one of code, leaves with finds, body")
        if (self.leaves is None) != (self.finds is None):
            raise ValueError("leaves and finds come together")
        if self.status == "error" and not self.exit_code:
            raise ValueError("status error has an exit_code that is not 0")
        if (self.status == "signal") != (self.signal is not None):
            raise ValueError("status signal and a signal come together")
        if self.status not in ("ok", "error") and self.exit_code is not None:
            raise ValueError(f"status {self.status} has no exit_code")
        return self

    def __str__(self) -> str:
        return f"{self.theme}: {self.name}"

    def request(self, isolation: Isolation, subject: str, *, first: bool = False) -> ExecutionRequest:
        """The request, of the pair's first job if `first`. Raises pydantic's `ValidationError` where it is none."""
        if self.body is not None:
            return ExecutionRequest.model_validate_json(self.body)
        fields: dict[str, Any] = self.model_dump(include=set(Asked.model_fields), exclude_defaults=True)
        leaves, finds, own = (fields.pop(name, None) for name in ("leaves", "finds", "leaves_with"))
        if leaves is not None:
            fields |= {"code": leaves, **(own or {})} if first else {"code": finds}
        return ExecutionRequest.model_validate_json(json.dumps({**fields, "isolation": isolation, "subject": subject}))
