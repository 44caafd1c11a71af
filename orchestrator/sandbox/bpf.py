"""The system call filter as the kernel itself reads it: a BPF program, for engines that take no JSON.

libseccomp knows every architecture's numbers and compiles; what is allowed stands in `seccomp.toml` alone.
"""

import errno
import os
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import pyseccomp  # type: ignore[import-untyped]

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox import seccomp

_OPERATORS = {"SCMP_CMP_EQ": pyseccomp.EQ, "SCMP_CMP_MASKED_EQ": pyseccomp.MASKED_EQ}
_INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, operand
_LOAD, _IF_EQUAL, _IF_GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4  # within the kernel's `struct seccomp_data`
_ORDINARY = 0x3FFF_FFFF
"""The highest number that a system call can have; above are other ways of calling the same."""


@cache
def program() -> bytes:
    """The filter for this machine's own architecture. Raises `Unavailable` where libseccomp cannot make it."""
    rules = seccomp.rules()
    numbers = {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in _names(rules)}
    known = {name: number for name, number in numbers.items() if number >= 0}  # others are not on this architecture
    try:
        compiled = pyseccomp.SyscallFilter(pyseccomp.ERRNO(rules["defaultErrnoRet"]))
        for rule in rules["syscalls"]:
            _add(compiled, rule, known)
        return _newer_than(max(known.values())) + _exported(compiled)
    except OSError as fault:
        raise Unavailable(f"libseccomp cannot compile the system call filter: {fault}") from fault


def _names(rules: dict[str, Any]) -> Iterator[str]:
    for rule in rules["syscalls"]:
        yield from rule["names"]


def _add(compiled: Any, rule: dict[str, Any], known: dict[str, int]) -> None:
    action = pyseccomp.ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else pyseccomp.ERRNO(rule["errnoRet"])
    args = [pyseccomp.Arg(a["index"], _OPERATORS[a["op"]], a["value"], a["valueTwo"]) for a in rule["args"]]
    for name in rule["names"]:
        if name in known:
            compiled.add_rule_exactly(action, known[name], *args)


def _newer_than(newest: int) -> bytes:
    """Calls that are newer than the list answer ENOSYS, as `runc` has it: then libc takes an older one."""
    return b"".join(
        _INSTRUCTION.pack(*instruction)
        for instruction in (
            (_LOAD, 0, 0, _AT_ARCHITECTURE),
            (_IF_EQUAL, 0, 4, pyseccomp.system_arch()),
            (_LOAD, 0, 0, _AT_NUMBER),
            (_IF_GREATER, 2, 0, _ORDINARY),  # such as x32's, which are judged below
            (_IF_GREATER, 0, 1, newest),
            (_RETURN, 0, 0, pyseccomp.ERRNO(errno.ENOSYS)),
        )
    )


def _exported(compiled: Any) -> bytes:
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        compiled.export_bpf(file)
        file.seek(0)
        return file.read()
