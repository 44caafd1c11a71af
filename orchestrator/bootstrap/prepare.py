"""From a bare machine to one that can start: look at everything, ask once, then do what is missing."""

from collections.abc import Sequence

from orchestrator.bootstrap.console import Console
from orchestrator.bootstrap.engine import Engine
from orchestrator.bootstrap.images import Images
from orchestrator.bootstrap.ledger import only_one
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.packages import Packages
from orchestrator.bootstrap.settings import Settings, clean_environment
from orchestrator.bootstrap.venv import VirtualEnvironment


def everything(
    settings: Settings, machine: Machine, console: Console, *, also: dict[str, str] | None = None,
    wishes: dict[str, str] | None = None, profiles: Sequence[str] = ("default",),
    unpacked: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Environment, engine, images of `profiles`; `also` are further packages by reason, `wishes` those that may
    lack; `unpacked` has an image for bubblewrap, too. Answers the environment.

    Raises `Problem` before anything is changed where an engine is installed and silent, or where something is missing
    that may not be installed.
    """
    venv = VirtualEnvironment(settings, machine, console)
    engine = Engine(settings, machine, console)
    images = Images(settings, machine, console)
    with only_one(settings.kept, console):
        sight = engine.look()
        needs = {**venv.needs(), **engine.needs(sight), **images.needs(), **(also or {})}
        Packages(settings, machine, console).install(needs, wishes)
        venv.make()
        endpoint = engine.bring_up(sight)
        images.build(endpoint, profiles)
        if unpacked:
            images.unpack()
    return clean_environment(machine.environ) | endpoint.environment()


def environment_alone(settings: Settings, machine: Machine, console: Console) -> dict[str, str]:
    """The virtual environment without engine and images, for what only reads code."""
    venv = VirtualEnvironment(settings, machine, console)
    with only_one(settings.kept, console):
        Packages(settings, machine, console).install(venv.needs())
        venv.make()
    return clean_environment(machine.environ)
