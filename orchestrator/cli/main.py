"""`orchestrator`: one command a file in `commands`, found by discovery."""

import importlib
import pkgutil
import sys

import typer

from orchestrator.cli import commands
from orchestrator.cli.output import CliFault, error

app = typer.Typer(
    name="orchestrator",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="A daemon that hosts plugins, routes queries to them, and runs code in containers without a network.",
    epilog="Exit codes: 0 fine, 1 the thing asked for failed, 2 wrong use, 3 daemon or engine not there, "
    "4 needs approval, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda m: m.name):
    importlib.import_module(f"{commands.__name__}.{_found.name}").register(app)


def main() -> None:
    """The entry point: a fault becomes a line on stderr and an exit code; typer tells wrong use and exits with 2."""
    try:
        app()
    except CliFault as fault:
        error(str(fault))
        sys.exit(fault.code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
