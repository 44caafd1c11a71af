"""See what was stopped, and close it when it has been looked into."""

from typing import Annotated
from urllib.parse import quote

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import show, table

app = typer.Typer(help=__doc__, no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The incident's id.")]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="incidents")


@app.command("list")
def listing(
    every: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False, as_json: AsJson = False
) -> None:
    """Incidents that nobody has closed, newest first."""
    wanted = "/v1/incidents?limit=1000" + ("" if every else "&open=true")
    table(client.call("GET", wanted)["items"], ["id", "time", "kind", "subject", "times", "detail"], as_json)


@app.command("show")
def one(incident_id: Id, as_json: AsJson = False) -> None:
    """All about one incident."""
    show(client.call("GET", f"/v1/incidents/{quote(incident_id, safe='')}"), as_json)


@app.command()
def close(
    incident_id: Id, reason: Annotated[str, typer.Argument(help="What was found.")], as_json: AsJson = False
) -> None:
    """Say that an incident has been looked into; the reason stands in the audit.

    Example: orchestrator incidents close ID "the plugin was mended"
    """
    show(client.call("POST", f"/v1/incidents/{quote(incident_id, safe='')}/close", {"reason": reason}), as_json)
