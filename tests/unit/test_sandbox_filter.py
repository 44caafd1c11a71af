"""The system call filter as a BPF program: the kernel takes it, and it says what the list says (CONTRACT 4 "Always")."""

import errno
import json
import platform
import signal
import subprocess
import sys

import pyseccomp
import pytest

from orchestrator.sandbox import bpf, seccomp

UNDER_THE_FILTER = """
import ctypes, json, os, sys
program, calls = bytes.fromhex(sys.argv[1]), json.loads(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0) == 0, os.strerror(ctypes.get_errno())
seen = []
for number, arguments in calls:
    words = [ctypes.c_long(word) for word in (number, *arguments, *([0] * (6 - len(arguments))))]
    seen.append(ctypes.get_errno() if libc.syscall(*words) == -1 else 0)
sys.stdout.write(json.dumps(seen))
"""


def under_the_filter(*calls: tuple[int, list[int]]) -> list[int]:
    """What each system call answers, as errno; 0 where it works."""
    argv = [sys.executable, "-I", "-c", UNDER_THE_FILTER, bpf.program().hex(), json.dumps(calls)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def number(name: str) -> int:
    return pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("getpid", [], 0),
        ("socket", [1, 1, 0], 0),
        ("socket", [2, 1, 6], 0),
        ("socket", [10, 2 | 0o4000, 17], 0),
        ("socket", [2, 3, 1], errno.EPERM),
        ("socket", [2, 1, 132], errno.EPERM),
        ("socket", [40, 1, 0], errno.EPERM),
        ("socket", [16, 3, 0], errno.EPERM),
        ("personality", [0xFFFF_FFFF], 0),
        ("personality", [0x4_0000], errno.EPERM),
        ("clone", [0x1000_0011], errno.EPERM),
        ("clone3", [], errno.ENOSYS),
        ("mount", [], errno.EPERM),
        ("io_uring_setup", [8], errno.EPERM),
        ("keyctl", [0, -3], errno.EPERM),
        ("bpf", [], errno.EPERM),
    ],
)
def test_the_kernel_answers_as_the_list_says(name, arguments, answer):
    """R2-17: one list for every backend, arguments looked at."""
    assert under_the_filter((number(name), arguments)) == [answer]


def test_a_call_newer_than_the_list_is_said_not_to_exist():
    """So libc takes an older one, as under runc; EPERM would be believed."""
    assert under_the_filter((500, [])) == [errno.ENOSYS]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only there calls have a second set of numbers")
def test_a_call_by_the_other_numbers_ends_the_process():
    """ABUSE "Kernel": x32 would be a way around the list."""
    with pytest.raises(subprocess.CalledProcessError) as ended:
        under_the_filter((0x4000_0000 + number("getpid"), []))
    assert ended.value.returncode == -signal.SIGSYS


def test_every_name_that_is_allowed_without_conditions_is_in_the_program():
    """Nothing of the list is lost on the way but what this architecture, or this libseccomp, does not know."""
    names = {name for rule in seccomp.rules()["syscalls"] for name in rule["names"]}
    unknown = {name for name in names if number(name) < 0}
    assert len(unknown) < len(names) / 10, unknown
