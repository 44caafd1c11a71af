"""Where images come from, which engine is taken, what the filter says: the pure parts."""

import json
from pathlib import Path

import pytest

from orchestrator.contracts.errors import StartRefused
from orchestrator.contracts.executions import Limits
from orchestrator.sandbox import apt, profiles, seccomp
from orchestrator.sandbox.engines import candidates
from orchestrator.sandbox.preflight import walled
from orchestrator.sandbox.rootfs import package_versions

IMAGES = Path(__file__).parents[2] / "sandbox_images"


def etc(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "os-release").write_text('NAME="x"\nVERSION_CODENAME=bookworm\n')
    for name, text in files.items():
        (
            tmp_path
            / "apt"
            / {"list": "sources.list", "debian": "sources.list.d/debian.sources", "other": "sources.list.d/other.list"}[
                name
            ]
        ).write_text(text)
    return tmp_path


def test_only_the_distributions_own_entries_are_taken(tmp_path):
    """CONTRACT 0: built from the distribution's packages; lists of third parties are left out."""
    found = apt.sources(etc(
        tmp_path,
        list="# deb http://old.example/debian bookworm main\ndeb [arch=amd64] http://a.example/debian bookworm main contrib # here\n"
        "deb-src http://a.example/debian bookworm main\ndeb http://third.example/x stable main\ndeb http://b.example/s bookworm-security main\n",
        debian="Types: deb deb-src\nURIs: http://c.example/debian\n# a remark\nSuites: bookworm bookworm-updates other\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/k.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://d.example\nSuites: bookworm\nComponents: main\n",
        other="deb http://evil.example/debian bookworm main\n",
    ))  # fmt: skip
    assert found == [
        "deb [arch=amd64] http://a.example/debian bookworm main contrib",
        "deb http://b.example/s bookworm-security main",
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://c.example/debian bookworm main",
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://c.example/debian bookworm-updates main",
    ]


def test_a_machine_without_sources_is_told(tmp_path):
    with pytest.raises(StartRefused, match="no entry of the distribution for bookworm"):
        apt.sources(etc(tmp_path, other="deb http://evil.example/debian bookworm main\n"))
    with pytest.raises(StartRefused, match="names no release"):
        apt.codename(tmp_path / "nowhere")


def test_versions_are_read_from_archive_names():
    names = ["zlib1g_1%3a1.2.13.dfsg-1_amd64.deb", "lock", "partial", "python3_3.11.2-1+b1_amd64.deb"]
    assert package_versions(names) == {"python3": "3.11.2-1+b1", "zlib1g": "1:1.2.13.dfsg-1"}


HOME = Path("/home/u")


@pytest.mark.parametrize(
    ("setting", "env", "context", "expected"),
    [
        ("unix:///s", {"DOCKER_HOST": "unix:///e"}, "unix:///c", ["unix:///s"]),
        (None, {"DOCKER_HOST": "unix:///e"}, "unix:///c", ["unix:///e"]),
        (None, {}, "unix:///c", ["unix:///c"]),
        (None, {"XDG_RUNTIME_DIR": "/x"}, None, ["unix:///x/docker.sock", "unix:///home/u/.docker/run/docker.sock", "unix:///run/docker.sock", "unix:///var/run/docker.sock"]),
        (None, {}, None, ["unix:///run/user/7/docker.sock", "unix:///home/u/.docker/run/docker.sock", "unix:///run/docker.sock", "unix:///var/run/docker.sock"]),
    ],
)  # fmt: skip
def test_the_engine_is_looked_for_in_order(setting, env, context, expected):
    """CONTRACT 0: DOCKER_HOST, the Docker context, rootless, the system socket."""
    assert [place.url for place in candidates(setting, env, HOME, 7, context)] == expected


