"""Build, list and prune the sandbox images."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from orchestrator.cli import configuration
from orchestrator.cli.options import AsJson, ConfigFile
from orchestrator.cli.output import CliFault, show, table
from orchestrator.config.places import places
from orchestrator.contracts.errors import OrchestratorError, Unavailable
from orchestrator.sandbox import images, profiles
from orchestrator.sandbox.backends.port import Image

app = typer.Typer(help=__doc__, no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="images")


@app.command()
def build(
    profile: Annotated[list[str] | None, typer.Argument(help="Profiles; `default` if none.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All profiles that there are folders of.")] = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Say nothing of what is up to date.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Build images from their folders, where the engine has no image of the same folder yet.

    Example: orchestrator images build science
    """
    if profile and everything:
        raise CliFault("name profiles, or say --all", 2)
    settings = configuration.read_or_fail(config, {}).settings.sandbox
    folder = places(None, []).images
    lines = _quiet if if_missing else _say
    built: list[dict[str, str]] = []
    for name in sorted(profiles.load(folder)) if everything else profile or [profiles.DEFAULT]:
        with _told():
            built.append({"profile": name, "image": images.build(settings, folder, name, lines)})
        if not (if_missing or as_json):
            print(f"{name}\t{built[-1]['image']}", flush=True)
    if as_json:
        show(built, as_json)


@app.command("list")
def listing(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The sandbox images that the engine has."""
    settings = configuration.read_or_fail(config, {}).settings.sandbox
    with _told():
        found = images.list_images(settings)
    table([_row(image) for image in found], ["profile", "name", "id", "size_bytes", "digest"], as_json)


@app.command()
def prune(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove sandbox images that no folder and no container needs."""
    settings = configuration.read_or_fail(config, {}).settings.sandbox
    with _told():
        removed = images.prune(settings, places(None, []).images)
    table([_row(image) for image in removed], ["profile", "name", "id", "size_bytes"], as_json)


@contextmanager
def _told() -> Iterator[None]:
    """Faults as the command line tells them: 3 where there is no engine."""
    try:
        yield
    except OrchestratorError as fault:
        code = 3 if isinstance(fault, Unavailable) else 1
        raise CliFault(fault.detail, code, {"code": fault.code}) from None


def _row(image: Image) -> dict[str, str | int]:
    return {
        "profile": image.profile,
        "name": image.name,
        "id": image.id,
        "size_bytes": image.size_bytes,
        "digest": image.digest,
        "packages": image.packages,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _quiet(line: str) -> None:
    if not line.endswith("is up to date"):
        _say(line)
