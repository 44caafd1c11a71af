"""Standing grants as clients see them: what a person allows beforehand (CONTRACT 5, X-01)."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from orchestrator.contracts.costs import MAX_TOKENS, Bound, Cost
from orchestrator.contracts.identities import Id, Instant
from orchestrator.contracts.model import Model, View

SandboxClass = Literal["network-less", "container", "cell"]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:+-]{0,199}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class GrantedCapability(Model):
    """A capability in one version, by its author's word, or in one digest, to the byte."""

    name: Word = Field(description="A skill or a plugin as GET /capabilities lists it, or `sandbox.execute`.")
    version: Version | None = Field(None, exclude_if=lambda value: value is None)
    digest: Digest | None = Field(None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.version is None) == (self.digest is None):
            raise ValueError("say `version` or `digest`, one of the two")
        return self


class GrantRequest(Model):
    """A grant to make."""

    capabilities: Annotated[list[GrantedCapability], Field(min_length=1, max_length=100)]
    sandbox: SandboxClass | None = Field(
        None, description="Where code may run on its strength; `network-less` is a container or a cell."
    )
    budget_per_use: Bound | None = Field(None, description="What is estimated at more is not covered.")
    budget_total: Bound | None = Field(None, description="The most that all uses together may cost.")
    uses_left: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = Field(None, description="Any number if absent.")
    expires_at: Instant | None = Field(None, description="Judged by the store's clock.")
    identity_id: Id | None = Field(
        None, description="Whose calls it covers. If absent: an admin's covers everybody's, another person's his own."
    )


class GrantView(View):
    """A grant as it is now."""

    id: str
    kind: Literal["default", "plugin_file", "standing"]
    capabilities: list[dict[str, str]]
    sandbox: str | None
    budget_per_use: Bound | None
    budget_total: Bound | None
    uses_left: int | None
    expires_at: str | None
    identity_id: str | None
    granted_by: str
    created_at: str
    revoked_at: str | None
    spent: Cost