def test_the_filter_allows_only_what_a_reason_stands_for():
    """CONTRACT 4 "Always": an allow-list; the calls of the contract are not in it."""
    filter_ = json.loads(seccomp.profile())
    assert (filter_["defaultAction"], filter_["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    allowed = [name for rule in filter_["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]
    assert not set(allowed) & {
        "ptrace", "bpf", "keyctl", "add_key", "mount", "unshare", "setns", "io_uring_setup", "perf_event_open", "userfaultfd",
        "process_vm_readv", "kexec_load", "clone3", "pivot_root", "init_module", "open_by_handle_at", "chroot", "reboot",
    }  # fmt: skip
    sockets = [
        [a["valueTwo"] or a["value"] for a in r["args"]] for r in filter_["syscalls"] if r["names"] == ["socket"]
    ]
    assert sorted(sockets) == sorted([[f, t, p] for f in (2, 10) for t, p in ((1, 0), (1, 6), (2, 0), (2, 17))])
    without_condition = [name for rule in filter_["syscalls"] if not rule["args"] for name in rule["names"]]
    assert len(without_condition) == len(set(without_condition))
    assert not set(without_condition) & {"clone", "socket", "socketpair", "personality"}


def test_every_profile_has_a_manifest_that_holds_together():
    for profile in profiles.load(IMAGES).values():
        limits = profile.manifest.limits
        assert all(limits.default.model_dump()[name] <= most for name, most in limits.maximum.model_dump().items())
        assert len(profile.digest) == 64


def test_a_digest_changes_with_the_manifest_and_with_the_runner(tmp_path):
    """CONTRACT 0: rebuilt only when something of it changed."""
    for name in ("default", "runner"):
        (tmp_path / name).mkdir()
    manifest = (IMAGES / "default" / "manifest.toml").read_text()
    (tmp_path / "default" / "manifest.toml").write_text(manifest)
    seen = [profiles.load(tmp_path)["default"].digest]
    (tmp_path / "runner" / "main.py").write_text("1")
    (tmp_path / "runner" / "__pycache__").mkdir()
    seen.append(profiles.load(tmp_path)["default"].digest)
    (tmp_path / "runner" / "__pycache__" / "main.pyc").write_text("x")
    assert profiles.load(tmp_path)["default"].digest == seen[1]
    (tmp_path / "default" / "manifest.toml").write_text(manifest + "\n")
    seen.append(profiles.load(tmp_path)["default"].digest)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("text", ["", "language = 1", "language = [", "packages = ['--x']"])
def test_a_wrong_manifest_is_named(tmp_path, text):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.toml").write_text(text)
    with pytest.raises(StartRefused, match=r"bad/manifest\.toml"):
        profiles.load(tmp_path)


HELD = {
    "ids": ["200000"] * 8, "groups": [], "capabilities": ["0000"] * 4, "no_new_privs": True, "seccomp": "2",
    "interfaces": ["lo"], "writable": [], "pids": 10, "open_files": 20, "inodes": 30, "disk_bytes": 2**20, "shm_bytes": 2**24, "stdout_bytes": 2**20,
}  # fmt: skip
LOOSE = {
    "unprivileged ids": {"ids": ["0"] * 8}, "empty capability sets": {"capabilities": ["0", "0", "e0", "0"]},
    "no_new_privs": {"no_new_privs": False}, "the system call filter": {"seccomp": "0"},
    "the absence of a network": {"interfaces": ["lo", "eth0"]}, "the read-only root": {"writable": ["/etc"]},
    "pids": {"pids": 2_000}, "open_files": {"open_files": 2_000}, "inodes": {"inodes": 2_000}, "disk_bytes": {"disk_bytes": 2**21},
    "the size of /dev/shm": {"shm_bytes": 2**25}, "stdout_bytes": {"stdout_bytes": 5_000},
}  # fmt: skip


@pytest.mark.parametrize("wall", LOOSE)
def test_a_wall_that_does_not_hold_is_named(wall):
    """DESIGN 4: preflight; the daemon refuses rather than run degraded."""
    limits = Limits(pids=12, open_files=24, inodes=40, disk_bytes=2**20, stdout_bytes=2**20)
    assert all(walled(HELD, limits, 2**24).values())
    assert [name for name, held in walled(HELD | LOOSE[wall], limits, 2**24).items() if not held] == [wall]
