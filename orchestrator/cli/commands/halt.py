"""Admit nothing new for execution, until somebody resumes."""

from typing import Annotated

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(halt)


def halt(reason: Annotated[str, typer.Argument(help="Why.")], as_json: AsJson = False) -> None:
    """Admit nothing new for execution, restarts included; what runs comes to its end.

    Example: orchestrator halt "the answers look wrong"
    """
    show(client.call("POST", "/v1/halt", {"reason": reason}), as_json)
