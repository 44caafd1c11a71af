"""`python3 -m orchestrator.bootstrap TARGET`.

Exit codes: 0 fine, 1 failed, 2 wrong use, 3 engine or package not there, 130 interrupted.
"""

import os
import signal
import sys
from pathlib import Path

from orchestrator.bootstrap import settings
from orchestrator.bootstrap.console import WRONG_USE, Console, Problem
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.verbs import TARGETS, Job

_ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str]) -> int:
    """Do one target; what stands in the way is told on the screen with what mends it."""
    console = Console()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        name = _target(argv)
        if name == "help":
            return _help(console)
        return TARGETS[name](Job(settings.read(os.environ, _ROOT), Machine(), console))
    except Problem as problem:
        console.problem(problem)
        return problem.code
    except KeyboardInterrupt:
        return 130


def _target(argv: list[str]) -> str:
    if len(argv) != 1 or argv[0] not in {*TARGETS, "help"}:
        raise Problem(f"one target is wanted, not {' '.join(argv) or 'none'}", mend="make help", code=WRONG_USE)
    return argv[0]


def _help(console: Console) -> int:
    for name, target in TARGETS.items():
        console.step(name, (target.__doc__ or "").splitlines()[0])
    console.step("", "")
    for name, meaning in settings.MEANINGS.items():
        console.step(f"{name}=", meaning)
    return 0


def _terminated(number: int, _frame: object) -> None:
    """SIGTERM ends us in order, so that what we started ends too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
