"""The systemd unit as `make install-unit` would install it, judged by systemd itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.bootstrap import units

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    program = tmp_path / ".venv/bin/orchestrator"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = tmp_path / "orchestrator.service"
    file.write_text(units.render((CHECKOUT / "systemd/orchestrator.service").read_text(), tmp_path, program))
    return file


def analyze(*words: str) -> str:
    """What `systemd-analyze` has to say; it must be there, `make test` installs it."""
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: apt-get install systemd"
    done = subprocess.run([program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    """The unit starts, is watched, reloads, drains: `systemd-analyze verify` is clean."""
    complaints = [line for line in analyze("verify", str(unit)).splitlines() if unit.name in line]
    assert complaints == []


def test_its_exposure_is_low(unit: Path) -> None:
    """ANCHORS: 1.3 was reached for such a unit."""
    analyze("security", "--offline=true", "--threshold=13", str(unit))


def test_what_it_must_have_it_has(unit: Path) -> None:
    lines = set(unit.read_text().splitlines())
    lifecycle = {"Type=notify", "WatchdogSec=30", "Restart=on-failure", "KillSignal=SIGTERM"}
    rights = {"DynamicUser=yes", "SupplementaryGroups=docker", "StateDirectory=orchestrator"}
    assert lifecycle | rights | {"ExecReload=/bin/kill -HUP $MAINPID"} <= lines
