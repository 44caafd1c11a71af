"""`orchestrator doctor --attack`: an operator tries the corpus on his own engine (ABUSE)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import attack
from orchestrator.cli.output import CliFault
from orchestrator.sandbox.abuse.cases import Case
from tests.attack.rig import COLD, IMAGES

ROOT = Path(__file__).parents[2]


def doctor(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "doctor", "--attack", *words], cwd=ROOT, timeout=300,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), **environ}, check=False,
    )  # fmt: skip


@pytest.mark.engine
@pytest.mark.slow
def test_a_theme_is_tried_on_the_configured_engine(state):
    """CONTRACT 8: JSON for programs, exit 0 where every verdict is right."""
    done = doctor("--theme", "network", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["failed"], told["left_out"]) == (0, [], []), done.stderr
    assert [theme["theme"] for theme in told["themes"]] == ["network"]
    assert told["themes"][0]["trials"] > 80


@pytest.mark.engine
def test_a_verdict_that_is_not_right_is_a_line_and_exit_1(state, monkeypatch, capsys):
    """One line for each trial that failed, and a table of the themes."""
    wrong = Case(theme="mine", name="a wrong expectation", family="a", code="print(1)", stdout="2\n")
    monkeypatch.setattr(attack.corpus, "load", lambda: [wrong])
    with pytest.raises(CliFault) as caught:
        attack.attack(COLD, IMAGES, [], thorough=False, as_json=False)
    printed = capsys.readouterr()
    assert (caught.value.code, str(caught.value)) == (1, "2 of 2 trials did not come out as they must")
    assert "cell: mine: a wrong expectation: printed '1\\n', not '2\\n'" in printed.err.replace("\\n'", "\\n'")
    assert printed.out.startswith("mine\t2\t2\t")


def test_wrong_use_and_a_missing_engine_are_told(monkeypatch):
    """CONTRACT 8: 2 wrong use, 3 engine not there."""
    unknown = doctor("--theme", "nonsense")
    assert (unknown.returncode, "there are artifacts, calls" in unknown.stderr) == (2, True)
    monkeypatch.setattr(attack, "READY_S", 0.5)
    nowhere = COLD.model_copy(update={"docker_host": "unix:///nowhere.sock"})
    with pytest.raises(CliFault, match="no Docker engine answers") as caught:
        attack.attack(nowhere, IMAGES, ["network"], thorough=False, as_json=False)
    assert caught.value.code == 3
