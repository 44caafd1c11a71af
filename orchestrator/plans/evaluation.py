"""The value of a condition: total, without coercion, in a bounded number of steps (REQUIREMENTS 4).

Types are null, bool, number, string and object, a list being one of the last. `===` compares values through and
through, where JavaScript compares identity of objects; `1 === 1.0`, and `true === 1` is false. `<` takes two numbers or
two texts (by code point); `!`, `&&` and `||` take bools; `in` takes a list at its right. What is missing is a fault,
never null or false; what `&&` or `||` does not get to is not looked at.
"""

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.contracts.values import MAX_DEPTH
from orchestrator.plans import paths
from orchestrator.plans.conditions import Chain, Compare, Items, Literal, Node, Not, Ref
from orchestrator.plans.faults import ConditionError, PathError
from orchestrator.plans.paths import Scope

MAX_STEPS = 4_000
"""Of one evaluation: nodes of the tree, parts of paths, values compared, and a step for each KiB of text."""
_KIB = 1024
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip


class Steps:
    """Counts what an evaluation does, and ends it at `most`."""

    def __init__(self, most: int = MAX_STEPS) -> None:
        self.most = most
        self.used = 0

    def take(self, count: int, at: int) -> None:
        self.used += count
        if self.used > self.most:
            raise ConditionError(f"a condition takes at most {self.most:,} steps", at)


def evaluate(condition: Node, scope: Scope, steps: Steps | None = None) -> bool:
    """Whether the condition holds. Raises `ConditionError`, and nothing else, whatever the values in `scope`."""
    return _bool(_Evaluation(scope, steps or Steps()).value(condition), condition, "a condition")


class _Evaluation:
    def __init__(self, scope: Scope, steps: Steps) -> None:
        self._scope = scope
        self._steps = steps

    def value(self, node: Node) -> Any:
        self._steps.take(1, node.at)
        match node:
            case Literal():
                return node.value
            case Ref():
                return self._bound(node)
            case Items():
                return [self.value(item) for item in node.items]
            case Not():
                return not self._truth(node.operand, "!")
            case Chain():
                decides = node.op == "||"
                return decides if any(self._truth(o, node.op) is decides for o in node.operands) else not decides
            case Compare():
                return self._compared(node)

    def _truth(self, node: Node, op: str) -> bool:
        return _bool(self.value(node), node, f"what {op} takes")

    def _bound(self, node: Ref) -> Any:
        self._steps.take(1 + len(node.path.parts), node.at)
        try:
            return paths.lookup(node.path, self._scope)
        except PathError as fault:
            raise ConditionError(fault.sentence, node.at) from None

    def _compared(self, node: Compare) -> bool:
        left, right = self.value(node.left), self.value(node.right)
        if node.op == "in":
            return self._is_in(left, right, node.at)
        if node.op in ("===", "!=="):
            return self._same(left, right, node.at) is (node.op == "===")
        kinds = _kind(left, node.left.at), _kind(right, node.right.at)
        if kinds not in (("number", "number"), ("string", "string")):
            raise ConditionError(f"{node.op} takes two numbers or two texts, not {kinds[0]} and {kinds[1]}", node.at)
        if kinds[0] == "string":
            self._steps.take(_kib(left, right), node.at)
        return _ORDERED[node.op](left, right)

    def _is_in(self, item: Any, items: Any, at: int) -> bool:
        if not isinstance(items, list):
            raise ConditionError(f"in takes a list at its right, not {_kind(items, at)}", at)
        self._steps.take(len(items), at)
        kind = _kind(item, at)
        if kind == "object" or (kind == "string" and len(item) >= _KIB):
            return any(self._same(item, other, at) for other in items)
        return any(_kind(other, at) == kind and other == item for other in items)

    def _same(self, left: Any, right: Any, at: int) -> bool:
        """Whether two values are equal through and through. Each value within them is a step."""
        self._steps.take(1, at)
        open_: list[Iterator[tuple[Any, Any]]] = [iter([(left, right)])]
        while open_:
            pair = next(open_[-1], None)
            if pair is None:
                open_.pop()
                continue
            kind = _kind(pair[0], at)
            if kind != _kind(pair[1], at):
                return False
            if kind != "object":
                if kind == "string" and len(pair[0]) >= _KIB:
                    self._steps.take(_kib(*pair), at)
                if pair[0] != pair[1]:
                    return False
                continue
            inner = self._pairs(*pair, at)
            if inner is None:
                return False
            if len(open_) > MAX_DEPTH:
                raise ConditionError(f"a value is nested deeper than {MAX_DEPTH}", at)
            open_.append(inner)
        return True

    def _pairs(self, one: Any, other: Any, at: int) -> Iterator[tuple[Any, Any]] | None:
        """The pairs that must be equal for two lists or objects to be equal; none at all where they are not."""
        if type(one) is not type(other) or len(one) != len(other):
            return None
        self._steps.take(len(one), at)
        if type(one) is list:
            return zip(one, other, strict=True)
        if {*map(type, one), *map(type, other)} - {str}:
            raise ConditionError("a member's name is text", at)
        self._steps.take(sum(map(len, one)) // _KIB, at)
        return ((one[name], other[name]) for name in one) if one.keys() == other.keys() else None


_KINDS = {
    type(None): "null",
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    dict: "object",
    list: "object",
}


def _kind(value: Any, at: int) -> str:
    kind = _KINDS.get(type(value))
    if kind is None:
        raise ConditionError("a value is not JSON", at)
    if type(value) is float and not math.isfinite(value):
        raise ConditionError("a number is not finite", at)
    return kind


def _bool(value: Any, node: Node, what: str) -> bool:
    if type(value) is not bool:
        raise ConditionError(f"{what} is true or false, not {_kind(value, node.at)}", node.at)
    return value


def _kib(one: str, other: str) -> int:
    return min(len(one), len(other)) // _KIB
