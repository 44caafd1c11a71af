"""Images without an engine: root file systems unpacked into a cache, told from others by what lies beside them.

`ROOTS/PROFILE-DIGEST/` holds `root/`, `image.json` and `stage/`, where a worker's mounts begin. A folder comes into
being by one rename, complete, and is never changed afterwards; whoever runs workers on it holds a shared lock on its
`image.json`.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox.backends import bubblewrap_command, walls
from orchestrator.sandbox.backends.port import Image
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.settings import SandboxSettings

_NAME = "orchestrator-sandbox"
_FACTS, _ROOT, _STAGE = "image.json", "root", "stage"
_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
"""What an engine mounts to /etc/hosts, and nobody else does."""


class Roots:
    """The images in one folder, which belongs to root or to the daemon's user, and which nobody else can write."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def engine(self) -> str:
        return bubblewrap_command.version(bubblewrap_command.tools(rootless=os.geteuid() != 0))

    def found(self) -> list[Image]:
        """Our images, newest first. Raises `Unavailable` where others could have put them there."""
        if not self._top.exists():
            return []
        _guard(self._top)
        images = [Image(**json.loads(facts.read_text())) for facts in self._top.glob(f"[!.]*/{_FACTS}")]
        return sorted(images, key=lambda image: image.created, reverse=True)

    def add(self, profile: Profile, archive: Path, versions: Mapping[str, str]) -> None:
        self._top.mkdir(parents=True, exist_ok=True)
        _guard(self._top)
        image = Image(
            id=f"sha256:{_sha256(archive)}",
            name=f"{_NAME}/{profile.name}",
            profile=profile.name,
            digest=profile.digest,
            packages=" ".join(f"{name}={version}" for name, version in versions.items()),
            size_bytes=archive.stat().st_size,
            created=int(time.time()),
        )
        with self._alone() as draft:
            if self._folder(image).exists():
                return  # somebody was faster
            draft.mkdir(mode=0o755)
            _unpack(archive, draft / _ROOT)
            for folder in _stage(draft).values():
                folder.mkdir(parents=True)
            (draft / _FACTS).write_text(json.dumps(asdict(image)))
            draft.rename(self._folder(image))

    def remove(self, image: Image) -> bool:
        with self._alone() as draft, (self._folder(image) / _FACTS).open() as facts:
            try:
                fcntl.flock(facts, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._folder(image).rename(draft)  # half of an image is none
        return True

    def root(self, image: Image) -> Path:
        """Where its files are."""
        return self._folder(image) / _ROOT

    def stage(self, image: Image) -> dict[str, Path]:
        """The empty folder for each place that can be written, which a worker mounts over."""
        return _stage(self._folder(image))

    def hold(self, image: Image) -> int:
        """A descriptor that keeps the image from being removed until it is closed."""
        fd = os.open(self._folder(image) / _FACTS, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH)
        return fd

    @contextmanager
    def _alone(self) -> Iterator[Path]:
        """Let one at a time change the folder; a place for what is not an image yet, or not any more."""
        draft = self._top / ".draft"
        with (self._top / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees that of a killed one
            try:
                shutil.rmtree(draft, ignore_errors=True)
                yield draft
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def _folder(self, image: Image) -> Path:
        return self._top / f"{image.profile}-{image.digest[:12]}"


@contextmanager
def shelf(settings: SandboxSettings) -> Iterator[Roots]:
    """The images of this machine, for one piece of work. Whatever of it fails is `Unavailable`."""
    try:
        yield Roots(Path(settings.roots))
    except (OSError, ValueError, TypeError) as fault:
        raise Unavailable(f"the images in {settings.roots} cannot be read or written: {fault}") from fault


def _stage(folder: Path) -> dict[str, Path]:
    return {place: folder / _STAGE / place.lstrip("/") for place in walls.PLACES}


def _guard(top: Path) -> None:
    state = top.stat()
    if state.st_uid not in (0, os.geteuid()) or state.st_mode & 0o022:
        mend = f"chown root {top}; chmod 755 {top}"
        raise Unavailable(f"others than root can write to {top}, so nothing in it is run; mend it with: {mend}")


def _unpack(archive: Path, root: Path) -> None:
    root.mkdir(mode=0o755)
    options = ["--numeric-owner", "--preserve-permissions", "--file", str(archive), "--directory", str(root)]
    done = subprocess.run(["tar", "--extract", *options], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode != 0:
        raise Unavailable(f"the root cannot be unpacked: {done.stderr.strip()[-400:]}")
    (root / "etc/hosts").write_text(_HOSTS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
