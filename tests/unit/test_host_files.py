"""Which files are plugins, whose they may be, and what is read of them (CONTRACT 3, R2-11, ABUSE "Plugins")."""

import os
import pwd
import stat
import sys
from pathlib import Path

import pytest

from orchestrator.host import discovery, reading
from orchestrator.host.importing import Shelf, import_version
from orchestrator.host.ownership import Owners, Refused
from orchestrator.host.settings import HostSettings
from orchestrator.host.sources import Source

SETTINGS = HostSettings(max_file_bytes=2048, max_package_bytes=4096, max_package_files=10)
OWNERS = Owners(frozenset({0, os.geteuid()}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir(mode=0o755)
    return made


def only(folder: Path) -> Source:
    (source,) = discovery.in_folders([folder])
    return source


def read(folder: Path):
    return reading.read(only(folder), SETTINGS, OWNERS)


def facts(mode: int, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


def test_files_and_packages_are_found_and_the_rest_is_not(folder):
    for name in ("b.py", "a.py", "_hidden.py", ".dot.py", "a.py~", "notes.txt", "x.py.swp"):
        (folder / name).write_text("")
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "data").mkdir()
    (folder / "dir.py").mkdir()
    found = discovery.in_folders([folder, folder / "absent"])
    assert [(s.name, s.origin) for s in found] == [
        ("a", "folder:a.py"), ("b", "folder:b.py"), ("pack", "folder:pack/"),
    ]  # fmt: skip


def test_a_file_name_that_no_log_could_carry_is_made_printable(folder):
    (Path(os.fsdecode(os.fsencode(folder) + b"/a\xff\x1b.py"))).write_text("")
    source = only(folder)
    assert source.name.isprintable()
    source.name.encode()


def test_the_digest_covers_names_and_contents_of_all_files(folder):
    package = folder / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.json").write_text("1")
    before = read(folder).digest
    (package / "data.json").write_text("2")
    changed = read(folder).digest
    (package / "data.json").rename(package / "other.json")
    assert len({before, changed, read(folder).digest}) == 3
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert read(folder).digest == read(folder).digest


@pytest.mark.parametrize(("target", "mends"), [("file", "chmod o-w"), ("folder", "chmod o-w")])
def test_what_everybody_may_write_is_refused_with_the_chmod_that_mends_it(folder, target, mends):
    path = folder / "a.py"
    path.write_text("")
    (path if target == "file" else folder).chmod(0o777)
    with pytest.raises(Refused, match=mends) as refused:
        read(folder)
    command = str(refused.value).rpartition("to mend it: ")[2]
    assert str(folder) not in str(refused.value)
    assert os.system(f"cd {folder.parent} && {command}") == 0
    assert read(folder).files


def test_a_strangers_file_is_refused_with_the_chown_and_roots_is_not():
    with pytest.raises(Refused, match=r"belongs to .*chown"):
        OWNERS.check(facts(stat.S_IFREG | 0o644, uid=54321), Path("a.py"), Path())
    OWNERS.check(facts(stat.S_IFREG | 0o644, uid=0), Path("a.py"), Path())


def test_only_the_owners_own_group_may_write():
    own = pwd.getpwuid(0).pw_gid
    OWNERS.check(facts(stat.S_IFREG | 0o664, uid=0, gid=own), Path("a.py"), Path())
    with pytest.raises(Refused, match="chmod g-w"):
        OWNERS.check(facts(stat.S_IFREG | 0o664, uid=0, gid=own + 1234), Path("a.py"), Path())


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(folder, tmp_path):
    outside = tmp_path / "elsewhere.py"
    outside.write_text("")
    (folder / "a.py").symlink_to(outside)
    with pytest.raises(Refused, match="out of its folder"):
        read(folder)
    (folder / "a.py").unlink()
    (folder / "_real.py").write_text("x = 1")
    (folder / "a.py").symlink_to("_real.py")
    assert read(folder).main == b"x = 1"


def test_a_package_reached_by_a_link_is_refused(folder, tmp_path):
    outside = tmp_path / "pack"
    outside.mkdir()
    (outside / "__init__.py").write_text("")
    (folder / "pack").symlink_to(outside)
    with pytest.raises(Refused, match="out of its folder"):
        read(folder)
    (folder / "pack").unlink()
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "sub").symlink_to(outside)
    with pytest.raises(Refused, match="symbolic link to a folder"):
        read(folder)


def test_pipes_and_giants_are_refused_without_waiting(folder):
    os.mkfifo(folder / "a.py")
    with pytest.raises(Refused, match="not a regular file"):
        read(folder)
    (folder / "a.py").unlink()
    (folder / "a.py").write_bytes(b"#" * 2049)
    with pytest.raises(Refused, match="larger than 2048 bytes"):
        read(folder)
    (folder / "a.py").unlink()
    package = folder / "pack"
    package.mkdir()
    for n in range(11):
        (package / (f"m{n}.py" if n else "__init__.py")).write_text("")
    with pytest.raises(Refused, match="more than 10 files"):
        read(folder)


def test_each_version_has_modules_of_its_own_from_the_bytes_that_were_read(folder):
    package = folder / "pack"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from .inner.deep import value\nfrom . import side\ndef handle(request): return value"
    )
    (package / "side.py").write_text("from .inner import deep")
    (package / "inner" / "deep.py").write_text("value = 1")
    shelf = Shelf()
    shelf.open()
    try:
        first = read(folder)
        (package / "inner" / "deep.py").write_text("value = 2")
        second = read(folder)
        (package / "inner" / "deep.py").write_text("value = 3")
        roots = [shelf.add(first), shelf.add(second)]
        assert [import_version(s, r)[0].value for s, r in zip((first, second), roots, strict=True)] == [1, 2]
        assert shelf.source_line(f"{roots[0]}.inner.deep", 1) == "value = 1"
        assert not list(package.rglob("*.pyc"))
        shelf.drop(roots[0])
        assert not [name for name in sys.modules if name.startswith(roots[0])]
    finally:
        shelf.close()
    assert not [name for name in sys.modules if name.startswith(tuple(roots))]
    assert shelf not in sys.meta_path


def test_a_module_that_the_package_lacks_is_not_looked_for_elsewhere(folder):
    package = folder / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("from . import absent")
    snapshot = read(folder)
    (package / "absent.py").write_text("")
    shelf = Shelf()
    shelf.open()
    try:
        with pytest.raises(ImportError):
            import_version(snapshot, shelf.add(snapshot))
    finally:
        shelf.close()
