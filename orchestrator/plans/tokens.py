"""The words of a condition: one pass over the source, linear in its length (REQUIREMENTS 4)."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.plans import paths
from orchestrator.plans.faults import ConditionError, PathError
from orchestrator.plans.paths import CLOSE

MAX_SOURCE = 2000
"""Characters of a condition."""
MAX_TOKENS = 256
MAX_DIGITS = 16
"""Of one number; a double keeps no more."""

Kind = Literal["operator", "literal", "ref", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """One word: an operator's text, a literal's value, a reference's path."""

    kind: Kind
    value: Any
    at: int


_WORDS = {"true": True, "false": False, "null": None}
_TOKEN = re.compile(
    r"""(?P<operator>===|!==|==|!=|<=|>=|&&|\|\||[<>!()\[\],]|in(?!\w))
    | (?P<ref>\{\{)
    | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<string>"(?:[^"\\\x00-\x1f]|\\.)*"|'(?:[^'\\\x00-\x1f]|\\.)*')
    | (?P<word>true|false|null)(?!\w)""",
    re.VERBOSE,
)
_BLANK = re.compile(r"[ \t\r\n]*")
_IN_SINGLE_QUOTES = re.compile(r"""\\(.)|(")""")


def tokens(source: str) -> list[Token]:
    """The source's words, and an `end` behind them. Raises `ConditionError`."""
    if not isinstance(source, str):
        raise ConditionError("a condition is a text")
    if len(source) > MAX_SOURCE:
        raise ConditionError(f"a condition has at most {MAX_SOURCE:,} characters")
    try:
        source.encode()
    except UnicodeEncodeError as fault:
        raise ConditionError("a lone surrogate is not valid Unicode", fault.start) from None
    found: list[Token] = []
    at = _after_blanks(source, 0)
    while at < len(source):
        if len(found) == MAX_TOKENS:
            raise ConditionError(f"a condition has at most {MAX_TOKENS} words", at)
        token, at = _next(source, at)
        found.append(token)
        at = _after_blanks(source, at)
    return [*found, Token("end", None, at)]


def _after_blanks(source: str, at: int) -> int:
    blank = _BLANK.match(source, at)
    return blank.end() if blank else at


def _next(source: str, at: int) -> tuple[Token, int]:
    match = _TOKEN.match(source, at)
    if match is None:
        raise ConditionError(f"a condition has no word that begins with {source[at]!r} here", at)
    text = match[0]
    if match.lastgroup == "operator":
        return Token("operator", text, at), match.end()
    if match.lastgroup == "ref":
        return _ref(source, at, match.end())
    if match.lastgroup == "number":
        return Token("literal", _number(text, at), at), match.end()
    return Token("literal", _WORDS[text] if match.lastgroup == "word" else _string(text, at), at), match.end()


def _ref(source: str, at: int, inside: int) -> tuple[Token, int]:
    closes = source.find(CLOSE, inside)
    if closes < 0:
        raise ConditionError("a reference opens with {{ and does not close", at)
    try:
        path = paths.parse(source[inside:closes])
    except PathError as fault:
        raise ConditionError(fault.sentence, inside + fault.position) from None
    return Token("ref", path, at), closes + len(CLOSE)


def _number(text: str, at: int) -> int | float:
    if sum(char.isdigit() for char in text) > MAX_DIGITS:
        raise ConditionError(f"a number has at most {MAX_DIGITS} digits", at)
    value: int | float = json.loads(text)
    if not math.isfinite(value):
        raise ConditionError("a number is too large", at)
    return value


def _string(text: str, at: int) -> str:
    """A JSON string, or the same between single quotes."""
    if text[0] == "'":
        text = f'"{_IN_SINGLE_QUOTES.sub(_requoted, text[1:-1])}"'
    try:
        value: str = json.loads(text)
        value.encode()
    except UnicodeEncodeError:
        raise ConditionError("a text holds a lone surrogate, which is not valid Unicode", at) from None
    except ValueError:
        raise ConditionError("a text has an escape that JSON does not know", at) from None
    return value


def _requoted(match: re.Match[str]) -> str:
    """What stands for a piece of a single-quoted text between double quotes."""
    if match[2]:
        return '\\"'
    return "'" if match[1] == "'" else match[0]
