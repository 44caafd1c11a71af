"""The systemd unit: filled in for this checkout, installed, enabled where systemd runs."""

import tempfile
from pathlib import Path

from orchestrator.bootstrap import commands
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.ledger import Ledger
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings

TARGET = Path("/etc/systemd/system/orchestrator.service")
_HOMES = ("/home", "/root", "/run/user")
_UNSPEAKABLE = set('"\\%$\n\r\t ')  # each means something in a unit file


def render(template: str, root: Path, program: Path) -> str:
    """The unit for a checkout at `root` whose command is `program`. Raises `Problem` for a path no unit can hold."""
    if set(str(root)) & _UNSPEAKABLE:
        raise Problem(f"a unit file cannot name {str(root)!r}", mend=f"mv '{root}' /opt/orchestrator", code=1)
    in_home = any(root.is_relative_to(home) for home in _HOMES)
    values = {"@ROOT@": root, "@PROGRAM@": program, "@PROTECT_HOME@": "read-only" if in_home else "yes"}
    for mark, value in values.items():
        template = template.replace(mark, str(value))
    return template


def install(settings: Settings, machine: Machine, console: Console) -> int:
    """Put the unit in place; enable and start it where systemd runs."""
    _refuse_unreachable(settings.root)
    text = render((settings.root / "systemd" / TARGET.name).read_text(), settings.root, settings.program)
    with tempfile.TemporaryDirectory() as folder:
        rendered = Path(folder) / TARGET.name
        rendered.write_text(text)
        _as_root(machine, console, "install", "-D", "-m", "0644", str(rendered), str(TARGET))
    ledger = Ledger(settings.kept)
    added = ledger.read()
    added.unit = str(TARGET)
    ledger.write(added)
    console.step("unit", f"installed {TARGET}")
    if not machine.has_service_manager():
        console.step("unit", "no service manager runs here; start it with: systemctl enable --now orchestrator")
        return 0
    _as_root(machine, console, "systemctl", "daemon-reload")
    _as_root(machine, console, "systemctl", "enable", "--now", "orchestrator")
    return 0


def remove(unit: str, machine: Machine, console: Console) -> None:
    """Undo `install`."""
    if machine.has_service_manager():
        _as_root(machine, console, "systemctl", "disable", "--now", "orchestrator")
    _as_root(machine, console, "rm", "-f", unit)
    console.step("unit", f"removed {unit}")


def _refuse_unreachable(root: Path) -> None:
    """The daemon's own user must be able to reach the checkout; /root, as a rule, lets nobody through."""
    for folder in (root, *root.parents):
        if not folder.stat().st_mode & 0o001:
            raise Problem(f"{folder} lets no other user through, so a daemon of its own user cannot start from {root}",
                          mend=f"sudo mv {root} /opt/orchestrator", code=1)  # fmt: skip


def _as_root(machine: Machine, console: Console, *argv: str) -> None:
    commands.run(machine.as_root(list(argv), interactive=console.interactive), console)
