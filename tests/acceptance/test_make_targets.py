"""What `make` says and answers: real runs of it, none of which changes the machine (CONTRACT 0)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"


def make(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | environ
    return subprocess.run([MAKE, *words], cwd=CHECKOUT, env=env, text=True, capture_output=True, timeout=60)


def test_make_alone_is_help_and_names_every_choice() -> None:
    said = make().stdout
    targets = ("run", "test", "demo", "bench", "attack", "lint", "test-bare", "engine-stop", "uninstall")
    for word in (*targets, "PORT=", "STATE=", "PLUGINS=", "INSTALL=", "BASE="):
        assert f"\n{word} " in f"\n{said}"


def test_it_works_from_another_folder(tmp_path: Path) -> None:
    done = subprocess.run([MAKE, "-C", CHECKOUT, "help"], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("choice", ["PORT=http", "PORT=70000", "INSTALL=no", "BASE=alpine", "PLUGINS=/nowhere"])
def test_a_wrong_choice_is_wrong_use(choice: str) -> None:
    done = make("run", choice)
    assert choice in done.stdout
    assert "Error 2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", ["run", "test", "demo", "bench", "attack"])
def test_a_silent_engine_is_never_installed_over_and_one_command_mends_it(target: str, tmp_path: Path) -> None:
    """Exit 3 within the time of a look, nothing changed, whatever else is installed here."""
    done = make(target, DOCKER_HOST=f"unix://{tmp_path}/docker.sock")
    assert done.stdout.count("This mends it:") == 1
    assert "    unset DOCKER_HOST" in done.stdout
    assert "installing" not in done.stdout
    assert "Error 3" in done.stderr


def test_where_installing_is_forbidden_what_is_missing_is_named(tmp_path: Path) -> None:
    """INSTALL=never: exit 3 and the line that would install it; here `mmdebstrap`, hidden from PATH."""
    (tmp_path / "apt-get").symlink_to(shutil.which("apt-get") or "/nowhere")
    done = make("run", "INSTALL=never", PATH=str(tmp_path), PYTHON=sys.executable)
    assert "mmdebstrap (builds the sandbox images). INSTALL=never forbids installing" in done.stdout
    assert "sudo apt-get install --no-install-recommends mmdebstrap" in done.stdout
    assert "Error 3" in done.stderr


def test_without_a_python_that_is_new_enough_make_says_so(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    shutil.copy(CHECKOUT / "Makefile", tmp_path)  # without the environment that the checkout may have by now
    done = make("-C", str(tmp_path), "help", PATH=str(tmp_path))
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Error 3" in done.stderr
