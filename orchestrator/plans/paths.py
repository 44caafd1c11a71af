"""Paths into what steps left: `step_1.output.items[0].b-c`. Templates and conditions share them (REQUIREMENTS 4).

A path goes through members of objects and places of lists, never through attributes of anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.plans.faults import PathError

OPEN, CLOSE = "{{", "}}"
MAX_PARTS = 16
"""The step's name included."""
MAX_LENGTH = 2000

Scope = Mapping[str, Any]
"""What names stand for: `{"step_1": {"output": …}}`."""

_HEAD = re.compile(r"[\w-]+")
_PART = re.compile(r"\.(?P<key>[\w-]+)|\[(?P<place>0|[1-9][0-9]{0,8})\]")


@dataclass(frozen=True, slots=True)
class Path:
    """A step, and the way from there: text is an object's member, a number a list's place."""

    step: str
    parts: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.step + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.parts)


def parse(text: str) -> Path:
    """Read what stands between the braces; blanks around it do not count. Raises `PathError`."""
    if len(text) > MAX_LENGTH:
        raise PathError(f"a path has at most {MAX_LENGTH:,} characters")
    at, end = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    head = _HEAD.match(text, at, end)
    if head is None:
        raise PathError("a path begins with the name of a step", at)
    parts: list[str | int] = []
    at = head.end()
    while at < end:
        part = _PART.match(text, at, end)
        if part is None:
            raise PathError("a path goes on with .key or [number]", at)
        if len(parts) + 2 > MAX_PARTS:
            raise PathError(f"a path has at most {MAX_PARTS} parts", at)
        parts.append(part["key"] if part["key"] is not None else int(part["place"]))
        at = part.end()
    return Path(head[0], tuple(parts))


def lookup(path: Path, scope: Scope) -> Any:
    """The value at the path. Raises `PathError` where it leads nowhere: what is missing is never null."""
    if path.step not in scope:
        raise PathError(f"there is nothing of step {path.step!r}")
    value: Any = scope[path.step]
    for count, part in enumerate(path.parts):
        if isinstance(part, int):
            found = type(value) is list and part < len(value)
        else:
            found = type(value) is dict and part in value
        if not found:
            way = Path(path.step, path.parts[:count])
            kind = f"item {part}" if isinstance(part, int) else f"member {part!r}"
            raise PathError(f"{way} has no {kind}")
        value = value[part]
    return value
