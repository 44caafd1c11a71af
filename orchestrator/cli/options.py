"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Answer with JSON.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Read this configuration file and no other.")]
StateDir = Annotated[Path | None, typer.Option("--state", help="State directory.")]
PluginDirs = Annotated[list[Path] | None, typer.Option("--plugins", help="One more plugin folder; may be repeated.")]
