"""A root file system from the distribution's packages, with the runner in it (DESIGN 4).

`mmdebstrap` unpacks; no package's own script runs, so what such scripts would have made, the profile's `finish.py`
makes inside the new root. What no job needs goes away, the runner and the fixed places come in, and all Python is
compiled once, since a job's root is read-only.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from orchestrator.contracts.errors import StartRefused, Unavailable
from orchestrator.sandbox import apt
from orchestrator.sandbox.profiles import FINISH, OVERLAY, RUNNER, Profile
from orchestrator.sandbox.profiles import sources as files_of

Progress = Callable[[str], None]

RUNNER_HOME = "/usr/lib/orchestrator/runner"
_NEEDLESS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt",
    "var/log",
)
_ETC = {
    "passwd": "root:x:0:0:root:/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "",
    "hostname": "sandbox\n",
}


def make(profile: Profile, workspace: Path, progress: Progress) -> tuple[Path, dict[str, str]]:
    """Build a profile's root in `workspace`: the path of its tar file, and the versions of its packages.

    Raises `StartRefused` or `Unavailable`, saying what is missing or what failed.
    """
    if os.geteuid() != 0:
        raise StartRefused("building a sandbox image needs root: run the same command with sudo")
    root = workspace / "root"
    versions = _unpack(profile, root, workspace, progress)
    progress("adding the runner and compiling all Python")
    _slim(root)
    _finish(root, profile.folder / FINISH)
    _furnish(root)
    _copy(profile.folder.parent / RUNNER, root / RUNNER_HOME.lstrip("/"))
    _copy(profile.folder / OVERLAY, root)
    _compile(root)
    progress("packing")
    archive = workspace / "root.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(root, arcname=".")
    return archive, versions


def _unpack(profile: Profile, root: Path, workspace: Path, progress: Progress) -> dict[str, str]:
    """Let mmdebstrap resolve, fetch, check and unpack the packages; their versions by name."""
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise Unavailable("mmdebstrap is missing; mend it with: apt-get install mmdebstrap")
    absent = workspace / "absent"
    absent.write_text(stand_in(profile.manifest.without))
    command = [
        tool, "--mode=root", "--variant=extract", "--format=directory", "--skip=cleanup/apt/cache",
        f"--setup-hook=cat {shlex.quote(str(absent))} >> \"$1\"/var/lib/dpkg/status",
        f"--include={','.join(profile.manifest.packages)}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
        *(f"--aptopt={option}" for option in apt.proxy_options()),
        apt.codename(), str(root), "-",
    ]  # fmt: skip
    progress("fetching and unpacking the distribution's packages")
    process = subprocess.Popen(  # noqa: S603 - the tool's own path, and names that a manifest's model checked
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process:
        process.stdin.write("\n".join(apt.sources()) + "\n")
        process.stdin.close()
        told = [_tell(line, progress) for line in process.stderr]
    if process.returncode != 0:
        raise Unavailable(f"mmdebstrap failed: {' '.join(told[-3:])}")
    return package_versions(path.name for path in (root / "var/cache/apt/archives").iterdir())


def stand_in(packages: Sequence[str]) -> str:
    """An entry of dpkg's status that says: these are there already. So they, and what only they need, stay away."""
    if not packages:
        return ""
    fields = {
        "Package": "orchestrator-without",
        "Status": "install ok installed",
        "Version": "1",
        "Architecture": "all",
        "Maintainer": "nobody <nobody@localhost>",
        "Description": "stands for what this image is made without",
        "Provides": ", ".join(f"{package} (= 99:0)" for package in packages),
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n"


def package_versions(archives: Iterable[str]) -> dict[str, str]:
    """Names and versions from archive names such as `zlib1g_1%3a1.2.13_amd64.deb`."""
    found = (re.fullmatch(r"([^_\s]+)_([^_\s]+)_[^_\s]+\.deb", name) for name in sorted(archives))
    return {match[1]: match[2].replace("%3a", ":") for match in found if match}


def _tell(line: str, progress: Progress) -> str:
    line = line.strip()
    if line.startswith("I: "):
        progress(line[3:])
    return line


def _slim(root: Path) -> None:
    """Remove what no job needs, and every set-id bit."""
    for name in _NEEDLESS:
        shutil.rmtree(root / name, ignore_errors=True)
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if not path.is_symlink() and mode & 0o6000:
                path.chmod(mode & 0o1777)


def _furnish(root: Path) -> None:
    """Put in the mount points and the few files of /etc."""
    for name, content in _ETC.items():
        (root / "etc" / name).unlink(missing_ok=True)
        (root / "etc" / name).write_text(content)
    for place in ("box", "program", "proc", "sys", "dev"):
        (root / place).mkdir(exist_ok=True)
    shutil.rmtree(root / "tmp", ignore_errors=True)
    (root / "tmp").symlink_to("box/tmp")
    for name in ("machine-id", "apt/sources.list"):
        (root / "etc" / name).unlink(missing_ok=True)


def _copy(folder: Path, target: Path) -> None:
    """Put in what a folder holds, if it is there, for all to read."""
    for source in files_of(folder):
        copy = target / source.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
        copy.chmod(0o644)


def _finish(root: Path, script: Path) -> None:
    """Do inside the new root what the folder's own script says, if it has one."""
    if script.is_file():
        _inside(root, "/usr/bin/python3", "-I", "-B", "-c", script.read_text())


def _compile(root: Path) -> None:
    """Let the new root know its shared libraries, and compile all Python in it by its own interpreter."""
    compileall = "import compileall as c, sys, py_compile as p; m = p.PycInvalidationMode.UNCHECKED_HASH\n"
    compileall += f"for d in ['{RUNNER_HOME}', *(x for x in sys.path if x.startswith('/usr/lib/python3'))]:\n"
    compileall += "    c.compile_dir(d, quiet=2, invalidation_mode=m)"
    _inside(root, "/usr/sbin/ldconfig")
    _inside(root, "/usr/bin/python3", "-I", "-c", compileall)


def _inside(root: Path, *command: str) -> None:
    done = subprocess.run(  # noqa: S603 - fixed commands, and scripts of the checkout
        ["/usr/sbin/chroot", str(root), *command], capture_output=True, text=True, check=False, env={}
    )
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed in the new root: {done.stderr.strip()[-400:]}")


assert sys.platform == "linux"  # the one platform of this room, and what the type checker goes by
