"""The system call filter: the readable list of `seccomp.toml` as the engine wants to read it."""

import json
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any

_EPERM, _ENOSYS = 1, 38


@cache
def profile(runtime: str = "runc") -> str:
    """The filter as the engine's JSON."""
    return json.dumps(rules(errno=runtime != "runsc"))


def rules(*, errno: bool = True) -> dict[str, Any]:
    """The filter as the shipped list has it; `errno` as `compiled` takes it."""
    source = tomllib.loads(files("orchestrator.sandbox").joinpath("seccomp.toml").read_text())
    return compiled(source, errno=errno)


def compiled(source: dict[str, Any], *, errno: bool = True) -> dict[str, Any]:
    """Translate the list: everything is refused with EPERM but what a rule allows.

    A runtime that does not know other numbers (`errno` false) gets ENOSYS by the action for a tracer, of which there is
    none. Where a job may add a filter that asks a supervisor, that would be a way around; gVisor has no such filters.
    """
    allowed = [rule for entry in source["allow"] for rule in _rules("SCMP_ACT_ALLOW", entry)]
    refused = [rule for entry in source["refuse"] for rule in _refused(entry, errno=errno)]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": source["architectures"],
        "syscalls": allowed + refused,
    }


def _refused(entry: dict[str, Any], *, errno: bool) -> Iterator[dict[str, Any]]:
    if errno:
        yield from ({**rule, "errnoRet": entry["errno"]} for rule in _rules("SCMP_ACT_ERRNO", entry))
    else:
        assert entry["errno"] == _ENOSYS, "a tracer's absence is told as ENOSYS and nothing else"
        yield from _rules("SCMP_ACT_TRACE", entry)


def _rules(action: str, entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One rule for each combination of the values that the entry's conditions name; within a rule all must hold."""
    for args in product(*(list(_conditions(when)) for when in entry.get("when", []))):
        yield {"names": entry["names"].split(), "action": action, "args": list(args)}


def _conditions(when: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tests of one argument: equal to one of the numbers, or equal to it in the bits of a mask."""
    numbers = when["equals"] if isinstance(when["equals"], list) else [when["equals"]]
    for number in numbers:
        if "mask" in when:
            yield {"index": when["index"], "op": "SCMP_CMP_MASKED_EQ", "value": when["mask"], "valueTwo": number}
        else:
            yield {"index": when["index"], "op": "SCMP_CMP_EQ", "value": number, "valueTwo": 0}
