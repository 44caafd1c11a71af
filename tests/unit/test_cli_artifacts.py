"""Artifacts are written under the folder that a person named and nowhere else, whatever their names say."""

import base64
import hashlib
import os

import pytest

from orchestrator.cli import artifacts

ELSEWHERE = ["../x", "/x", "a/../../x", "a//x", "./x", "", "a/", "..", "x\0y", "a/./x"]


def told(content: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode(), "sha256": hashlib.sha256(content).hexdigest()}


def everything(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("path", ["a.txt", "deep/er/a.txt", "a\nb", "naïve \u202etxt", "-rf", "..."])
def test_a_file_arrives_under_its_name(tmp_path, path):
    artifacts.write(tmp_path / "out", path, b"\x00\xff")
    assert (tmp_path / "out" / path).read_bytes() == b"\x00\xff"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_a_name_that_leads_elsewhere_writes_nothing(tmp_path, path):
    (tmp_path / "out").mkdir()
    faults = artifacts.write_all(tmp_path / "out", {path: told(b"evil")}, overwrite=True)
    assert (len(faults), everything(tmp_path)) == (1, {"out"})


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_that_lies_there_is_not_followed(tmp_path, overwrite):
    """Neither as a folder on the way nor as the file itself."""
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (other / "kept").write_text("mine")
    (out / "folder").symlink_to(other)
    (out / "file").symlink_to(other / "kept")
    assert artifacts.write_all(out, {"folder/x": told(b"evil")}, overwrite=overwrite)
    artifacts.write_all(out, {"file": told(b"new")}, overwrite=overwrite)
    assert (everything(other), (other / "kept").read_text()) == ({"kept"}, "mine")
    assert (out / "file").is_symlink() != overwrite


def test_what_is_there_stays_unless_a_person_says_so(tmp_path):
    (tmp_path / "a").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    faults = artifacts.write_all(tmp_path, {"a": told(b"new"), "pipe": told(b"new")}, overwrite=False)
    assert (len(faults), "--overwrite" in faults[0], (tmp_path / "a").read_text()) == (2, True, "mine")
    assert artifacts.write_all(tmp_path, {"a": told(b"new"), "pipe": told(b"new")}, overwrite=True) == []
    assert [(tmp_path / name).read_bytes() for name in ("a", "pipe")] == [b"new", b"new"]


def test_content_that_is_not_what_was_sent_is_not_written(tmp_path):
    faults = artifacts.write_all(tmp_path, {"a": told(b"x") | {"sha256": "0" * 64}, "b": told(b"y")}, overwrite=False)
    assert (len(faults), everything(tmp_path)) == (1, {"b"})
