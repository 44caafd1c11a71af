"""See and steer the plugins."""

from typing import Annotated
from urllib.parse import quote

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import CliFault, show, table

app = typer.Typer(help=__doc__, no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The plugin's name.")]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="plugins")


@app.command("list")
def listing(as_json: AsJson = False) -> None:
    """All plugins and how they are."""
    table(
        client.call("GET", "/plugins?limit=1000")["items"],
        ["name", "version", "state", "isolation", "calls", "failures", "p50_ms"],
        as_json,
    )


@app.command("show")
def one(name: Name, as_json: AsJson = False) -> None:
    """All about one plugin, its fault included."""
    show(client.call("GET", f"/plugins/{quote(name, safe='')}"), as_json)


@app.command()
def reload(name: Name, as_json: AsJson = False) -> None:
    """Load a plugin's file again; exit 1 if it stays broken."""
    view = client.call("POST", f"/plugins/{quote(name, safe='')}/reload")
    show(view, as_json)
    if view["error"] is not None:
        raise CliFault(f"{name}: {view['error']['message']}", 1, {"code": "plugin_broken"})


@app.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let a disabled plugin serve again."""
    show(client.call("POST", f"/plugins/{quote(name, safe='')}/enable"), as_json)


@app.command()
def disable(name: Name, as_json: AsJson = False) -> None:
    """Take a plugin out of service, across restarts."""
    show(client.call("POST", f"/plugins/{quote(name, safe='')}/disable"), as_json)
