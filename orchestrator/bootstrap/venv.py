"""The virtual environment `.venv`: exactly the locked dependencies, checked by hash, and the project on its path."""

import compileall
import hashlib
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

from orchestrator.bootstrap import commands, wheel
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.ledger import only_one
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings, clean_environment

_SYSTEM = Path("/usr/bin")


class VirtualEnvironment:
    """Present when its stamp names this lock, this Python and this place; the stamp is written last.

    So a build that was killed half-way has none, and the next run begins afresh.
    """

    def __init__(self, settings: Settings, machine: Machine, console: Console) -> None:
        self._settings = settings
        self._machine = machine
        self._console = console
        self._stamp = settings.venv / "complete"

    def is_ready(self) -> bool:
        """Whether nothing is to be done."""
        programs = (self._settings.venv / "bin" / "python", self._settings.program)
        return all(p.exists() for p in programs) and _text(self._stamp) == self._wanted()

    def needs(self) -> dict[str, str]:
        """The system package without which none can be made: Debian ships Python without `ensurepip`."""
        if self.is_ready() or importlib.util.find_spec("ensurepip") is not None:
            return {}
        python = Path(sys.executable).resolve()  # that of an environment is a link to the one that it was made from
        if python.parent != _SYSTEM:
            raise Problem(f"{python} was built without ensurepip: put another Python 3.11+ first in PATH")
        return {f"python3.{sys.version_info.minor}-venv": "virtual environments"}

    def make(self) -> None:
        """Make or remake it, and compile the project's own modules, which pip does for all others."""
        if not self.is_ready():
            with only_one(self._settings.kept, self._console, "venv.lock") as lock:
                self._make(lock)
        compileall.compile_dir(self._settings.root / "orchestrator", quiet=2)

    def _make(self, lock: int) -> None:
        """The programs hold the lock too: after a kill -9 of ours they may still be writing there for a while."""
        root, venv = self._settings.root, self._settings.venv
        self._console.step("python", f"making {venv.name} from requirements.lock with Python {_version()}")
        self._stamp.unlink(missing_ok=True)
        self._run(lock, sys.executable, "-m", "venv", "--clear", str(venv))
        self._pip(lock, "--require-hashes", "-r", str(root / "requirements.lock"))
        with tempfile.TemporaryDirectory() as folder:
            self._pip(lock, "--no-index", "--no-deps", "--force-reinstall", str(wheel.write(root, Path(folder))))
        self._stamp.write_text(self._wanted())

    def _wanted(self) -> str:
        """What the environment depends on: the lock, the project's own metadata, the Python, the place."""
        digest = hashlib.sha256((self._settings.root / "requirements.lock").read_bytes())
        digest.update(json.dumps(wheel.metadata(self._settings.root), sort_keys=True).encode())
        return f"{digest.hexdigest()} {_version()} {sys.base_prefix} {self._settings.root}\n"

    def _pip(self, lock: int, *words: str) -> None:
        self._run(lock, str(self._settings.venv / "bin" / "python"), "-m", "pip", "install", "--no-input", *words)

    def _run(self, lock: int, *argv: str) -> None:
        env = clean_environment(self._machine.environ) | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        for foreign in ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"):
            env.pop(foreign, None)  # each would send packages somewhere else
        commands.run(argv, self._console, env=env, cwd=self._settings.root, keep=(lock,))


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
