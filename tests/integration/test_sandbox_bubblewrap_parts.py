"""What bubblewrap's workers stand on: unpacked images, groups, names and ids."""

import os
import signal
import tarfile
from pathlib import Path

import pytest

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.ids import new_id
from orchestrator.sandbox.backends import bubblewrap_roots, cgroups, names
from orchestrator.sandbox.backends.bubblewrap_roots import Roots
from orchestrator.sandbox.backends.cgroups import Bounds
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import IDS

ROOT = Path(__file__).parents[2]


SETTINGS = SandboxSettings(engine="bubblewrap", armed=0, uid_first=IDS + 1_200)


MIB = 2**20


def test_an_image_that_is_in_use_is_not_pruned_and_one_that_nobody_uses_is(tmp_path):
    """CONTRACT 8 `images prune`: what no folder stands for, and no worker stands on."""
    roots, image = Roots(tmp_path / "roots"), made(tmp_path)
    held = roots.hold(image)
    assert not roots.remove(image)
    os.close(held)
    assert roots.remove(image)
    assert roots.found() == []
    assert sorted(path.name for path in (tmp_path / "roots").iterdir()) == [".lock"]


def test_an_image_comes_into_being_whole_or_not_at_all(tmp_path):
    """What a killed build left is cleared away by the next; a broken archive leaves nothing."""
    roots, image = Roots(tmp_path / "roots"), made(tmp_path)
    assert [found.reference for found in roots.found()] == [image.reference]
    assert (roots.root(image) / "etc/hosts").read_text().startswith("127.0.0.1\tlocalhost\n")
    (tmp_path / "roots/.draft/root").mkdir(parents=True)
    (tmp_path / "broken.tar").write_bytes(b"x" * 1000)
    with pytest.raises(Unavailable, match="cannot be unpacked"):
        roots.add(Folder("other"), tmp_path / "broken.tar", {})
    assert [found.profile for found in roots.found()] == ["default"]
    assert not (tmp_path / "roots/.draft").exists()


def test_a_folder_that_others_can_write_to_is_not_believed(tmp_path):
    """Fail closed: what lies there is run as root behind walls that it could choose."""
    made(tmp_path)
    (tmp_path / "roots").chmod(0o777)
    with (
        pytest.raises(Unavailable, match="others than root can write"),
        bubblewrap_roots.shelf(SETTINGS.model_copy(update={"roots": str(tmp_path / "roots")})) as shelf,
    ):
        shelf.found()


def test_a_group_is_dissolved_with_all_that_live_in_it():
    """Either version, on this machine's own kernel."""
    found = cgroups.find(Path("/proc/mounts").read_text())
    assert found is not None
    found.prepare()
    group = found.make(f"{new_id()}.test", Bounds(64 * MIB, 10, 1.0))
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
    for door in group.doors:
        door.write_text(str(pid))
    assert (group.processes(), group.oom_kills()) == ([pid], 0)
    group.dissolve()
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert group not in found.all()


def test_no_two_workers_share_a_name_or_an_id():
    """DESIGN 4: RLIMIT_NPROC counts a uid over all containers, so ids are a worker's own."""
    given = names.Names(58_000)
    first, second = given.take(), given.take()
    assert first[0] != second[0]
    assert set(first[1]).isdisjoint(second[1])
    given.free(first[0])
    assert (first[0] in given, second[0] in given) == (False, True)
    taken = [uid for _ in range(names.BLOCKS - 1) for uid in given.take()[1]]
    assert set(taken).isdisjoint(second[1])
    assert len(set(taken)) == len(taken)


class Folder:
    """As much of a profile as an image is told."""

    def __init__(self, name: str) -> None:
        self.name, self.digest = name, "d" * 64


def made(tmp_path: Path):
    """A tiny image in a folder of its own."""
    (tmp_path / "root/etc").mkdir(parents=True)
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(tmp_path / "root", arcname=".")
    roots = Roots(tmp_path / "roots")
    roots.add(Folder("default"), tmp_path / "root.tar", {"python3": "3"})
    return roots.found()[0]
