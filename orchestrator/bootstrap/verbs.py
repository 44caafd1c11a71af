"""What `make` can be asked for: one function a target, listed in `TARGETS`, each answering an exit code.

A target that ends in another program becomes it (exec), so that signals from `make` reach that program and nobody else.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.bootstrap import bare, commands, prepare, uninstalling, units
from orchestrator.bootstrap.console import WRONG_USE, Console, Problem
from orchestrator.bootstrap.dockerd import OwnEngine
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings, clean_environment


@dataclass(frozen=True)
class Job:
    """All that a target gets."""

    settings: Settings
    machine: Machine
    console: Console

    def become(self, argv: list[str], env: dict[str, str]) -> int:
        """Turn this process into another program, started in the checkout."""
        os.chdir(self.settings.root)
        os.execve(argv[0], argv, env)  # noqa: S606 - no shell is wanted in between

    def python(self, *words: str) -> list[str]:
        """A command line for the virtual environment's Python."""
        return [str(self.settings.venv / "bin" / "python"), *words]


_TESTED_WITH = (
    ("systemd-analyze", "systemd", "checks the unit file"),
    ("kill", "procps", "what the unit reloads the daemon with"),
    ("curl", "curl", "types the README's tour"),
    ("bwrap", "bubblewrap", "the engine of development mode"),
    ("newuidmap", "uidmap", "lends ids to that engine where it is not root's"),
    ("postgres", "postgresql", "the store's other backend; no server is set up or started"),
    ("setpriv", "util-linux", "runs the tests' own server as an ordinary user"),
)
"""Programs that the suite runs and a bare machine may lack: program, package, what for."""

_TESTED_WITH_IF_THERE = (("runsc", "runsc", "runs code under a kernel of its own"),)
"""The same, of which not every distribution has a package; what tests them is skipped there, and says so."""

_CAMPAIGNS = ("hostile", "crashes", "flood", "mixed", "kills", "races", "model", "guards")

_TESTED_ON = ("default", "javascript", "science", "shell")


def run(job: Job) -> int:
    """set everything up, then the daemon in the foreground"""
    env = prepare.everything(job.settings, job.machine, job.console)
    activate = job.settings.venv / "bin" / "activate"
    job.console.step("commands", f"in another terminal: . {activate}, then orchestrator --help")
    return job.become(job.settings.serve_command(), env)


def test(job: Job) -> int:
    """set everything up, then lint, the unit tests with their coverage, and all other tests"""
    missing, wishes = (
        {package: why for program, package, why in programs if not job.machine.which(program)}
        for programs in (_TESTED_WITH, _TESTED_WITH_IF_THERE)
    )
    env = prepare.everything(job.settings, job.machine, job.console, also=missing, wishes=wishes)
    images = job.python("-m", "orchestrator", "images", "build", "--if-missing", *_TESTED_ON)
    with commands.beside(images, env=env, cwd=job.settings.root):  # the network is slow, and linters need none
        failed = [name for name, passes in (("lint", _lint), ("unit tests", _unit)) if not passes(job, env)]
    env = prepare.everything(job.settings, job.machine, job.console, profiles=_TESTED_ON, unpacked=True)
    suite = job.python("-m", "pytest", "--ignore=tests/unit")
    job.console.step(
        "suite", f"failed so far: {', '.join(failed)}; the tests run anyway" if failed else "all the others"
    )
    if not failed:
        return job.become(suite, env)
    return max(1, commands.foreground(suite, env=env, cwd=job.settings.root))


def lint(job: Job) -> int:
    """ruff and mypy"""
    env = prepare.environment_alone(job.settings, job.machine, job.console)
    return 0 if _lint(job, env) else 1


def demo(job: Job) -> int:
    """the quickstart end to end, then a hostile program and its verdict"""
    env = prepare.everything(job.settings, job.machine, job.console)
    return job.become(job.python("-m", "orchestrator.testing.demo"), env)


