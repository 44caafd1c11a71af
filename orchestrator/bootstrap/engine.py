"""The engine step: use the one that answers, else install and start one, and record what that added."""

import os
import sys
import time
from pathlib import Path

from orchestrator.bootstrap import commands
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.contexts import Endpoint
from orchestrator.bootstrap.dockerd import OwnEngine
from orchestrator.bootstrap.engines import Denied, Found, Missing, Sight, Startable, look
from orchestrator.bootstrap.ledger import Ledger
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings, clean_environment

_DATA = ("/var/lib/docker", "/var/lib/containerd")
_COME_UP_S = 60.0
_REENTERED = "ORCHESTRATOR_REENTERED"


class Engine:
    """The Docker engine for this checkout."""

    def __init__(self, settings: Settings, machine: Machine, console: Console) -> None:
        self._settings = settings
        self._machine = machine
        self._console = console
        self._ledger = Ledger(settings.kept)
        self._unmade = [path for path in _DATA if not Path(path).exists()]  # before a package may make them

    def look(self) -> Sight:
        """What is there. Raises `Problem` where an engine is installed and silent."""
        try:
            return look(self._machine)
        except Denied:
            if self._ledger.read().group_member == self._machine.user:
                self._reenter()  # an earlier run took the user into the group; this login does not have it yet
            raise

    def needs(self, sight: Sight) -> dict[str, str]:
        """The packages to install for it."""
        return {"docker.io": "the container engine"} if isinstance(sight, Missing) else {}

    def bring_up(self, sight: Sight) -> Endpoint:
        """Have an engine that answers, packages being installed by now."""
        if not isinstance(sight, Found):
            self._remember(self._unmade)
            sight = self._started()
        self._console.step("engine", f"Docker {sight.version} answers at {sight.endpoint.host}")
        return sight.endpoint

    def _started(self) -> Found:
        deadline = time.monotonic() + _COME_UP_S
        while True:
            try:
                sight = look(self._machine)
            except Denied:
                self._join_group()
                self._reenter()
            except Problem:
                if time.monotonic() > deadline:
                    raise
                sight = None  # its service is still coming up
            if isinstance(sight, Found):
                return sight
            if isinstance(sight, Startable):
                self._start(sight.dockerd)
            elif time.monotonic() > deadline:
                raise Problem("the engine's package is installed, and there is no dockerd")
            time.sleep(0.2)  # a service manager is starting it, and tells only those who ask

    def _start(self, program: Path) -> None:
        if self._machine.is_root:
            OwnEngine().start(program, self._console)
            return
        argv = self._machine.as_root([*_OURSELVES, "engine-start"], interactive=self._console.interactive)
        env = clean_environment(self._machine.environ)
        if commands.foreground(argv, env=env, cwd=self._settings.root) != 0:
            raise Problem("the engine could not be started")

    def _remember(self, folders: list[str]) -> None:
        added = self._ledger.read()
        added.folders = sorted({*added.folders, *folders})
        self._ledger.write(added)

    def _join_group(self) -> None:
        """Take the user into the group whose members may talk to the engine that we just installed."""
        user = self._machine.user
        self._console.step("engine", f"taking {user} into the group docker, which equals root on this machine")
        argv = self._machine.as_root(["usermod", "-aG", "docker", user], interactive=self._console.interactive)
        commands.run(argv, self._console)
        added = self._ledger.read()
        added.group_member = user
        self._ledger.write(added)

    def _reenter(self) -> None:
        """Begin again with the group in force, which a login gets only when it begins."""
        if self._machine.environ.get(_REENTERED):
            raise Problem("this login cannot enter the group docker", mend="newgrp docker")
        ask = [] if self._console.interactive else ["-n"]
        keep = ["env", f"PATH={self._machine.environ.get('PATH', os.defpath)}", f"{_REENTERED}=1"]  # sudo sets its own
        argv = ["sudo", *ask, "-E", "-u", self._machine.user, "-g", "docker", *keep, *_OURSELVES, *sys.argv[1:]]
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted in between


_OURSELVES = [sys.executable, "-m", "orchestrator.bootstrap"]
