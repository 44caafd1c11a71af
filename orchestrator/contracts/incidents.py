"""What went wrong and what was stopped, as clients see it (CONTRACT 5)."""

from typing import Annotated

from pydantic import Field, StringConstraints

from orchestrator.contracts.model import Model, View

Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"\S")]


class IncidentView(View):
    """A violation: what was stopped, of what, and why. `times` counts it for as long as it is open."""

    id: str
    time: str
    kind: str
    subject: str | None
    detail: str
    open: bool
    times: int
    closed_at: str | None
    closed_by: str | None
    reason: str | None


class Because(Model):
    """Why it is done; it stands in the audit."""

    reason: Reason


class HaltView(View):
    """Whether anything new is admitted for execution, and since when and why not."""

    halted: bool
    kind: str | None = Field(None, description="What halted it: `operator`, or what the daemon found.")
    reason: str | None = None
    time: str | None = None
    halted_by: str | None = None
