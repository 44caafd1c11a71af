"""What is added to a machine and how it is found again: control groups, sources, ledger, unit, the engine's command."""

import fcntl
import json
from pathlib import Path

import pytest

from orchestrator.bootstrap import cgroups, sources, uninstalling, units
from orchestrator.bootstrap.cgroups import Mount
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.dockerd import OwnEngine
from orchestrator.bootstrap.ledger import Added, Ledger, only_one
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.packages import Packages
from orchestrator.bootstrap.settings import Settings
from orchestrator.bootstrap.sources import Release

_HEAD = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
_FREE = _HEAD + "cpu\t0\t9\t1\nmemory\t0\t9\t1\n"
_BOUND = _HEAD + "cpu\t1\t9\t1\ncpuacct\t1\t9\t1\nmemory\t4\t1\t1\nhugetlb\t0\t1\t1\n"
_SYS = "sysfs /sys sysfs rw 0 0\n"
TOP = cgroups.TOP


@pytest.mark.parametrize(
    ("controllers", "mounts", "expected"),
    [
        (_FREE, _SYS, [Mount("cgroup2", TOP)]),
        (_FREE, "", [Mount("sysfs", Path("/sys")), Mount("cgroup2", TOP)]),
        (_FREE, _SYS + "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", []),
        (_BOUND, _SYS + "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n", []),
        (_BOUND, _SYS, [Mount("tmpfs", TOP, "mode=755"), Mount("cgroup", TOP / "cpu,cpuacct", "cpu,cpuacct"),
                        Mount("cgroup", TOP / "memory", "memory")]),
        (_FREE, _SYS + "cgroup2 /elsewhere cgroup2 rw 0 0\n", [Mount("cgroup2", TOP)]),
    ],
)  # fmt: skip
def test_control_groups_are_mounted_in_the_version_that_the_kernel_uses(
    controllers: str, mounts: str, expected: list[Mount]
) -> None:
    assert cgroups.plan(controllers, mounts) == expected


def test_in_a_container_processes_make_room_for_controllers(tmp_path: Path) -> None:
    for name, text in {"type": "domain", "subtree_control": "", "controllers": "cpu memory", "procs": "1\n7\n"}.items():
        (tmp_path / f"cgroup.{name}").write_text(text)
    cgroups.make_room(tmp_path)
    assert (tmp_path / "init" / "cgroup.procs").read_text() == "7"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
    (tmp_path / "cgroup.procs").write_text("9\n")
    cgroups.make_room(tmp_path)  # a second time there is nothing to do
    assert (tmp_path / "init" / "cgroup.procs").read_text() == "7"


def test_the_machines_own_root_group_is_left_alone(tmp_path: Path) -> None:
    cgroups.make_room(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_has_no_bridge_and_no_firewall_rules(tmp_path: Path) -> None:
    """DESIGN 4: no job has a network, so the engine needs none."""
    argv = OwnEngine(config=tmp_path / "none.json").command(Path("/usr/sbin/dockerd"))
    assert {"--bridge=none", "--iptables=false", "--host=unix:///var/run/docker.sock"} <= set(argv)


def test_what_the_machines_own_configuration_says_is_not_said_twice(tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"hosts": ["fd://"], "iptables": True}))
    argv = OwnEngine(config=config).command(Path("dockerd"))
    assert not [word for word in argv if word.startswith(("--host", "--iptables"))]
    config.write_text("{")
    with pytest.raises(Problem, match="not a JSON object"):
        OwnEngine(config=config).command(Path("dockerd"))


def test_gvisor_is_registered_beside_what_the_machines_own_configuration_says(tmp_path: Path) -> None:
    """CONTRACT 4: a kernel of its own by one setting, on the engine that `make` starts, without a change to its file."""
    (config := tmp_path / "daemon.json").write_text(json.dumps({"debug": True, "runtimes": {"mine": {"path": "/x"}}}))
    engine = OwnEngine(config=config, record=tmp_path / "engine.json", runsc=tmp_path / "runsc")
    assert engine.with_runsc() is None
    (tmp_path / "runsc").write_text("")
    extended = engine.with_runsc()
    assert extended is not None
    written = json.loads(extended.read_text())
    assert (written["debug"], list(written["runtimes"])) == (True, ["mine", "runsc"])
    assert written["runtimes"]["runsc"]["path"] == str(tmp_path / "runsc")
    assert "--ignore-cgroups" not in written["runtimes"]["runsc"]["runtimeArgs"]
    assert f"--config-file={extended}" in engine.command(Path("dockerd"), extended)
    config.write_text(json.dumps({"runtimes": {"runsc": {"path": "/theirs"}}}))
    assert engine.with_runsc() is None


def test_only_the_distributions_own_sources_go_into_a_fresh_root(tmp_path: Path) -> None:
    apt = tmp_path / "etc/apt/sources.list.d"
    apt.mkdir(parents=True)
    stanza = "Types: deb\nURIs: http://mirror/debian\nSuites: {}\nComponents: {}\n"
    own = [stanza.format("bookworm bookworm-updates", "main"), stanza.format("bookworm-security", "main contrib")]
    alien = [
        stanza.format("nodistro", "main"),
        stanza.format("bookworm", "stable"),
        stanza.format("bookworm", "main") + "Enabled: no\n",
        "Types: deb-src\nSuites: bookworm\nComponents: main",
    ]
    (apt / "a.sources").write_text("\n".join(["# a word before\n", *own, *alien]))
    found = sources.apt_sources(tmp_path, Release("debian", "bookworm"))
    (text,) = found.values()
    assert set(found) == {"sources.list.d/debian.sources"}
    assert text.count("Types: deb") == 2
    assert "bookworm-security" in text
    assert "stable" not in text


