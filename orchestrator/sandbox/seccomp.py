"""The system call filter: the readable list of `seccomp.toml` as the engine wants to read it."""

import json
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

_EPERM = 1


@cache
def profile() -> str:
    """The filter as the engine's JSON."""
    return json.dumps(compiled(tomllib.loads(files("orchestrator.sandbox").joinpath("seccomp.toml").read_text())))


def compiled(source: dict[str, Any]) -> dict[str, Any]:
    """Translate the list: everything is refused with EPERM but what a rule allows."""
    allowed = [_rule("SCMP_ACT_ALLOW", entry) for entry in source["allow"]]
    refused = [{**_rule("SCMP_ACT_ERRNO", entry), "errnoRet": entry["errno"]} for entry in source["refuse"]]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": source["architectures"],
        "syscalls": allowed + refused,
    }


def _rule(action: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"names": entry["names"].split(), "action": action, "args": [_condition(c) for c in entry.get("when", [])]}


def _condition(when: dict[str, int]) -> dict[str, Any]:
    """One test of an argument: equal to a number, or equal in the bits of a mask."""
    if "mask" in when:
        op, value, second = "SCMP_CMP_MASKED_EQ", when["mask"], when["equals"]
    else:
        op, value, second = "SCMP_CMP_EQ", when["equals"], 0
    return {"index": when["index"], "op": op, "value": value, "valueTwo": second}
