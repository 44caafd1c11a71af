"""Images on a real engine: built once a folder, found by label, pruned when no folder stands for them (CONTRACT 0)."""

import shutil

import pytest

from orchestrator.contracts.errors import Invalid, StartRefused, Unavailable
from orchestrator.sandbox import engines, images
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import IMAGES

SETTINGS = SandboxSettings()


@pytest.mark.engine
def test_an_image_is_built_once_and_says_what_is_in_it():
    first = images.build(SETTINGS, IMAGES, "default", lambda _: None)
    lines: list[str] = []
    assert images.build(SETTINGS, IMAGES, "default", lines.append) == first
    assert lines == ["the image orchestrator-sandbox/default is up to date"]
    image = next(image for image in images.list_images(SETTINGS) if image.id == first)
    assert (image.profile, image.name) == ("default", "orchestrator-sandbox/default")
    assert image.reference == f"orchestrator-sandbox/default@{first}"
    assert "python3=" in image.packages
    assert 0 < image.size_bytes < 200 * 2**20


@pytest.mark.engine
def test_what_no_folder_stands_for_is_pruned_and_nothing_else(tmp_path):
    """Only ours, and never the current one."""
    kept = images.build(SETTINGS, IMAGES, "default", lambda _: None)
    client = engines.connect(engines.find(None), 60)
    archive = tmp_path / "empty.tar"
    archive.write_bytes(bytes(10_240))
    try:
        for name, labels in {
            "old": ["LABEL orchestrator.profile=default", "LABEL orchestrator.digest=0"],
            "theirs": [],
        }.items():
            client.import_image_from_file(str(archive), repository=f"prune-{name}", tag="x", changes=labels)
        removed = images.prune(SETTINGS, IMAGES)
        assert "prune-old" in [image.name for image in removed]
        assert kept not in [image.id for image in removed]
        assert client.images(name="prune-theirs:x")
        assert kept in [image.id for image in images.list_images(SETTINGS)]
    finally:
        client.remove_image("prune-theirs:x")
        client.close()


@pytest.mark.engine
def test_an_unknown_profile_and_a_missing_folder_are_told(tmp_path):
    with pytest.raises(Invalid, match="there are default"):
        images.build(SETTINGS, IMAGES, "fortran", lambda _: None)
    with pytest.raises(StartRefused, match="no folder of sandbox images"):
        images.build(SETTINGS, tmp_path / "none", "default", lambda _: None)


def test_without_an_engine_it_says_where_it_looked(tmp_path):
    with pytest.raises(Unavailable, match="no socket at unix:///nowhere"):
        images.list_images(SandboxSettings(docker_host="unix:///nowhere"))
    with pytest.raises(Unavailable, match="unix:// or tcp://"):
        images.list_images(SandboxSettings(docker_host="ssh://host"))


@pytest.mark.engine
def test_a_package_that_is_not_there_fails_with_the_tools_words(tmp_path):
    """A build that fails leaves no image and no folder."""
    shutil.copytree(IMAGES, tmp_path / "images")
    manifest = tmp_path / "images" / "default" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('"tzdata"', '"no-such-package"'))
    before = {image.id for image in images.list_images(SETTINGS)}
    with pytest.raises(Unavailable, match="no-such-package"):
        images.build(SETTINGS, tmp_path / "images", "default", lambda _: None)
    assert {image.id for image in images.list_images(SETTINGS)} == before
