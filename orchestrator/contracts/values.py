"""What a JSON value may be inside plans: I-JSON (RFC 7493), so that every reader and every digest sees the same value.

Checked where a value comes in, once; behind that nobody meets NaN, half a character or a nesting that ends the stack
(REQUIREMENTS 4).
"""

import math
from typing import Annotated, Any

from pydantic import AfterValidator

MAX_DEPTH = 64
"""Lists and objects within each other."""
MAX_BYTES = 2**20
"""Of one value's compact text, escapes aside: params of a step, an output that is kept inline."""
MAX_INTEGER = 2**53 - 1
"""Beyond it a double loses digits, and two readers of one text would hold two numbers."""


def size_of(value: Any, max_bytes: int = MAX_BYTES) -> int:
    """About how many bytes the value's compact text has. Raises `ValueError` saying why it is not a value for plans."""
    size, todo = 0, [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH}")
        if type(item) is dict:
            size += 2 + sum(_text(key) + 2 for key in item)
            todo += [(member, depth + 1) for member in item.values()]
        elif type(item) is list:
            size += 2 + len(item)
            todo += [(member, depth + 1) for member in item]
        else:
            size += _scalar(item)
        if size > max_bytes:
            raise ValueError(f"is larger than {max_bytes:,} bytes")
    return size


def count_of(value: Any) -> int:
    """How many values a value consists of, itself included."""
    count, todo = 0, [value]
    while todo:
        item = todo.pop()
        count += 1
        todo += item.values() if type(item) is dict else item if type(item) is list else ()
    return count


def plain(text: str, most: int) -> str:
    """Text that code of others gave, cut to so many characters, as every store keeps it: no NUL, no lone surrogate."""
    return text[:most].encode(errors="replace").decode().replace("\0", "\ufffd")


def _scalar(value: Any) -> int:
    if type(value) is str:
        return _text(value)
    if value is None or type(value) is bool:
        return 4
    if type(value) is int:
        if abs(value) > MAX_INTEGER:
            raise ValueError(
                f"holds a whole number beyond {MAX_INTEGER}, which not every reader keeps: write it as text"
            )
        return len(str(value))
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError("holds a number that is not finite")
        return len(repr(value))
    raise ValueError(f"holds a {type(value).__name__}, which is not JSON")


def _text(value: Any) -> int:
    if type(value) is not str:
        raise ValueError(f"has a member named by a {type(value).__name__}, not by text")
    try:
        return len(value.encode()) + 2
    except UnicodeEncodeError:
        raise ValueError("holds text that is not valid Unicode (a lone surrogate)") from None


def _checked(value: Any) -> Any:
    size_of(value)
    return value


Json = Annotated[Any, AfterValidator(_checked)]
"""Any JSON value within the bounds."""
Object = Annotated[dict[str, Any], AfterValidator(_checked)]
"""A JSON object within the bounds."""
