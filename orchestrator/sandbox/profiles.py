"""The profiles: one folder with a manifest is one profile, and there is no other list of them."""

import hashlib
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from orchestrator.contracts.errors import StartRefused
from orchestrator.contracts.executions import Limits
from orchestrator.contracts.model import Model, Name

MANIFEST = "manifest.toml"
RUNNER = "runner"
"""The folder of the runner, which is in every image and so part of every image's digest."""

Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]


class ProfileLimits(Model):
    """The limits of one profile: what holds where a request says nothing, and the most that it may say."""

    default: Limits = Field(default_factory=Limits)
    maximum: Limits


class Manifest(Model):
    """What a profile's folder says of itself."""

    language: Name
    interpreter: Annotated[str, StringConstraints(pattern=r"^/[\w./-]+$")]
    description: str = ""
    packages: list[Package] = Field(min_length=1, strict=False)
    limits: ProfileLimits


class Profile:
    """One profile: its name, its folder, its manifest."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.folder = folder
        self.manifest = _read(folder / MANIFEST)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 over all that goes into its image: its own folder and the runner's, by path and content."""
        total = hashlib.sha256()
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
