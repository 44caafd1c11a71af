"""A root file system from the distribution's packages, with the runner in it (DESIGN 4).

`mmdebstrap` unpacks; no package's own script runs. Then what no job needs goes away, the runner and the fixed places
come in, and everything is compiled once, since a job's root is read-only.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from orchestrator.contracts.errors import StartRefused, Unavailable
from orchestrator.sandbox import apt
from orchestrator.sandbox.profiles import RUNNER, Profile
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
    """Build a profile's root in `workspace`: the path of its tar file, and the versions of its packages."""
    if os.geteuid() != 0:
        raise StartRefused("building a sandbox image needs root: run the same command with sudo")
    root = workspace / "root"
    versions = _unpack(profile, root, workspace, progress)
    progress("adding the runner and compiling the standard library")
    _slim(root)
    _furnish(root, profile.folder.parent / RUNNER)
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
    listing = workspace / "packages.txt"
    command = [
        tool, "--mode=root", "--variant=extract", "--format=directory",
        f"--include={','.join(profile.manifest.packages)}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
        f"--extract-hook=ls \"$1\"/var/cache/apt/archives > {listing}",
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
    return package_versions(listing.read_text())


def _tell(line: str, progress: Progress) -> str:
    line = line.strip()
    if line.startswith("I: "):
        progress(line[3:])
    return line


def package_versions(listing: str) -> dict[str, str]:
    """Names and versions from archive names such as `zlib1g_1%3a1.2.13_amd64.deb`."""
    found = re.findall(r"^([^_\s]+)_([^_\s]+)_[^_\s]+\.deb$", listing, re.MULTILINE)
    return {name: version.replace("%3a", ":") for name, version in sorted(found)}


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


def _furnish(root: Path, runner: Path) -> None:
    """Put in the runner, the mount points and the few files of /etc."""
    for name, content in _ETC.items():
        (root / "etc" / name).unlink(missing_ok=True)
        (root / "etc" / name).write_text(content)
    for place in ("box", "program", "proc", "sys", "dev"):
        (root / place).mkdir(exist_ok=True)
    shutil.rmtree(root / "tmp", ignore_errors=True)
    (root / "tmp").symlink_to("box/tmp")
    home = root / RUNNER_HOME.lstrip("/")
    for source in files_of(runner):
        target = home / source.relative_to(runner)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(0o644)
    for name in ("machine-id", "apt/sources.list"):
        (root / "etc" / name).unlink(missing_ok=True)


def _compile(root: Path) -> None:
    """Compile all Python inside the new root, by its own interpreter, and let it know its shared libraries."""
    compileall = "import compileall as c, sys, py_compile as p; m = p.PycInvalidationMode.UNCHECKED_HASH\n"
    compileall += f"for d in ['{RUNNER_HOME}', *(x for x in sys.path if x.startswith('/usr/lib/python3'))]:\n"
    compileall += "    c.compile_dir(d, quiet=2, invalidation_mode=m)"
    for command in (["/usr/sbin/ldconfig"], ["/usr/bin/python3", "-I", "-c", compileall]):
        done = subprocess.run(  # noqa: S603 - fixed commands
            ["/usr/sbin/chroot", str(root), *command], capture_output=True, text=True, check=False, env={}
        )
        if done.returncode != 0:
            raise Unavailable(f"{command[0]} failed in the new root: {done.stderr.strip()[-400:]}")


assert sys.platform == "linux"  # the one platform of this room, and what the type checker goes by
