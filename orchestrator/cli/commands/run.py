"""Run a program in the sandbox."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import CliFault, error, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(
    file: Annotated[Path, typer.Argument(help="The program; - reads it from standard input.", allow_dash=True)],
    args: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
    stdin: Annotated[Path | None, typer.Option(help="A file for its standard input.")] = None,
    wall_ms: Annotated[int | None, typer.Option(help="Time limit in milliseconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a program in the sandbox; its output is printed, and exit is 0 if its own was.

    Example: orchestrator run script.py -- one two
    """
    body: dict[str, Any] = {"code": _text(file), "args": args or []}
    if stdin is not None:
        body["stdin"] = _text(stdin)
    if wall_ms is not None:
        body["limits"] = {"wall_ms": wall_ms}
    outcome = client.call("POST", "/v1/sandbox/executions", body)
    if as_json:
        show(outcome, True)
    elif outcome["encoding"] == "utf-8":
        sys.stdout.write(outcome["stdout"])
        sys.stderr.write(outcome["stderr"])
    else:
        error("its output is not text; --json shows it in base64")
    if outcome["status"] != "ok":
        raise CliFault(f"{outcome['status']}: {outcome['reason']}")


def _text(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise CliFault(f"{path} cannot be read as text: {fault}", 2) from None
