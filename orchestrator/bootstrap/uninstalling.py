"""Removing what was added, in the order opposite to that in which it came; what was there before stays."""

import shutil
from pathlib import Path

from orchestrator.bootstrap import commands, units
from orchestrator.bootstrap.client import EngineClient
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.dockerd import OwnEngine
from orchestrator.bootstrap.engines import Found, look
from orchestrator.bootstrap.ledger import Added, Ledger, only_one
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.packages import Packages
from orchestrator.bootstrap.settings import Settings


def everything(settings: Settings, machine: Machine, console: Console) -> int:
    """Say what will go, ask on a terminal, remove it. The daemon's state stays: it is the person's own."""
    ledger = Ledger(settings.kept)
    with only_one(settings.kept, console):
        added = ledger.read()
        for name, text in told(settings, added):
            console.step(name, text)
        if not console.agrees("Remove all this?"):
            return 1
        _remove_images(added, machine, console)
        _remove_from_machine(settings, added, machine, console)
        shutil.rmtree(settings.venv, ignore_errors=True)
    shutil.rmtree(settings.kept)
    console.step("done", f"the state directory stays ({settings.state or settings.root / 'state'})")
    return 0


def told(settings: Settings, added: Added) -> list[tuple[str, str]]:
    """What was added, a line each."""
    lines = [("venv", str(settings.venv))] if settings.venv.exists() else []
    if added.unit:
        lines.append(("unit", added.unit))
    lines += [("image", image) for image in added.images.get("added", [])]
    if OwnEngine().running():
        lines.append(("engine", "the one that make started, with its containers"))
    if added.packages:
        lines.append(("packages", ", ".join(added.packages)))
    folders = [*added.folders, *([added.unpacked] if added.unpacked else [])]
    lines += [("folder", folder) for folder in folders if Path(folder).exists()]
    if added.group_member:
        lines.append(("group", f"{added.group_member} in docker"))
    return lines or [("nothing", "was added to this machine")]


def _remove_images(added: Added, machine: Machine, console: Console) -> None:
    """Images are removed while the engine still runs; without one they go with its data or stay, and that is said."""
    if not added.images.get("added"):
        return
    try:
        sight = look(machine)
        if isinstance(sight, Found):
            client = EngineClient(sight.endpoint, timeout_s=60)
            for image in added.images["added"]:
                client.delete(f"/images/{image}?force=true")
    except (Problem, OSError) as fault:
        console.step("image", f"kept, for the engine does not let go of them: {fault}")


def _remove_from_machine(settings: Settings, added: Added, machine: Machine, console: Console) -> None:
    if added.unit:
        units.remove(added.unit, machine, console)
    if added.group_member:
        _as_root(machine, console, "gpasswd", "-d", added.group_member, "docker")
    if OwnEngine().running():
        _as_root(machine, console, "make", "-C", str(settings.root), "engine-stop")
    Packages(settings, machine, console).remove(added.packages)
    if added.unpacked:
        _as_root(machine, console, "rm", "-rf", "--one-file-system", added.unpacked)
    mounted = Path("/proc/mounts").read_text()
    for folder in added.folders:
        if f" {folder}" in mounted or machine.which("dockerd"):
            console.step("folder", f"kept, for an engine uses it: {folder}")
        else:
            _as_root(machine, console, "rm", "-rf", "--one-file-system", folder)


def _as_root(machine: Machine, console: Console, *argv: str) -> None:
    commands.run(machine.as_root(list(argv), interactive=console.interactive), console)
