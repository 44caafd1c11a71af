"""The machine as `make` finds it: its files, its user, its programs. All looking at the system starts here."""

import getpass
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.bootstrap.console import Problem

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not on every user's PATH, and dockerd lives there
_SERVERS = "/usr/lib/postgresql"  # a folder a version, on nobody's PATH


@dataclass(frozen=True)
class Machine:
    """Facts that steps ask for. `root` is `/`, or a folder that stands for it."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    root: Path = Path("/")
    uid: int = field(default_factory=os.geteuid)

    @property
    def is_root(self) -> bool:
        return self.uid == 0

    @property
    def user(self) -> str:
        """The name of the user, as `usermod` wants it."""
        return getpass.getuser()

    @property
    def home(self) -> Path:
        return Path(self.environ.get("HOME") or "/root")

    def at(self, path: str) -> Path:
        """An absolute path of the machine, under its root."""
        return self.root / path.lstrip("/")

    def has_service_manager(self) -> bool:
        """Whether systemd runs this machine (the test of sd_booted(3)); the package alone says nothing."""
        return self.at("/run/systemd/system").is_dir()

    def which(self, program: str) -> Path | None:
        """Where a program is, looked for in PATH and in the folders of system programs."""
        folders = [folder for folder in f"{self.environ.get('PATH', '')}:{_SBIN}".split(":") if folder]
        servers = sorted(self.at(_SERVERS).glob("[0-9]*/bin"), key=lambda path: -float(path.parent.name))
        under_root = ":".join([*(str(self.at(folder)) for folder in folders), *map(str, servers)])
        found = shutil.which(program, path=under_root)
        return Path(found) if found else None

    @property
    def proxies(self) -> list[str]:
        """Names of the variables that name proxies."""
        return sorted(name for name in self.environ if name.lower().endswith("_proxy"))

    def as_root(self, argv: list[str], *, interactive: bool, keep: Sequence[str] = ()) -> list[str]:
        """The command line that runs `argv` as root: itself, or by sudo, which asks only where a person can answer.

        `keep` names the variables that sudo hands on. Their values never stand on a command line, which all can read.
        """
        if self.is_root:
            return argv
        if self.which("sudo") is None:
            raise Problem(f"`{' '.join(argv)}` needs root, and there is no sudo here", mend="su -c 'make run'")
        kept = [f"--preserve-env={','.join(keep)}"] if keep else []
        return ["sudo", *([] if interactive else ["-n"]), *kept, *argv]
