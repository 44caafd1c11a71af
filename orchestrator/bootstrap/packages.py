"""System packages from the distribution, by apt: asked for once, recorded, removed only where we brought them."""

import re

from orchestrator.bootstrap import commands
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.ledger import Ledger
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings, clean_environment

_APT = ["apt-get", "-y", "-o", "DPkg::Lock::Timeout=300"]  # another apt may be at work: wait for it
_BEFORE = {"postgresql": ("/etc/postgresql-common/createcluster.conf", "create_main_cluster = false")}
"""By package a file that is there first: without this one it would set up and start a server of the machine's own."""
_REMOVES = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)


class Packages:
    """The distribution's packages on this machine."""

    def __init__(self, settings: Settings, machine: Machine, console: Console) -> None:
        self._settings = settings
        self._machine = machine
        self._console = console
        self._ledger = Ledger(settings.kept)

    def installed(self) -> set[str]:
        """Names of all installed packages."""
        lines = commands.output(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"]).splitlines()
        return {name for status, _, name in (line.partition(" ") for line in lines) if status == "installed"}

    def install(self, needs: dict[str, str], wishes: dict[str, str] | None = None) -> None:
        """Install packages, `needs` being name and reason; of `wishes` those that can be had.

        Asks once on a terminal. Raises `Problem` (exit 3) where it is forbidden, declined, or apt is not there.
        """
        wishes = wishes if wishes and self._settings.may_install and self._machine.which("apt-get") else {}
        needs = {**needs, **wishes}
        if not needs:
            return
        told = ", ".join(f"{name} ({reason})" for name, reason in needs.items())
        by_hand = "sudo apt-get install --no-install-recommends " + " ".join(needs)
        if self._machine.which("apt-get") is None:
            raise Problem(f"missing here: {told}. There is no apt-get: install them with this system's own tool")
        if not self._settings.may_install:
            raise Problem(f"missing here: {told}. INSTALL=never forbids installing", mend=by_hand)
        if not self._console.agrees(f"Install {told} from the distribution?"):
            raise Problem(f"not installed: {told}", mend=by_hand)
        self._console.step("packages", f"installing {told}")
        self._install(list(needs), set(wishes))

    def remove(self, names: list[str]) -> None:
        """Remove packages that nothing else needs by now; what apt would take along besides them is left, and said."""
        ours = sorted(set(names) & self.installed())
        if not ours:
            return
        taken = set(_REMOVES.findall(commands.output(["apt-get", "-s", "purge", *ours])))
        if others := taken - set(ours):
            self._console.step("packages", f"kept: {', '.join(sorted(others))} need them now")
            return
        self._console.step("packages", f"removing {', '.join(ours)}")
        self._apt("purge", *ours)

    def prepare_for(self, name: str) -> None:
        """Put the file there that a package is to find. One that is there is a person's own; removal takes it along."""
        path, line = _BEFORE.get(name, ("", ""))
        file = self._machine.at(path)
        if path and not file.exists():
            self._as_root(["sh", "-c", 'mkdir -p "${1%/*}" && echo "$2" > "$1"', "sh", str(file), line])

    def _install(self, names: list[str], wished: set[str]) -> None:
        before = self.installed()
        self._refresh()
        if unknown := wished - set(commands.output(["apt-cache", "pkgnames"]).split()):
            self._console.step("packages", f"not in this distribution: {', '.join(sorted(unknown))}")
            names = [name for name in names if name not in unknown]
        if not names:
            return
        for name in names:
            self.prepare_for(name)
        try:
            self._apt("install", "--no-install-recommends", *names)
        except Problem as problem:
            if "dpkg --configure -a" not in problem.what:
                raise
            self._as_root(["dpkg", "--configure", "-a"])  # an earlier run was killed half-way
            self._apt("install", "--no-install-recommends", *names)
        finally:
            self._record(self.installed() - before)

    def _refresh(self) -> None:
        """Fetch the lists of packages. A third party's list that fails must not matter: the install itself tells."""
        try:
            self._apt("update")
        except Problem:
            self._console.step("packages", "not every list could be refreshed; going on with those there are")

    def _record(self, fresh: set[str]) -> None:
        added = self._ledger.read()
        added.packages = sorted(fresh | set(added.packages))
        self._ledger.write(added)

    def _apt(self, *words: str) -> None:
        self._as_root([*_APT, *words])

    def _as_root(self, argv: list[str]) -> None:
        argv = ["env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C", *argv]
        argv = self._machine.as_root(argv, interactive=self._console.interactive, keep=self._machine.proxies)
        commands.run(argv, self._console, env=clean_environment(self._machine.environ))
