"""End a halt."""

from typing import Annotated

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(resume)


def resume(reason: Annotated[str, typer.Argument(help="Why it may go on.")], as_json: AsJson = False) -> None:
    """End a halt; the reason stands in the audit.

    Example: orchestrator resume "the plugin was mended"
    """
    show(client.call("POST", "/v1/resume", {"reason": reason}), as_json)
