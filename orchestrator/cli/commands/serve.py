"""Run the daemon in the foreground."""

import asyncio
import os
import sys
from functools import partial
from typing import Annotated

import typer

from orchestrator.cli import configuration
from orchestrator.cli.options import AsJson, ConfigFile, PluginDirs, StateDir
from orchestrator.cli.output import CliFault, show
from orchestrator.config.places import places
from orchestrator.contracts.errors import StartRefused
from orchestrator.contracts.model import JsonObject
from orchestrator.daemon import serve as daemon
from orchestrator.kernel import logs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    state: StateDir = None,
    plugins: PluginDirs = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Run the daemon in the foreground.

    Example: orchestrator serve --port 8080 --plugins ./my-plugins
    """
    reread = partial(configuration.read, config, {"api.port": port, "api.host": host})
    settings = configuration.read_or_fail(config, {"api.port": port, "api.host": host})
    logs.configure(settings.settings.logs.level, settings.settings.logs.style)
    where = places(state, plugins or [])
    if gone := [str(folder) for folder in where.plugin_folders if not folder.is_dir()]:
        raise CliFault(f"there is no plugin folder {', '.join(gone)}", 2, {"code": "usage"})
    try:
        code = asyncio.run(daemon.serve(settings, where, reread, partial(_say, as_json)))
    except StartRefused as fault:
        raise CliFault(fault.detail, 1, {"code": fault.code}) from None
    except PermissionError as fault:
        raise CliFault(f"no permission for {fault.filename}; --state chooses another state directory", 1) from None
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a plugin's thread that never comes back must not keep the drained daemon


def _say(as_json: bool, line: str, facts: JsonObject) -> None:
    """A line for a person, or what it says for a program."""
    if as_json:
        show(facts, as_json)
    else:
        print(line)
    sys.stdout.flush()
