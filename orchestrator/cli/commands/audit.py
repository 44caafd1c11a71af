"""Read the audit, and prove that nobody changed it."""

from typing import Annotated
from urllib.parse import quote

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import CliFault, show, table

app = typer.Typer(help=__doc__, no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="audit")


@app.command("list")
def listing(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    subject: Annotated[str | None, typer.Option(help="Only rows about this id.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest rows."""
    wanted = f"/v1/audit?limit={limit}" + (f"&subject={quote(subject, safe='')}" if subject else "")
    table(client.call("GET", wanted)["items"], ["seq", "time", "actor", "action", "subject", "outcome"], as_json)


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Walk the whole chain; exit 1 if a row does not follow, or was there and is not any more."""
    verdict = client.call("POST", "/v1/audit/verify")
    show(verdict, as_json)
    if not verdict["ok"]:
        raise CliFault(
            f"the chain breaks at row {verdict['first_bad']}"
            if verdict["first_bad"] is not None
            else f"{verdict['forged']} anchors in the state directory were not signed by this daemon"
        )
