"""Identities and contexts as clients see them: who there is, and where each may act (R4-47, CONTRACT 5)."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from orchestrator.contracts.commands import Sphere
from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.model import Model, View

Kind = Literal["person", "service"]
Text = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f\s][^\x00-\x1f\x7f]*$")]
"""A name for people: one line, which does not begin with a blank."""
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time zone is missing")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is no time that UTC can tell") from None


Instant = Annotated[datetime, Field(strict=False), AfterValidator(_in_utc)]
"""RFC 3339 with its zone."""


class IdentityRequest(Model):
    """A person or a service to make."""

    kind: Kind = Field(description="Only a person approves and grants; a service never does, whatever its keys may.")
    name: Text


class Switch(Model):
    """On or off, with effect at once."""

    active: bool


class IdentityView(View):
    """A person or a service. One that is not active has no key that works, and no grant of its own that holds."""

    id: str
    kind: Kind
    name: str
    active: bool
    created_at: str


class ContextRequest(Model):
    """A context to make."""

    identity_id: Id | None = Field(None, description="Whose it is; the maker's own identity if absent.")
    sphere: Sphere
    budget_scope: Bound | None = Field(None, description="The most that all its commands together may cost.")


class ContextChange(Model):
    """What becomes other of a context; what is absent stays, and `budget_scope` null takes the bound away."""

    active: bool | None = None
    budget_scope: Bound | None = None


class ContextView(View):
    """Where an identity acts: one sphere and one budget, of which so much is held and was spent."""

    id: str
    identity_id: str
    sphere: Sphere
    active: bool
    budget_scope: Bound | None
    reserved: Cost
    spent: Cost
    created_at: str
