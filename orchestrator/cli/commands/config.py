"""What is set, where it was set, and whether it holds together."""

from typing import Annotated

import typer

from orchestrator.cli import configuration, output
from orchestrator.cli.options import AsJson, ConfigFile
from orchestrator.cli.output import table
from orchestrator.config import render

app = typer.Typer(help=__doc__, no_args_is_help=True)


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
    told = (lambda value: value) if as_json else render.toml
    rows = [{"setting": name, "value": told(value), "origin": where} for name, value, where in render.effective(found)]
    table(rows, ["setting", "value", "origin"] if origin else ["setting", "value"], as_json)


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say whether the configuration is good; exit 2 with all faults if not."""
    configuration.read_or_fail(config, {})
    if as_json:
        output.show({"ok": True}, as_json)
    else:
        print("the configuration is good")


@app.command("render")
def rendered(as_json: AsJson = False) -> None:
    """Print the reference file: all settings with their defaults and meanings."""
    if as_json:
        output.show({"toml": render.reference()}, as_json)
    else:
        print(render.reference(), end="")