def bench(job: Job) -> int:
    """the performance tables"""
    lacking = (("bwrap", "bubblewrap", "a yardstick"), ("postgres", "postgresql", "the store's other backend"))
    wishes = {package: why for program, package, why in lacking if not job.machine.which(program)}
    env = prepare.everything(job.settings, job.machine, job.console, wishes=wishes)
    return job.become(job.python("-m", "tests.benchmarks"), env)


def attack(job: Job) -> int:
    """the hostile programs, each with its expected verdict"""
    env = prepare.everything(job.settings, job.machine, job.console)
    return job.become(job.python("-m", "pytest", "tests/attack"), env)


def campaign(job: Job) -> int:
    """what only many jobs show, held to bounds; NAME= says which"""
    name = job.settings.name
    if name not in _CAMPAIGNS:
        told = f"NAME={name} is no campaign" if name else "NAME= says which campaign"
        raise Problem(f"{told}: {', '.join(_CAMPAIGNS)}", mend=f"make campaign NAME={_CAMPAIGNS[0]}", code=WRONG_USE)
    env = prepare.everything(job.settings, job.machine, job.console)
    return job.become(job.python("-m", "tests.campaigns", name), env)


def humaneval(job: Job) -> int:
    """HumanEval: every solution passes, every empty body fails; FILE= has its tasks"""
    file = job.settings.file
    if file is None or not file.is_file():
        told = f"there is no file {file}" if file else "FILE= names the tasks, HumanEval.jsonl or .jsonl.gz"
        raise Problem(told, mend="make humaneval FILE=HumanEval.jsonl.gz", code=WRONG_USE)
    env = prepare.everything(job.settings, job.machine, job.console)
    return job.become(job.python("-m", "tests.campaigns", "humaneval", str(file)), env)


def test_bare(job: Job) -> int:
    """the suite in a fresh root with an engine of its own; COMMAND= runs something else there"""
    return bare.test(job.settings, job.machine, job.console)


def engine_start(job: Job) -> int:
    """start the installed dockerd where no service manager does (make run does this by itself)"""
    program = job.machine.which("dockerd")
    if program is None:
        raise Problem("dockerd is not installed", mend="make run")
    OwnEngine().start(program, job.console)
    return 0


def engine_stop(job: Job) -> int:
    """end the engine that make started, and no other"""
    if not job.machine.is_root and OwnEngine().running():
        argv = ["make", "-C", str(job.settings.root), "engine-stop"]
        argv = job.machine.as_root(argv, interactive=job.console.interactive)
        return commands.foreground(argv, env=clean_environment(job.machine.environ), cwd=job.settings.root)
    if not OwnEngine().stop(job.console):
        job.console.step("engine", "none runs that make started")
    return 0


def install_unit(job: Job) -> int:
    """install the systemd unit for this checkout"""
    prepare.everything(job.settings, job.machine, job.console)
    return units.install(job.settings, job.machine, job.console)


def uninstall(job: Job) -> int:
    """say and remove what was added to this machine"""
    return uninstalling.everything(job.settings, job.machine, job.console)


def _lint(job: Job, env: dict[str, str]) -> bool:
    """All of them run, whatever the first one finds."""
    job.console.step("lint", "ruff, its formatter, mypy --strict")
    codes = [
        commands.foreground(job.python("-m", *words), env=env, cwd=job.settings.root)
        for words in (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))
    ]
    return not any(codes)


def _unit(job: Job, env: dict[str, str]) -> bool:
    """The unit tests, and how much of the deciding code they reach: pyproject.toml says which, and what is enough."""
    job.console.step("unit tests", "and how much of the deciding code they reach")
    steps = (("run", "-m", "pytest", "-q", "tests/unit"), ("report", "--skip-covered"))
    argvs = [job.python("-m", "coverage", *words) for words in steps]
    return all(commands.foreground(argv, env=env, cwd=job.settings.root) == 0 for argv in argvs)


TARGETS: dict[str, Callable[[Job], int]] = {
    "run": run, "test": test, "demo": demo, "bench": bench, "lint": lint, "attack": attack, "campaign": campaign,
    "humaneval": humaneval, "test-bare": test_bare,
    "engine-start": engine_start, "engine-stop": engine_stop, "install-unit": install_unit, "uninstall": uninstall,
}  # fmt: skip
