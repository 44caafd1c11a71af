"""Send a query."""

import json
from typing import Annotated, Any

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import CliFault, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(query)


def query(
    text: Annotated[str, typer.Argument(help="What you want.")],
    intent: Annotated[str | None, typer.Option(help="What is wanted, by name.")] = None,
    plugin: Annotated[str | None, typer.Option(help="The plugin that must answer.")] = None,
    params: Annotated[str | None, typer.Option(help="Parameters, a JSON object.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where it would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a query.

    Example: orchestrator query "reverse a string" --intent generate_code
    """
    body: dict[str, Any] = {"text": text, "dry_run": dry_run}
    body |= {name: value for name, value in (("intent", intent), ("plugin", plugin)) if value is not None}
    if params is not None:
        body["params"] = _object(params)
    answer = client.call("POST", "/query", body)
    response = answer.get("response")
    if not as_json and isinstance(response, dict) and isinstance(response.get("code"), str):
        print(response["code"])
        return
    show(answer if as_json or dry_run else response, as_json)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as fault:
        raise CliFault(f"--params is not JSON: {fault}", 2) from None
    if not isinstance(value, dict):
        raise CliFault('--params is a JSON object, such as \'{"name": "flip"}\'', 2)
    return value
