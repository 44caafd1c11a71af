"""`orchestrator`: one command a file in `commands`, found by discovery and imported when it is called."""

import ast
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from orchestrator import __version__
from orchestrator.cli import commands, output
from orchestrator.cli.output import CliFault

_FOLDER = Path(commands.__path__[0])
_CONTEXT = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """The files of the folder `commands`: until one is called, its name and the first line of its docstring do.

    What the daemon needs takes a second to import; a command that only asks it something must not pay for that.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda m: m.name):
            self.commands[found.name] = TyperCommand(found.name, help=_summary(found.name))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command. A name that is none is wrong use, told with what is near."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and _load(str(name)), rest


def _summary(name: str) -> str:
    tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _load(name: str) -> Any:
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    importlib.import_module(f"{commands.__name__}.{name}").register(alone)
    return typer.main.get_group(alone).commands[name]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"orchestrator {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="orchestrator",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 fine, 1 the thing asked for failed, 2 wrong use, 3 daemon or engine not there, "
    "4 needs approval, 130 interrupted. With --json a fault is a JSON object on standard error.",
    context_settings=_CONTEXT,
)


@app.callback()
def _orchestrator(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A daemon that hosts plugins, routes queries to them, and runs code in containers without a network."""


def main() -> None:
    """The entry point: a fault becomes a line on stderr and an exit code, with `--json` an object there."""
    as_json = output.json_wanted(sys.argv[1:])
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except CliFault as fault:
        output.fault(fault, as_json)
        code = fault.code
    except typer.TyperException as fault:
        _wrong_use(fault, as_json)
        code = fault.exit_code
    except OSError as fault:
        code = output.lost(fault)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _wrong_use(fault: typer.TyperException, as_json: bool) -> None:
    if as_json:
        output.fault(CliFault(fault.format_message(), fault.exit_code, {"code": "usage"}), as_json)
    else:  # typer knows how to tell it, but what it draws with is not worth importing before it is needed
        importlib.import_module("typer.rich_utils").rich_format_error(fault)


if __name__ == "__main__":
    main()
