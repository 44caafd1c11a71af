"""`orchestrator config …`."""

from typing import Annotated

import typer

from orchestrator.cli import configuration
from orchestrator.cli.options import AsJson, ConfigFile
from orchestrator.cli.output import table
from orchestrator.config import render

app = typer.Typer(help="What is set, where it was set, and whether it holds together.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="config")


@app.command()
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Also say where each value comes from.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Every setting that holds."""
    found = configuration.read_or_fail(config, {})
    rows = [{"setting": name, "value": value, "origin": where} for name, value, where in render.effective(found)]
    table(rows, ["setting", "value", "origin"] if origin else ["setting", "value"], as_json)


@app.command()
def check(config: ConfigFile = None) -> None:
    """Say whether the configuration is good; exit 2 with all faults if not."""
    configuration.read_or_fail(config, {})
    print("the configuration is good")


@app.command("render")
def rendered() -> None:
    """Print the reference file: all settings with their defaults and meanings."""
    print(render.reference(), end="")
