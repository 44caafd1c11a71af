"""What a person may choose on the `make` line: `PORT= STATE= PLUGINS= INSTALL= BASE=` and what single targets want."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.bootstrap.console import WRONG_USE, Problem

MEANINGS = {
    "PORT": "the daemon's port on 127.0.0.1, 8000 unless configured; 0 takes a free one",
    "STATE": "its state directory, state/ unless configured",
    "PLUGINS": "one more folder of plugins",
    "INSTALL": "`never` forbids system packages: says what is missing, exit 3",
    "NAME": "which campaign: hostile, crashes, flood or mixed",
    "FILE": "the tasks for `make humaneval`, HumanEval.jsonl or .jsonl.gz",
    "BASE": "`registry` is for hosts without mmdebstrap; not served yet, images need the distribution's packages",
}
_MAKE_OWN = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR")


@dataclass(frozen=True)
class Settings:
    """Checked choices; None where nothing was said, so that the daemon's own configuration decides."""

    root: Path  # the checkout
    port: int | None = None  # 0 takes any free one
    state: Path | None = None
    plugins: Path | None = None
    may_install: bool = True  # INSTALL=never forbids system packages
    name: str = ""  # of a campaign
    file: Path | None = None  # the tasks of HumanEval
    from_registry: bool = False  # BASE=registry: images start from a container registry, not from packages

    @property
    def kept(self) -> Path:
        """The folder of what `make` itself keeps: ledger, lock, log."""
        return self.root / ".make"

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def program(self) -> Path:
        """The installed command `orchestrator`."""
        return self.venv / "bin" / "orchestrator"

    def serve_command(self) -> list[str]:
        """The command line that `make run` becomes."""
        chosen = {"--port": self.port, "--state": self.state, "--plugins": self.plugins}
        flags = [word for flag, value in chosen.items() if value is not None for word in (flag, str(value))]
        return [str(self.program), "serve", *flags]


def read(environ: Mapping[str, str], root: Path) -> Settings:
    """Settings from the environment, to which `make` adds its line's choices. Raises `Problem` naming all faults."""
    faults: list[str] = []
    port = _port(environ.get("PORT", ""), faults)
    plugins = _path(environ.get("PLUGINS", ""), root)
    if plugins is not None and not plugins.is_dir():
        faults.append(f"PLUGINS={environ['PLUGINS']} is not a folder")
    state = _path(environ.get("STATE", ""), root)
    if state is not None and state.exists() and not state.is_dir():
        faults.append(f"STATE={environ['STATE']} is a file, not a folder")
    install = _one_of(environ, "INSTALL", "never", faults)
    base = _one_of(environ, "BASE", "registry", faults)
    if faults:
        raise Problem("\n".join(faults), code=WRONG_USE)
    name, file = environ.get("NAME", ""), _path(environ.get("FILE", ""), root)  # judged by the targets that want them
    return Settings(root, port, state, plugins, may_install=not install, name=name, file=file, from_registry=base)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for programs started from here, without `make`'s own, which a nested `make` would obey."""
    return {name: value for name, value in environ.items() if name not in _MAKE_OWN}


def _port(text: str, faults: list[str]) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    faults.append(f"PORT={text} is not a port: a number from 0 (any free one) to 65535")
    return None


def _path(text: str, root: Path) -> Path | None:
    return (root / Path(text).expanduser()).absolute() if text else None


def _one_of(environ: Mapping[str, str], name: str, word: str, faults: list[str]) -> bool:
    value = environ.get(name, "")
    if value not in {"", word}:
        faults.append(f"{name}={value} means nothing here: say {name}={word}, or leave it out")
    return value == word
