"""The sandbox images: built from folders, found by label, removed when no longer needed. Works without a daemon."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException

from orchestrator.contracts.errors import Invalid, Unavailable
from orchestrator.kernel.canonical import canonical_json
from orchestrator.sandbox import engines, profiles, rootfs
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.rootfs import Progress
from orchestrator.sandbox.settings import SandboxSettings

LABEL_PROFILE = "orchestrator.profile"
LABEL_DIGEST = "orchestrator.digest"
LABEL_PACKAGES = "orchestrator.packages"
_REPOSITORY = "orchestrator-sandbox"
_BUILD_TIMEOUT_S = 600.0
_ON_DISK = "/var/tmp"  # noqa: S108 - unlike /tmp on many machines; the folder itself is ours alone


@dataclass(frozen=True, slots=True)
class Image:
    """One image in the engine. `digest` is that of the folder it was built from, `packages` names and versions."""

    id: str
    name: str
    profile: str
    digest: str
    packages: str
    size_bytes: int
    created: int

    @property
    def reference(self) -> str:
        """`name@id`, as results say it."""
        return f"{self.name}@{self.id}"

    @property
    def versions(self) -> dict[str, str]:
        """What is in it, versions by name."""
        return dict(pair.split("=", 1) for pair in self.packages.split())


def build(settings: SandboxSettings, images_dir: Path, profile: str, progress: Progress) -> str:
    """Build a profile's image unless the engine has it from the same folder; its id. Blocks for some ten seconds."""
    wanted = _profile(images_dir, profile)
    with _engine(settings) as client:
        if (there := current(client, wanted)) is not None:
            progress(f"the image {there.name} is up to date")
            return there.id
        progress(f"building the image of the profile {profile}")
        with tempfile.TemporaryDirectory(prefix="orchestrator-image-", dir=_ON_DISK) as folder:
            archive, versions = rootfs.make(wanted, Path(folder), progress)
            progress("importing into the engine")
            return _import(client, wanted, archive, versions)


def list_images(settings: SandboxSettings) -> list[Image]:
    """Our images in the engine, newest first."""
    with _engine(settings) as client:
        return found(client)


def prune(settings: SandboxSettings, images_dir: Path) -> list[Image]:
    """Remove our images that no folder stands for any more and no container uses; those that were removed."""
    wanted = {profile.digest for profile in profiles.load(images_dir).values()}
    with _engine(settings) as client:
        return [image for image in found(client) if image.digest not in wanted and _remove(client, image)]


def current(client: docker.APIClient, profile: Profile) -> Image | None:
    """The image built from the profile's folder as it is now, or None."""
    return next((i for i in found(client, f"{LABEL_PROFILE}={profile.name}") if i.digest == profile.digest), None)


def found(client: docker.APIClient, label: str = LABEL_PROFILE) -> list[Image]:
    """Our images, newest first."""
    images = [_image(entry) for entry in client.images(filters={"label": label})]
    return sorted(images, key=lambda image: image.created, reverse=True)


def _import(client: docker.APIClient, profile: Profile, archive: Path, versions: dict[str, str]) -> str:
    labels = {
        LABEL_PROFILE: profile.name,
        LABEL_DIGEST: profile.digest,
        LABEL_PACKAGES: " ".join(f"{name}={version}" for name, version in versions.items()),
    }
    changes = [f"LABEL {name}={canonical_json(value).decode()}" for name, value in labels.items()]
    answer = client.import_image_from_file(
        str(archive), repository=f"{_REPOSITORY}/{profile.name}", tag=profile.digest[:12], changes=changes
    )
    image = current(client, profile)
    if image is None:
        raise Unavailable(f"the engine did not keep the image: {str(answer)[-300:]}")
    return image.id


def _remove(client: docker.APIClient, image: Image) -> bool:
    try:
        client.remove_image(image.id)
    except APIError as fault:
        if fault.status_code == 409:  # a container uses it
            return False
        raise
    return True


def _image(entry: dict[str, Any]) -> Image:
    labels, tags = entry["Labels"], entry.get("RepoTags") or ["untagged"]
    return Image(
        id=entry["Id"],
        name=tags[0].partition(":")[0],
        profile=labels[LABEL_PROFILE],
        digest=labels.get(LABEL_DIGEST, ""),
        packages=labels.get(LABEL_PACKAGES, ""),
        size_bytes=entry["Size"],
        created=entry["Created"],
    )


def _profile(images_dir: Path, name: str) -> Profile:
    known = profiles.load(images_dir)
    if name not in known:
        raise Invalid(f"there is no profile {name}; there are {', '.join(known) or 'none'}")
    return known[name]


@contextmanager
def _engine(settings: SandboxSettings) -> Iterator[docker.APIClient]:
    """The engine, for one piece of work. Whatever of it fails is `Unavailable`."""
    client = engines.connect(engines.find(settings.docker_host), _BUILD_TIMEOUT_S)
    try:
        yield client
    except (DockerException, OSError) as fault:
        raise Unavailable(f"the engine or the disk failed: {fault}") from fault
    finally:
        client.close()
