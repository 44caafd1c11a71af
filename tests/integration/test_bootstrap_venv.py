"""The virtual environment: made once, remade when something changed or was left half-made; by real `venv` and `pip`."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings
from orchestrator.bootstrap.venv import VirtualEnvironment

CHECKOUT = Path(__file__).parents[2]
_PROJECT = """
[project]
name = "a-project"
version = "1.2"
[project.scripts]
orchestrator = "a_module:main"
[project.entry-points.a_group]
a_name = "a_module"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without dependencies."""
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    (tmp_path / "requirements.lock").write_text("# nothing\n")
    (tmp_path / "a_module.py").write_text(
        "from importlib.metadata import entry_points, version\n"
        "def main():\n    print(version('a-project'), *(e.value for e in entry_points(group='a_group')))\n"
    )
    return tmp_path


def environment(project: Path) -> VirtualEnvironment:
    return VirtualEnvironment(Settings(project), Machine(), Console())


def test_it_is_made_once_with_the_projects_command_and_again_only_when_the_lock_changed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONTRACT 0: locked dependencies, the command on its path, nothing done twice; whatever else pip was told."""
    monkeypatch.setenv("PIP_TARGET", str(project / "elsewhere"))
    monkeypatch.setenv("PYTHONPATH", str(project / "nowhere"))
    environment(project).make()
    program = project / ".venv/bin/orchestrator"
    said = subprocess.run([program], capture_output=True, text=True, check=True, cwd="/", env={})
    assert said.stdout == "1.2 a_module\n"
    mark = project / ".venv/mark"
    mark.touch()
    environment(project).make()
    assert mark.exists()
    (project / "requirements.lock").write_text("# still nothing\n")
    environment(project).make()
    assert not mark.exists()
    assert not (project / "elsewhere").exists()


def test_one_that_was_killed_half_way_is_remade(project: Path) -> None:
    code = (
        "from pathlib import Path\nfrom orchestrator.bootstrap import venv, console, machine, settings\n"
        f"s = settings.Settings(Path({str(project)!r}))\n"
        "venv.VirtualEnvironment(s, machine.Machine(), console.Console()).make()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # says that it begins
        child.kill()
    assert not environment(project).is_ready()
    environment(project).make()  # waits for what the killed one had started, which would write into it meanwhile
    assert environment(project).is_ready()


def test_a_package_whose_hash_is_not_locked_is_refused(project: Path) -> None:
    (project / "requirements.lock").write_text("pluggy==1.7.0\n")
    with pytest.raises(Problem, match="hash") as told:
        environment(project).make()
    assert told.value.code == 1
    assert not environment(project).is_ready()