def test_sources_in_one_line_form_are_understood(tmp_path: Path) -> None:
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text(
        "deb [signed-by=/k.gpg arch=amd64] http://mirror/ubuntu noble main universe\n"
        "# deb http://mirror/ubuntu noble-proposed main\n"
        "deb https://elsewhere/apt cloud-noble main\n\ndeb-src http://mirror/ubuntu noble main\n"
    )
    found = sources.apt_sources(tmp_path, Release("ubuntu", "noble"))
    assert found["sources.list"].strip() == "deb [signed-by=/k.gpg arch=amd64] http://mirror/ubuntu noble main universe"


def test_a_fresh_root_gets_proxies_and_certificates_but_no_local_folder_and_no_secret() -> None:
    given = {"PIP_FIND_LINKS": "/opt/wheels", "PIP_INDEX_URL": "https://index/simple", "PIP_CERT": "/etc/ssl/certs/x",
             "https_proxy": "http://proxy", "SECRET_TOKEN": "x", "SSL_CERT_FILE": "/etc/ssl/certs/x"}  # fmt: skip
    assert set(sources.environment(given)) == {"PIP_INDEX_URL", "PIP_CERT", "https_proxy", "SSL_CERT_FILE"}


def test_the_release_is_read_from_the_machine() -> None:
    assert Release.of('ID=debian\nVERSION_CODENAME="bookworm"\n') == Release("debian", "bookworm")
    assert Release.of("ID=arch\n") == Release("arch", "")


def test_the_ledger_answers_what_was_written_and_never_guesses(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / ".make")
    assert ledger.read() == Added()
    ledger.write(Added(packages=["docker.io"], group_member="me"))
    assert ledger.read() == Added(packages=["docker.io"], group_member="me")
    for broken in ("{", "[]", '{"packags": []}'):
        (tmp_path / ".make/added.json").write_text(broken)
        with pytest.raises(Problem, match=r"added\.json"):
            ledger.read()


def test_one_make_sets_up_at_a_time(tmp_path: Path) -> None:
    kept = tmp_path / ".make"
    with only_one(kept, Console()), (kept / "lock").open("w") as second, pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (kept / "lock").open("w") as later:
        fcntl.flock(later, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_uninstall_says_what_was_added_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    images = {"ids": ["sha256:0", "sha256:1"], "added": ["sha256:1"]}
    added = Added(packages=["docker.io", "runc"], folders=["/nowhere"], images=images, unpacked=str(tmp_path))
    said = dict(uninstalling.told(settings, added))
    assert said["packages"] == "docker.io, runc"
    assert said["image"] == "sha256:1"
    assert said["folder"] == str(tmp_path)
    assert "group" not in said


def test_a_user_without_sudo_is_told_to_become_root(tmp_path: Path) -> None:
    machine = Machine(environ={"PATH": "/usr/bin"}, root=tmp_path, uid=1000)
    with pytest.raises(Problem, match="needs root"):
        machine.as_root(["apt-get", "install", "x"], interactive=False)
    sudo = tmp_path / "usr/bin/sudo"
    sudo.parent.mkdir(parents=True)
    sudo.touch(mode=0o755)
    assert machine.as_root(["x"], interactive=False) == ["sudo", "-n", "x"]
    assert machine.as_root(["x"], interactive=True) == ["sudo", "x"]
    assert machine.as_root(["x"], interactive=True, keep=["A", "B"]) == ["sudo", "--preserve-env=A,B", "x"]


def test_a_unit_for_a_checkout_in_a_home_can_read_it_and_no_mark_is_left() -> None:
    template = (Path(__file__).parents[2] / "systemd/orchestrator.service").read_text()
    at_home = units.render(template, Path("/home/me/o"), Path("/home/me/o/.venv/bin/orchestrator"))
    assert "ProtectHome=read-only" in at_home
    assert "@ROOT@" not in at_home
    assert "@PROGRAM@" not in at_home
    assert "ProtectHome=yes" in units.render(template, Path("/opt/o"), Path("/opt/o/.venv/bin/orchestrator"))


@pytest.mark.parametrize("path", ["/opt/a b", "/opt/%n", '/opt/"x', "/opt/$HOME", "/opt/a\nExecStart=/bin/sh"])
def test_a_path_that_means_something_in_a_unit_is_refused(path: str) -> None:
    with pytest.raises(Problem, match="cannot name"):
        units.render("ExecStart=@PROGRAM@", Path(path), Path(path) / "x")


def test_programs_of_a_database_server_are_found_where_the_distribution_keeps_them(tmp_path: Path) -> None:
    for version in ("9.6", "15", "16"):
        program = tmp_path / "usr/lib/postgresql" / version / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    machine = Machine({"PATH": "/usr/bin"}, tmp_path)
    assert machine.which("postgres") == tmp_path / "usr/lib/postgresql/16/bin/postgres"
    assert machine.which("initdb") is None


def test_a_database_server_is_installed_without_setting_one_up(tmp_path: Path) -> None:
    """CONTRACT 0: what `make test` brings for its own use leaves no server running on the machine."""
    settings, machine = Settings(tmp_path), Machine(root=tmp_path, uid=0)
    packages = Packages(settings, machine, Console())
    file = tmp_path / "etc/postgresql-common/createcluster.conf"
    packages.prepare_for("curl")
    assert not file.exists()
    packages.prepare_for("postgresql")
    assert file.read_text() == "create_main_cluster = false\n"
    file.write_text("a person's own\n")
    packages.prepare_for("postgresql")
    assert file.read_text() == "a person's own\n"
