"""The profiles: one folder with a manifest is one profile, and there is no other list of them."""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from orchestrator.contracts.errors import StartRefused
from orchestrator.contracts.executions import Kernel, Limits
from orchestrator.contracts.model import Model, Name

MANIFEST = "manifest.toml"
FINISH = "finish.py"
"""A folder's own script, run by the new root's Python inside of it, in place of the packages' own scripts."""
OVERLAY = "root"
"""A folder's own files, which come into the image where they stand."""
RUNNER = "runner"
"""The folder of the runner, which is in every image and so part of every image's digest."""
DEFAULT = "default"
"""The profile that is kept ready, and the one of its language."""
RUNNERS_OWN = "python"
"""The language of the runner itself, which needs no other program to run it."""
_MAKER = Path(__file__).with_name("rootfs.py")

Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]


class ProfileLimits(Model):
    """The limits of one profile: what holds where a request says nothing, and the most that it may say."""

    default: Limits = Field(default_factory=Limits)
    maximum: Limits


class Manifest(Model):
    """What a profile's folder says of itself (CONTRACT 4).

    `packages` are the distribution's, and bring what they depend on, except what is named in `without`. `command` is
    the program that runs the job's `program`, with arguments before the request's own; Python has none, since the
    runner's own interpreter becomes the job. `env` is what a job finds in its environment unless its request says
    otherwise. `modules` are the importable names beyond the standard library. `kernel = "separate"` demands containers
    with a kernel of their own.
    """

    language: Name
    description: str = ""
    kernel: Kernel = "shared"
    packages: list[Package] = Field(min_length=1)
    without: list[Package] = Field(default_factory=list)
    program: FileName = "main.py"
    command: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    modules: list[str] = Field(default_factory=list)
    sessions: bool = False
    limits: ProfileLimits

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        """Refuse what could not run."""
        if (self.language == RUNNERS_OWN) == bool(self.command):
            raise ValueError(f"a language other than {RUNNERS_OWN} has a command, and {RUNNERS_OWN} has none")
        if self.command and not self.command[0].startswith("/"):
            raise ValueError("a command begins with an absolute path")
        if (self.sessions or self.modules) and self.language != RUNNERS_OWN:
            raise ValueError(f"sessions and modules are for {RUNNERS_OWN} alone")
        return self


class Profile:
    """One profile: its name, its folder, its manifest."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.folder = folder
        self.manifest = _read(folder / MANIFEST)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 over all that goes into its image: its own folder and the runner's, and what makes it of them."""
        total = hashlib.sha256(_MAKER.read_bytes())
        for root in (self.folder, self.folder.parent / RUNNER):
            for path in sources(root):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{root.name}/{path.relative_to(root).as_posix()}\0{content}\n".encode())
        return total.hexdigest()


def load(images_dir: Path) -> dict[str, Profile]:
    """All profiles of a folder, by name. Raises `StartRefused`, naming the file, where a manifest is wrong."""
    if not images_dir.is_dir():
        raise StartRefused(f"there is no folder of sandbox images at {images_dir}; set sandbox.images_dir")
    folders = sorted(path.parent for path in images_dir.glob(f"*/{MANIFEST}"))
    return {folder.name: Profile(folder) for folder in folders}


def of_language(known: Mapping[str, Profile], language: str) -> Profile | None:
    """The profile of a language where a request names none: `default`, the one that is called like it, the first."""
    candidates = [profile for profile in known.values() if profile.manifest.language == language]
    return min(candidates, key=lambda p: (p.name != DEFAULT, p.name != language, p.name), default=None)


def sources(root: Path) -> Iterator[Path]:
    """The files of a folder in a fixed order, without what an interpreter leaves behind."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _read(path: Path) -> Manifest:
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise StartRefused(f"{path} cannot be read: {fault}") from fault
    except ValidationError as fault:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors())
        raise StartRefused(f"{path} is wrong: {told}") from fault
