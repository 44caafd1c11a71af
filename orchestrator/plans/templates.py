"""`{{step_1.output.id}}` in a step's params, bound to values before the step runs (R1-09).

A text that is one template and nothing else becomes the value itself, of whatever type. Within a longer text the value
becomes text: text as it is, anything else as its canonical JSON. One pass: what comes out of a step is never read as a
template, and names of members are not templates. There is no way to write two opening braces that are not one.
"""

from collections.abc import Iterator
from typing import Any

from orchestrator.contracts.values import MAX_BYTES, size_of
from orchestrator.plans import paths
from orchestrator.plans.canonical import canonical
from orchestrator.plans.faults import Loc, PathError, TemplateError
from orchestrator.plans.paths import CLOSE, OPEN, Path, Scope

MAX_TEMPLATES = 256
"""In one text."""


def pieces(text: str) -> list[str | Path]:
    """The text taken apart into plain text and paths. Raises `TemplateError`."""
    found: list[str | Path] = []
    at, count = 0, 0
    while (opens := text.find(OPEN, at)) >= 0:
        closes = text.find(CLOSE, opens + len(OPEN))
        if closes < 0:
            raise TemplateError("a template opens with {{ and does not close", opens)
        count += 1
        if count > MAX_TEMPLATES:
            raise TemplateError(f"a text has at most {MAX_TEMPLATES} templates", opens)
        found += [text[at:opens]] if opens > at else []
        inside = opens + len(OPEN)
        try:
            found.append(paths.parse(text[inside:closes]))
        except PathError as fault:
            raise TemplateError(fault.sentence, inside + fault.position) from None
        at = closes + len(CLOSE)
    return [*found, text[at:]] if at < len(text) or not found else found


def texts(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """All texts in a JSON value of `contracts.values`, each with its place; names of members are none."""
    if isinstance(value, str):
        yield loc, value
        return
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from texts(member, (*loc, key))


class _Binder:
    """Binds all texts of one value, and counts what that makes of it before making it."""

    def __init__(self, scope: Scope, max_bytes: int) -> None:
        self._scope = scope
        self._left = max_bytes
        self._sizes: dict[Path, int] = {}

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {key: self.value(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def _text(self, text: str) -> Any:
        found = pieces(text)
        if len(found) == 1 and isinstance(found[0], Path):
            return self._found(found[0])
        return "".join(piece if isinstance(piece, str) else _as_text(self._found(piece)) for piece in found)

    def _found(self, path: Path) -> Any:
        try:
            value = paths.lookup(path, self._scope)
            if path not in self._sizes:
                self._sizes[path] = size_of(value)
        except ValueError as fault:
            told = fault.sentence if isinstance(fault, PathError) else f"{path} {fault}"
            raise TemplateError(told) from None
        self._left -= self._sizes[path]
        if self._left < 0:
            raise TemplateError("what the templates stand for is too large for params")
        return value


def bind(params: dict[str, Any], scope: Scope, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The params with every template replaced by its value. Raises `TemplateError`: the step fails, and stays so.

    All values together are at most `max_bytes`, however often params name them, and the result is at most
    as deep as any value may be.
    """
    bound: dict[str, Any] = _Binder(scope, max_bytes).value(params)
    try:
        size_of(bound, 2 * max_bytes)
    except ValueError as fault:
        raise TemplateError(f"with its templates bound, it {fault}") from None
    return bound


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).decode()
