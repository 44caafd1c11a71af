"""What gVisor is told and what is read of it, and what is refused for want of a limit or of a kernel (CONTRACT 4)."""

import json
import shutil
from types import SimpleNamespace

import pytest

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox import seccomp
from orchestrator.sandbox.backends import docker_config, gvisor
from orchestrator.sandbox.backends.port import Facts
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.preflight import require_accepted, require_kernel
from orchestrator.sandbox.settings import SandboxSettings

MIB = 2**20
KIND = WorkerClass("sha256:x", "default", 128 * MIB, 64, 32 * MIB, 1_024)
GVISOR = Facts("docker", "runsc", "key", {}, limits_unenforced=gvisor.UNENFORCED, kernel="separate")
LINUX = Facts("docker", "runc", "key", {})


def test_a_limit_that_is_lacking_is_accepted_only_by_its_name():
    require_accepted(LINUX, [])
    require_accepted(GVISOR, ["memory_bytes", "inodes", "pids"])
    with pytest.raises(Unavailable) as caught:
        require_accepted(GVISOR, ["inodes"])
    assert "cannot enforce memory_bytes exactly" in caught.value.detail
    assert 'sandbox.accept_unenforced = ["inodes", "memory_bytes"]' in caught.value.detail
    assert (caught.value.status, caught.value.code) == (503, "sandbox_unavailable")


def test_a_profile_that_demands_a_kernel_of_its_own_does_not_run_on_the_hosts():
    def profile(kernel: str) -> SimpleNamespace:
        return SimpleNamespace(name="strangers", manifest=SimpleNamespace(kernel=kernel))

    for demand, facts in (("shared", LINUX), ("shared", GVISOR), ("separate", GVISOR)):
        require_kernel(profile(demand), "shared", facts)
    with pytest.raises(Unavailable, match=r'strangers demands a kernel of its own.*sandbox\.runtime = "runsc"'):
        require_kernel(profile("separate"), "shared", LINUX)
    require_kernel(profile("shared"), "separate", GVISOR)
    with pytest.raises(Unavailable, match=r"this key demands a kernel of its own"):
        require_kernel(profile("shared"), "separate", LINUX)


def test_a_container_of_gvisor_has_room_for_its_kernel():
    linux, other = (
        docker_config.container(SandboxSettings(runtime=runtime), KIND, {}, range(1, 3))["HostConfig"]
        for runtime in ("runc", "runsc")
    )
    assert (linux["Memory"], linux["PidsLimit"], linux["Runtime"]) == (128 * MIB, 64, "runc")
    assert other["Memory"] == other["MemorySwap"] == 128 * MIB + gvisor.SENTRY_BYTES
    assert other["PidsLimit"] > 64 * 5 + 38
    assert other["Runtime"] == "runsc"
    same = {"CapDrop", "CapAdd", "NetworkMode", "ReadonlyRootfs", "NanoCpus", "IpcMode", "LogConfig", "Ulimits"}
    assert {name: other[name] for name in same} == {name: linux[name] for name in same}
    assert linux["Tmpfs"].items() < other["Tmpfs"].items()


def test_gvisor_is_told_enosys_in_the_only_way_it_knows():
    """Told EPERM, libc would not try the older call, and no thread would start."""
    rules = {name: rule for rule in json.loads(seccomp.profile("runsc"))["syscalls"] for name in rule["names"]}
    assert rules["clone3"] == {"names": ["clone3"], "action": "SCMP_ACT_TRACE", "args": []}
    assert {rule["action"] for name, rule in rules.items() if name != "clone3"} == {"SCMP_ACT_ALLOW"}
    with pytest.raises(AssertionError):
        seccomp.compiled({"architectures": [], "allow": [], "refuse": [{"names": "x", "errno": 22}]}, errno=False)


OOM = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
FIRST = {
    "cpuacct/cpuacct.usage": "5000000\n",
    "memory/memory.max_usage_in_bytes": "70\n",
    "memory/memory.oom_control": OOM,
}
TOGETHER = {
    "cpu,cpuacct/cpuacct.usage": "5000000\n",
    **{name: text for name, text in FIRST.items() if "cpu" not in name},
}
OLDER = {"cpu.stat": "usage_usec 5000\nuser_usec 1\n", "memory.current": "70\n", "memory.events": "oom 3\noom_kill 2\n"}
SECOND = {**OLDER, "memory.peak": "70\n", "memory.current": "60\n"}


@pytest.mark.parametrize("place", ["docker/abc", "system.slice/docker-abc.scope"])
@pytest.mark.parametrize("files", [FIRST, TOGETHER, SECOND, OLDER])
def test_the_hosts_counts_are_read_from_either_version_and_either_driver(tmp_path, place, files):
    (tmp_path / "unrelated").write_text("")
    for name, text in files.items():
        file = tmp_path / (f"{place}/{name}" if "/" not in name else name.replace("/", f"/{place}/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if files in (SECOND, OLDER):
        (tmp_path / "cgroup.controllers").write_text("cpu memory")
    with pytest.raises(Unavailable, match="register runsc without --ignore-cgroups"):
        gvisor.Group("another", tmp_path)
    group = gvisor.Group("abc", tmp_path)
    assert group.counts() == gvisor.Counts(cpu_ns=5_000_000, peak_bytes=70, oom_kills=2)
    shutil.rmtree(tmp_path)
    assert group.counts() is None
