"""What may be said on the `make` line, and how a person hears of it (CONTRACT 0)."""

import io
import os
import re
from pathlib import Path

import pytest

from orchestrator.bootstrap import settings, verbs
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.verbs import TARGETS, Job
from tests.campaigns.__main__ import CAMPAIGNS

ROOT = Path(__file__).parents[2]


def test_nothing_said_leaves_everything_to_the_daemons_own_configuration(tmp_path: Path) -> None:
    chosen = settings.read({}, tmp_path)
    assert chosen.serve_command() == [str(tmp_path / ".venv/bin/orchestrator"), "serve"]
    assert chosen.may_install
    assert not chosen.from_registry


def test_choices_become_the_daemons_flags_with_paths_from_the_checkout(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    chosen = settings.read({"PORT": "0", "STATE": "there", "PLUGINS": "mine", "INSTALL": "never"}, tmp_path)
    flags = ["serve", "--port", "0", "--state", f"{tmp_path}/there", "--plugins", f"{tmp_path}/mine"]
    assert chosen.serve_command()[1:] == flags
    assert not chosen.may_install


@pytest.mark.parametrize(
    "wrong",
    [{"PORT": w} for w in ("-1", "65536", "http", "80 80", "0x50", "٨٠", " 80", "9" * 40)]
    + [{"INSTALL": "no"}, {"BASE": "docker"}, {"PLUGINS": "nowhere"}, {"STATE": "a file"}],
)
def test_a_wrong_choice_is_wrong_use_and_named(tmp_path: Path, wrong: dict[str, str]) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(Problem, match=next(iter(wrong))) as told:
        settings.read(wrong, tmp_path)
    assert told.value.code == 2


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Problem) as told:
        settings.read({"PORT": "x", "INSTALL": "y", "BASE": "z"}, tmp_path)
    assert len(told.value.what.splitlines()) == 3


def test_a_nested_make_does_not_obey_the_outer_ones_line() -> None:
    assert settings.clean_environment({"MAKEFLAGS": "PORT=1", "MAKELEVEL": "1", "HOME": "/h"}) == {"HOME": "/h"}


def test_a_problem_has_its_mending_command_alone_on_a_line() -> None:
    out = io.StringIO()
    Console(out).problem(Problem("it is silent", mend="sudo systemctl start docker"))
    assert "\n    sudo systemctl start docker\n" in out.getvalue()


def test_progress_in_a_pipe_is_a_line_now_and_then_and_cannot_move_the_cursor() -> None:
    out = io.StringIO()
    console = Console(out, every_s=0)
    console.progress("\x1b[2Jget\r\x07it" + "x" * 500)
    assert out.getvalue().endswith("\n")
    assert out.getvalue().isprintable() or out.getvalue()[:-1].isprintable()
    assert len(out.getvalue()) < 130
    Console(quiet := io.StringIO(), every_s=60).progress("soon")
    assert quiet.getvalue() == ""


def test_a_pipe_is_never_asked() -> None:
    assert Console(io.StringIO()).agrees("Install?")


def test_the_makefile_knows_every_target_and_no_other() -> None:
    line = re.search(r"^TARGETS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line is not None
    assert set(line[1].split()) == {*TARGETS, "help"}
    assert all(target.__doc__ for target in TARGETS.values())


def test_continuous_integration_calls_make_test_and_nothing_else() -> None:
    """R2-01: two lines, and no `|| true`."""
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert script[1] == "set -euo pipefail"
    assert script[-1] == "make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    workflow = (ROOT / ".github/workflows/ci.yml").read_text().splitlines()
    assert len(workflow) == 2
    assert "run: make test" in workflow[1]
    assert "||" not in workflow[1]


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("campaign", {}),
        ("campaign", {"NAME": "peace"}),
        ("humaneval", {}),
        ("humaneval", {"FILE": "nowhere"}),
        ("humaneval", {"FILE": "tests"}),
    ],
)
def test_a_target_that_wants_a_choice_says_so_before_anything_is_changed(target: str, line: dict[str, str]) -> None:
    """`NAME` and `FILE` are common names in an environment, so no other target looks at them."""
    with pytest.raises(Problem, match=next(iter(line.values()), "=")) as told:
        TARGETS[target](Job(settings.read(line, ROOT), Machine(), Console(io.StringIO())))
    assert told.value.code == 2


def test_make_knows_every_campaign() -> None:
    assert set(verbs._CAMPAIGNS) == set(CAMPAIGNS)
