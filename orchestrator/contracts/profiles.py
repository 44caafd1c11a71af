"""What a person or a program learns of a sandbox profile before it sends code (CONTRACT 1, 4)."""

from typing import Literal

from pydantic import Field

from orchestrator.contracts.executions import Limits
from orchestrator.contracts.model import View


class ProfileView(View):
    """One profile: what it runs, with what, and within which limits."""

    name: str
    language: str
    description: str
    available: bool = Field(description="Whether code can be run on it at once; else it is built when asked for.")
    default: Limits = Field(description="The limits that hold where a request says nothing.")
    maximum: Limits = Field(description="The most that a request may say.")
    image: str | None = Field(description="name@id; null until it is built.")
    packages: dict[str, str | None] = Field(description="Versions by name; null until it is built.")
    modules: list[str] = Field(description="Importable names beyond the standard library.")
    kernel_boundary: Literal["shared", "separate"] = Field(description="Whether a job reaches the host's own kernel.")
    sessions: bool
