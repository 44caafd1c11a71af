"""Sessions: one interpreter that keeps variables and files from one piece of code to the next (CONTRACT 4)."""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.contracts.executions import Arguments, Content, Files, Glob, LimitsRequest
from orchestrator.contracts.model import Model, Name, View

Subject = Annotated[str, Field(min_length=1, max_length=200)]


class SessionRequest(Model):
    """A session to open. `limits` hold for all of it; those on time and output can be set lower with each piece."""

    profile: Name = "default"
    ttl_s: Annotated[int, Field(ge=1, le=86_400)] = Field(600, description="How long it stays without being used.")
    subject: Subject | None = Field(None, description="Whose it is, where one key serves several people.")
    limits: LimitsRequest = Field(default_factory=LimitsRequest)


class PieceRequest(Model):
    """A piece of code for a session."""

    code: str = Field(max_length=16 * 2**20)
    stdin: Content | None = None
    args: Arguments = Field(default_factory=list)
    env: Annotated[dict[str, str], Field(max_length=256)] = Field(default_factory=dict)
    files: Files = Field(default_factory=dict)
    artifacts: Annotated[list[Glob], Field(max_length=64)] = Field(default_factory=list)
    limits: LimitsRequest = Field(default_factory=LimitsRequest)


class Session(View):
    """A session as it is now. An ended one answers 410 to everything but reading this."""

    id: str
    status: Literal["awaiting_approval", "idle", "running", "ended"]
    profile: str
    language: str = "python"
    subject: str | None = None
    ttl_s: int
    created_at: str
    expires_at: str | None = None
    ended_at: str | None = None
    executions: int = 0
    reason: str = Field("", description="Why it ended, for a person.")


class SessionFile(View):
    """One file in a session's working directory."""

    path: str
    bytes: int
