"""Images in a Docker engine, told from others by their labels."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.canonical import canonical_json
from orchestrator.sandbox import engines
from orchestrator.sandbox.backends.port import Image
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.settings import SandboxSettings

LABEL_PROFILE = "orchestrator.profile"
LABEL_DIGEST = "orchestrator.digest"
LABEL_PACKAGES = "orchestrator.packages"
_REPOSITORY = "orchestrator-sandbox"
_BUILD_TIMEOUT_S = 600.0


class DockerShelf:
    """Our images in one engine."""

    def __init__(self, client: docker.APIClient) -> None:
        self._client = client

    def engine(self) -> str:
        return f"Docker {self._client.version()['Version']}"

    def found(self) -> list[Image]:
        images = [_image(entry) for entry in self._client.images(filters={"label": LABEL_PROFILE})]
        return sorted(images, key=lambda image: image.created, reverse=True)

    def add(self, profile: Profile, archive: Path, versions: Mapping[str, str]) -> None:
        labels = {
            LABEL_PROFILE: profile.name,
            LABEL_DIGEST: profile.digest,
            LABEL_PACKAGES: " ".join(f"{name}={version}" for name, version in versions.items()),
        }
        changes = [f"LABEL {name}={canonical_json(value).decode()}" for name, value in labels.items()]
        self._client.import_image_from_file(
            str(archive), repository=f"{_REPOSITORY}/{profile.name}", tag=profile.digest[:12], changes=changes
        )

    def remove(self, image: Image) -> bool:
        try:
            self._client.remove_image(image.id)
        except APIError as fault:
            if fault.status_code == 409:  # a container uses it
                return False
            raise
        return True


@contextmanager
def shelf(settings: SandboxSettings) -> Iterator[DockerShelf]:
    """The engine's images, for one piece of work. Whatever of it fails is `Unavailable`."""
    client = engines.connect(engines.find(settings.docker_host), _BUILD_TIMEOUT_S)
    try:
        yield DockerShelf(client)
    except (DockerException, OSError) as fault:
        raise Unavailable(f"the engine or the disk failed: {fault}") from fault
    finally:
        client.close()


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
