"""What a plugin returns, checked to be exactly JSON and encoded once (CONTRACT 2 and 3).

The check is a walk with a budget, so that a value of 100 MB, one that contains itself, or one that names one list a
million times is refused before anything of that size is built.
"""

import json
import math
from typing import Any

from orchestrator.host.calls import Reply

MAX_DEPTH = 200
LIGHT_NODES = 2000
"""A value with no more nodes than this is checked and encoded in well under a millisecond."""

_LEAST_ITEM = 2  # `0,`
_LEAST_MEMBER = 5  # `"":0,`
_WAY = 100
_STEPS = frozenset(".[…")
_SMALL = frozenset({int, bool, type(None)})

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False)


class NotJson(ValueError):
    """The value is not JSON, or too large; the text says where and why."""

    def of(self, what: str) -> str:
        """The text as a sentence about `what`: `answer.a[0] is of type set, not a JSON value`."""
        text = str(self)
        return f"{what}{text}" if text[:1] in _STEPS else f"{what} {text}"


class Heavy(Exception):
    """The value has more nodes than the caller wants to spend time on here."""


class _Subclass(Exception):
    """A value of a subclass of dict, list, str, int or float is in it."""


def encode(value: Any, max_bytes: int, max_nodes: int | None = None) -> Reply:
    """Check and encode `value`; raises `NotJson`, or `Heavy` if it has more than `max_nodes` nodes."""
    try:
        try:
            _Walk(max_bytes, max_nodes).visit(value, 0)
        except _Subclass:
            value = _plain(value, 0, [max_bytes])
            _Walk(max_bytes, max_nodes).visit(value, 0)
        body = _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        raise NotJson("holds text that is not valid Unicode (a lone surrogate)") from None
    except (NotJson, Heavy):
        raise
    except (TypeError, ValueError, RuntimeError) as fault:
        raise NotJson(f"cannot be encoded: {fault}") from None
    if len(body) > max_bytes:
        raise NotJson(f"is larger than {max_bytes} bytes")
    return Reply(value, body)


class _Walk:
    """One walk over a value. Each node costs its least size as JSON, so the budget never refuses what would fit.

    A container pays for all its members at once, before any is visited, so that the hugest are refused first; a list of
    scalars is checked without visiting each, which is some ten times faster.
    """

    def __init__(self, max_bytes: int, max_nodes: int | None) -> None:
        self._bytes = max_bytes
        self._left = max_bytes
        self._nodes = max_nodes if max_nodes is not None else max_bytes + 1

    def visit(self, value: Any, depth: int) -> None:
        """Check `value` and all in it; a fault's text starts with the way to the member."""
        kind = type(value)
        if kind is str:
            self._spend(len(value))
        elif kind is dict:
            self._members(value, depth)
        elif kind is list or kind is tuple:
            self._items(value, depth)
        elif kind is float:
            if not math.isfinite(value):
                raise NotJson(f"is {value}, which JSON cannot say")
        elif kind is int or kind is bool or value is None:
            pass
        elif isinstance(value, dict | list | tuple | str | int | float):
            raise _Subclass
        else:
            raise NotJson(f"is of type {kind.__name__[:80]}, not a JSON value")

    def _members(self, value: dict[Any, Any], depth: int) -> None:
        self._enter(depth, len(value), len(value) * _LEAST_MEMBER)
        for key, member in value.items():
            if type(key) is not str:
                if isinstance(key, str):
                    raise _Subclass
                raise NotJson(f"has a key of type {type(key).__name__[:80]}; keys must be text")
            self._spend(len(key))
            try:
                self.visit(member, depth + 1)
            except NotJson as fault:
                raise _within(f".{key[:80]}", fault) from None

    def _items(self, value: "list[Any] | tuple[Any, ...]", depth: int) -> None:
        self._enter(depth, len(value), len(value) * _LEAST_ITEM)
        kinds = set(map(type, value))
        if kinds <= _SMALL:
            return
        if kinds == {str}:
            self._spend(sum(map(len, value)))
            return
        for place, item in enumerate(value):
            try:
                self.visit(item, depth + 1)
            except NotJson as fault:
                raise _within(f"[{place}]", fault) from None

    def _enter(self, depth: int, nodes: int, size: int) -> None:
        self._spend(size)
        self._nodes -= nodes
        if self._nodes < 0:
            raise Heavy
        if depth >= MAX_DEPTH:
            raise NotJson(f"is nested deeper than {MAX_DEPTH} levels, or contains itself")

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise NotJson(f"is larger than {self._bytes} bytes")


def _within(step: str, fault: NotJson) -> NotJson:
    """The same fault, seen from one level further out. Of a long way the end is kept, where the fault is."""
    text = str(fault)
    way, _, why = text.partition(" ") if text[:1] in _STEPS else ("", "", text)
    way = step + way
    return NotJson(f"{way if len(way) <= _WAY else '…' + way[-_WAY:]} {why}")


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    """A copy in which subclasses of JSON's types are those types; methods that a subclass overrides are not asked."""
    left[0] -= 1
    if left[0] < 0:
        raise NotJson("is too large")
    if depth > MAX_DEPTH:
        raise NotJson(f"is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, dict):
        members = dict.items(value)
        return {_plain(key, depth + 1, left): _plain(member, depth + 1, left) for key, member in members}
    if isinstance(value, list):
        return [_plain(item, depth + 1, left) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return [_plain(item, depth + 1, left) for item in tuple.__iter__(value)]
    for base in (str, float):
        if isinstance(value, base):
            return base.__str__(value) if base is str else float.__float__(value)  # type: ignore[arg-type]
    return int.__int__(value) if isinstance(value, int) and not isinstance(value, bool) else value
