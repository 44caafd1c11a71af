"""The sandbox images: built from folders, found by label, removed when no longer needed. Works without a daemon."""

import tempfile
from pathlib import Path

from orchestrator.contracts.errors import Invalid, Unavailable
from orchestrator.sandbox import backends, profiles, rootfs
from orchestrator.sandbox.backends.port import Image, Shelf
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.rootfs import Progress
from orchestrator.sandbox.settings import SandboxSettings

_ON_DISK = "/var/tmp"  # noqa: S108 - unlike /tmp on many machines; the folder itself is ours alone


def build(settings: SandboxSettings, images_dir: Path, profile: str, progress: Progress) -> str:
    """Build a profile's image unless the engine has it from the same folder; its id. Blocks for some ten seconds."""
    wanted = _profile(images_dir, profile)
    with backends.engine(settings).shelf(settings) as shelf:
        if (there := current(shelf, wanted)) is not None:
            progress(f"the image {there.name} is up to date")
            return there.id
        progress(f"building the image of the profile {profile}")
        with tempfile.TemporaryDirectory(prefix="orchestrator-image-", dir=_ON_DISK) as folder:
            archive, versions = rootfs.make(wanted, Path(folder), progress)
            progress("importing into the engine")
            shelf.add(wanted, archive, versions)
        image = current(shelf, wanted)
        if image is None:
            raise Unavailable("the engine did not keep the image")
        return image.id


def engine(settings: SandboxSettings) -> str:
    """The engine and its version, such as `Docker 26.1`. Raises `Unavailable`, naming what mends it."""
    with backends.engine(settings).shelf(settings) as shelf:
        return shelf.engine()


def list_images(settings: SandboxSettings) -> list[Image]:
    """Our images in the engine, newest first."""
    with backends.engine(settings).shelf(settings) as shelf:
        return shelf.found()


def prune(settings: SandboxSettings, images_dir: Path) -> list[Image]:
    """Remove our images that no folder stands for any more and no container uses; those that were removed."""
    wanted = {profile.digest for profile in profiles.load(images_dir).values()}
    with backends.engine(settings).shelf(settings) as shelf:
        return [image for image in shelf.found() if image.digest not in wanted and shelf.remove(image)]


def current(shelf: Shelf, profile: Profile) -> Image | None:
    """The image built from the profile's folder as it is now, or None."""
    return next((i for i in shelf.found() if (i.profile, i.digest) == (profile.name, profile.digest)), None)


def _profile(images_dir: Path, name: str) -> Profile:
    known = profiles.load(images_dir)
    if name not in known:
        raise Invalid(f"there is no profile {name}; there are {', '.join(known) or 'none'}")
    return known[name]
