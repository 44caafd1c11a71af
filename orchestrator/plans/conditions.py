"""Conditions of seed 001, `{{step_1.output.sentiment}} === "positive"`, read into a tree (REQUIREMENTS 4).

    or    := and ('||' and)*
    and   := cmp ('&&' cmp)*
    cmp   := unary (('===' | '!==' | '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in') unary)?
    unary := '!' unary | '(' or ')' | literal | ref | list
    list  := '[' (or (',' or)*)? ']'

Literals are JSON's, and text may stand in single quotes. A reference is a leaf of the tree and is bound to a value when
the tree is evaluated: no value is ever put into source text. Quotes around a reference make it literal text.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.plans.faults import ConditionError
from orchestrator.plans.paths import Path
from orchestrator.plans.tokens import Token, tokens

MAX_DEPTH = 32
"""Brackets, lists and negations within each other; so deep does reading recurse, and evaluating."""
COMPARISONS = {"===": "===", "!==": "!==", "==": "===", "!=": "!==", **{op: op for op in ("<", "<=", ">", ">=", "in")}}
"""Every operator, and what it means: `==` is `===`."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that is written out."""

    value: str | int | float | bool | None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Ref:
    """A value that a step left."""

    path: Path
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Items:
    """A list that is written out."""

    items: "tuple[Node, ...]"
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """`!operand`."""

    operand: "Node"
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`; `op` is one of the values of `COMPARISONS`."""

    op: str
    left: "Node"
    right: "Node"
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """Two or more operands between `&&`, or between `||`; the first that decides ends it."""

    op: str
    operands: "tuple[Node, ...]"
    at: int = field(default=0, compare=False)


Node = Literal | Ref | Items | Not | Compare | Chain


def parse(source: str) -> Node:
    """Read a condition. Raises `ConditionError`, and nothing else, whatever the source."""
    return _Parser(tokens(source)).whole()


def refs(node: Node) -> Iterator[Ref]:
    """All references in the tree, from left to right."""
    if isinstance(node, Ref):
        yield node
    for child in _children(node):
        yield from refs(child)


def as_json(node: Node) -> list[Any]:
    """The tree as a JSON value, for digests: what it means, without blanks, quotes and spellings."""
    if isinstance(node, Ref):
        return ["ref", node.path.step, *node.path.parts]
    if isinstance(node, Literal):
        # As text, because canonical JSON does not hold every integer of 16 digits.
        number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        return ["number", repr(node.value)] if number else ["literal", node.value]
    return [_name(node), *map(as_json, _children(node))]


def _name(node: Items | Not | Compare | Chain) -> str:
    if isinstance(node, Items):
        return "list"
    return "!" if isinstance(node, Not) else node.op


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Items):
        return node.items
    if isinstance(node, Not):
        return (node.operand,)
    if isinstance(node, Compare):
        return (node.left, node.right)
    return node.operands if isinstance(node, Chain) else ()


class _Parser:
    """Recursive descent; `depth` counts brackets, lists and negations around what is being read."""

    def __init__(self, words: list[Token]) -> None:
        self._words = words
        self._next = 0

    def whole(self) -> Node:
        if self._peek().kind == "end":
            raise ConditionError("a condition is not empty", self._peek().at)
        node = self._or(0)
        if self._peek().kind != "end":
            raise ConditionError("an operator, or the end, was expected here", self._peek().at)
        return node

    def _or(self, depth: int) -> Node:
        return self._chain("||", lambda: self._chain("&&", lambda: self._comparison(depth)))

    def _chain(self, op: str, operand: Callable[[], Node]) -> Node:
        at = self._peek().at
        operands = [operand()]
        while self._take(op):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else Chain(op, tuple(operands), at)

    def _comparison(self, depth: int) -> Node:
        left = self._unary(depth)
        word = self._peek()
        if word.kind != "operator" or word.value not in COMPARISONS:
            return left
        self._next += 1
        return Compare(COMPARISONS[word.value], left, self._unary(depth), word.at)

    def _unary(self, depth: int) -> Node:
        word = self._peek()
        if depth > MAX_DEPTH:
            raise ConditionError(f"a condition is nested at most {MAX_DEPTH} deep", word.at)
        self._next += 1
        if word.kind == "literal":
            return Literal(word.value, word.at)
        if word.kind == "ref":
            return Ref(word.value, word.at)
        if word.value == "!":
            return Not(self._unary(depth + 1), word.at)
        if word.value == "(":
            return self._closed(self._or(depth + 1), ")")
        if word.value == "[":
            return self._list(depth + 1, word.at)
        raise ConditionError("a value was expected here", word.at)

    def _list(self, depth: int, at: int) -> Node:
        if self._take("]"):
            return Items((), at)
        items = [self._or(depth)]
        while self._take(","):
            items.append(self._or(depth))
        return self._closed(Items(tuple(items), at), "]")

    def _closed(self, node: Node, bracket: str) -> Node:
        if not self._take(bracket):
            raise ConditionError(f"a {bracket} was expected here", self._peek().at)
        return node

    def _take(self, operator: str) -> bool:
        found = self._peek().kind == "operator" and self._peek().value == operator
        self._next += found
        return found

    def _peek(self) -> Token:
        return self._words[self._next]
