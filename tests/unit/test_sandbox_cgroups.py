"""Where control groups are found, and what is written into them, in both versions."""

import pytest

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox.backends import cgroups
from orchestrator.sandbox.backends.cgroups import Bounds

BOUNDS = Bounds(memory_bytes=2**27, pids=65, cpus=1.5)


def first_version(tmp_path, options=("memory", "pids", "cpu,cpuacct")):
    for name in options:
        (tmp_path / name).mkdir()
    return "".join(f"cgroup {tmp_path / name} cgroup rw,relatime,{name} 0 0\n" for name in options)


def second_version(tmp_path, controllers="cpuset cpu io memory pids"):
    (tmp_path / "cgroup.controllers").write_text(controllers + "\n")
    return f"cgroup2 {tmp_path} cgroup2 rw,nosuid 0 0\n"


def written(group):
    return {
        file.name: file.read_text() for folder in group.folders.values() for file in folder.iterdir() if file.is_file()
    }


def test_version_one_has_a_folder_by_controller_and_shared_ones_once(tmp_path):
    """DESIGN 4: both cgroup versions are read; nothing assumes v2."""
    groups = cgroups.find("proc /proc proc rw 0 0\n" + first_version(tmp_path))
    assert groups is not None
    groups.prepare()
    group = groups.make("a", BOUNDS)
    assert [str(place.relative_to(tmp_path)) for place in group.places] == [
        "memory/orchestrator/a", "pids/orchestrator/a", "cpu,cpuacct/orchestrator/a"
    ]  # fmt: skip
    assert set(group.folders) == {"memory", "pids", "cpu", "cpuacct"}
    seen = written(group)
    assert seen["memory.limit_in_bytes"] == seen.get("memory.memsw.limit_in_bytes", str(2**27)) == str(2**27)
    assert (seen["pids.max"], seen["cpu.cfs_quota_us"], seen["cpu.cfs_period_us"]) == ("65", "150000", "100000")
    assert groups.all() == [group]


def test_version_two_is_one_folder_with_the_controllers_handed_down(tmp_path):
    groups = cgroups.find(second_version(tmp_path))
    assert groups is not None
    groups.prepare()
    group = groups.make("a", BOUNDS)
    assert group.folders == {"": tmp_path / "orchestrator" / "a"}
    for folder in (tmp_path, tmp_path / "orchestrator"):
        assert (folder / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    seen = written(group)
    assert (seen["memory.max"], seen["pids.max"], seen["cpu.max"]) == (str(2**27), "65", "150000 100000")


@pytest.mark.parametrize(
    "mounts",
    [
        lambda tmp_path: "",
        lambda tmp_path: first_version(tmp_path, ("memory", "cpu", "cpuacct")),
        lambda tmp_path: second_version(tmp_path, "hugetlb"),
        lambda tmp_path: second_version(tmp_path).replace(" rw,", " ro,"),
    ],
    ids=["none", "no pids", "no controllers", "read-only"],
)
def test_without_all_controllers_there_are_no_groups(tmp_path, mounts):
    assert cgroups.find(mounts(tmp_path)) is None


def test_a_group_that_cannot_be_bounded_is_not_left(tmp_path):
    """Fail closed: no group without its bounds."""
    groups = cgroups.find(second_version(tmp_path))
    assert groups is not None
    with pytest.raises(Unavailable, match="no control group can be made"):
        groups.make("a", BOUNDS)  # its home was not prepared
    assert not (tmp_path / "orchestrator").exists()


@pytest.mark.parametrize(("version", "file"), [(1, "memory/memory.oom_control"), (2, "memory.events")])
def test_kills_for_memory_are_read_in_both_versions(tmp_path, version, file):
    """CONTRACT 4: `oom` on the kernel's own count alone."""
    (tmp_path / "memory").mkdir()
    (tmp_path / file).write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    folders = {"memory": tmp_path / "memory"} if version == 1 else {"": tmp_path}
    assert cgroups.Group("a", version, folders).oom_kills() == 3
