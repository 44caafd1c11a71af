"""A root of its own: what runs in there sees nothing else, and all of it is gone afterwards. With real namespaces."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
_RUN = (
    "import sys; from pathlib import Path; from orchestrator.bootstrap import inside\n"
    "import signal; signal.signal(signal.SIGTERM, lambda n, _: sys.exit(128 + n))\n"
    "sys.exit(inside.run(Path(sys.argv[1]), sys.argv[2], {'PATH': '/bin', 'ONLY': 'this'}))\n"
)


@pytest.fixture
def root() -> Iterator[Path]:
    """The smallest root there is: a shell and the libraries it needs."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="r"))
    for folder in ("bin", "proc", "sys", "run", "dev", "tmp", "var/lib"):
        (path / folder).mkdir(parents=True)
    shell = shutil.which("dash") or "/bin/sh"
    shutil.copy(shell, path / "bin/sh")
    for library in re.findall(r"/\S+", subprocess.run(["ldd", shell], capture_output=True, text=True).stdout):
        (path / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, path / library[1:])
    yield path
    shutil.rmtree(path)  # refuses where something is still mounted


def start(root: Path, command: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", _RUN, str(root), command]
    return subprocess.Popen(argv, cwd=CHECKOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def told(root: Path, command: str) -> tuple[int, str]:
    """Exit code and output."""
    with start(root, command) as process:
        out, err = process.communicate(timeout=60)
    assert err == ""
    return process.returncode, out


def refused(root: Path) -> bool:
    """Whether we are not root: then there are no namespaces to be had, and that is said."""
    if os.geteuid() != 0:
        with start(root, "exit 0") as process:
            _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "the fresh root failed: " in err
    return os.geteuid() != 0


def test_the_command_sees_its_own_root_processes_and_names_and_its_exit_code_is_passed_on(root: Path) -> None:
    if refused(root):
        return
    look = "echo $$ $ONLY $HOME; read name < /proc/sys/kernel/hostname; echo $name; echo /* /proc/[0-9]* ; exit 7"
    code, out = told(root, look)
    assert code == 7
    pid, hostname, files = out.splitlines()
    assert pid == "2 this"
    assert hostname == "bare"
    assert "/proc/1 " in files
    assert "/home" not in files


def test_a_signal_is_told_as_a_shell_tells_it(root: Path) -> None:
    if not refused(root):
        assert told(root, "kill -KILL $$")[0] == 137


def test_devices_and_memory_files_work_and_control_groups_are_not_there(root: Path) -> None:
    if not refused(root):
        code, out = told(root, "echo x > /dev/null; echo y > /dev/shm/y; echo /dev/pts/ptmx /sys/fs/cgroup/*")
        assert (code, out) == (0, "/dev/pts/ptmx /sys/fs/cgroup/*\n")


def test_what_is_left_running_is_asked_to_end(root: Path) -> None:
    if refused(root):
        return
    left = "(trap 'echo asked > /tmp/end; exit' TERM; echo > /tmp/ready; while :; do :; done) &"
    code, _ = told(root, f"{left} until [ -e /tmp/ready ]; do :; done; exit 3")
    assert code == 3
    assert (root / "tmp/end").read_text() == "asked\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_all_of_it_ends_when_the_caller_is_told_to_or_is_killed(root: Path, number: signal.Signals) -> None:
    if refused(root):
        return
    fifo = root / "tmp/alive"
    os.mkfifo(fifo)
    with start(root, "exec 3> /tmp/alive; echo on >&3; while :; do read x < /dev/zero; done") as process:
        with fifo.open() as alive:
            assert alive.readline() == "on\n"
            process.send_signal(number)
            assert alive.read() == ""  # the end of the line: nobody in there holds it any more
        process.communicate(timeout=60)
