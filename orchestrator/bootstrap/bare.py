"""`make test-bare`: the suite in a fresh root, with nothing but Python, git, make and certificates in it.

The root is made from the distribution's packages, holds a clone of HEAD, and has mounts, processes, names and an engine
of its own; it shares the machine's network, for packages. All of it is gone afterwards, however the run ends.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.bootstrap import commands, inside, sources
from orchestrator.bootstrap.console import WRONG_USE, Console, Problem
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.packages import Packages
from orchestrator.bootstrap.settings import Settings, clean_environment

_CONTAINS = "python3,git,make,ca-certificates"
_PREFIX = "orchestrator-bare-"
_CHECKOUT = "srv/orchestrator"
_STOP = f"make -s -C /{_CHECKOUT} engine-stop"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def test(settings: Settings, machine: Machine, console: Console) -> int:
    """Run `make test`, or the command in `COMMAND`, in a fresh root; answers its exit code."""
    if not machine.is_root:
        raise Problem("a fresh root needs root", mend="sudo make test-bare", code=WRONG_USE)
    if machine.which("mmdebstrap") is None:
        Packages(settings, machine, console).install({"mmdebstrap": "makes the fresh root"})
    command = machine.environ.get("COMMAND") or "make test"
    with _folder(console) as folder:
        root = folder / "root"
        _make_root(root, console)
        _clone(settings.root, root / _CHECKOUT, console)
        console.step("bare", f"{command}, in {root} with an engine of its own")
        env = sources.environment(machine.environ) | {"PATH": _PATH, "HOME": "/root", "USER": "root"}
        code = inside.run(root, f"cd /{_CHECKOUT} && {{ {command}\n}}; code=$?; {_STOP}; exit $code", env)
    console.step("bare", f"exit code {code}; the root and all that ran in it are gone")
    return code


@contextmanager
def _folder(console: Console) -> Iterator[Path]:
    """A folder that is removed at the end; those of killed runs, known by their free lock, are removed first."""
    base = Path("/var/tmp")  # noqa: S108 - on disk, unlike /tmp on many machines; the folder itself is ours alone
    for old in base.glob(f"{_PREFIX}*"):
        with (old / "lock").open("w") as lock:
            if _take(lock.fileno()):
                console.step("bare", f"removing {old}, left by a run that was killed")
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    with (folder / "lock").open("w") as lock:
        _take(lock.fileno())
        try:
            folder.chmod(0o755)
            yield folder
        finally:
            shutil.rmtree(folder)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_root(root: Path, console: Console) -> None:
    """A minimal root of this machine's own distribution and release."""
    release = sources.Release.of(Path("/etc/os-release").read_text())
    files = sources.apt_sources(Path("/"), release)
    if not files:
        raise Problem(f"/etc/apt names no source of this distribution's own packages ({release.codename})")
    console.step("bare", f"making a minimal root of {release.codename} with {_CONTAINS}")
    _write_sources(files, root.parent)
    options = [word for option in sources.apt_options() for word in ("--aptopt", option)]
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={_CONTAINS}", *options]
    commands.run([*argv, release.codename, str(root), *(str(root.parent / name) for name in files)], console)
    for named_otherwise in (root / "etc/apt/sources.list.d").iterdir():
        named_otherwise.unlink()
    _write_sources(files, root / "etc/apt")
    sources.copy_trust(root)
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost {inside.HOSTNAME}\n")
    home = Path(os.environ.get("HOME", "/root"))
    (root / "etc" / "pip.conf").write_text(sources.pip_configuration(home))


def _write_sources(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def _clone(checkout: Path, target: Path, console: Console) -> None:
    """HEAD of the checkout, whoever owns it; git asks for leave when that is another user."""
    console.step("bare", "cloning HEAD")
    leave = target.parent.parent / "tmp" / "gitconfig"
    leave.write_text("[safe]\n\tdirectory = *\n[advice]\n\tdetachedHead = false\n")
    env = clean_environment(os.environ) | {"GIT_CONFIG_GLOBAL": str(leave)}
    commands.run(["git", "clone", "--no-hardlinks", "--quiet", str(checkout), str(target)], console, env=env)
    commands.run(["git", "-C", str(target), "remote", "remove", "origin"], console, env=env)
    leave.unlink()
