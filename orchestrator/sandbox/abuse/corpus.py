"""Reads the themes' files, strictly: a key that nobody knows is an error that names the file and the case.

Three ways to say less in a file:
`[like.NAME]` holds what several cases share; a case takes it over with `like = "NAME"` and may state anew what differs.
Its `before` is put in front of the case's program.
`[case.each]` makes a family of a case: one member for each key, with what differs, named `NAME: KEY`.
A text can be `{ head = "…", repeat = "…", times = N, tail = "…" }`, where it would be too long to write.
"""

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from pydantic import ValidationError

from orchestrator.sandbox.abuse.cases import Case

Table = dict[str, Any]


class BadCorpus(ValueError):
    """A theme's file is wrong; the message names the file and the case."""


def load(folder: Traversable | None = None) -> list[Case]:
    """All cases, theme by theme in the order of their files. Raises `BadCorpus`."""
    root = folder or files("orchestrator.sandbox.abuse")
    sources = sorted((entry for entry in root.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    return [case for source in sources for case in _theme(source)]


def _theme(source: Traversable) -> list[Case]:
    """The cases of one file."""
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise BadCorpus(f"{source.name}: {fault}") from None
    if unknown := set(table) - {"like", "case"}:
        raise BadCorpus(f"{source.name}: unknown: {', '.join(sorted(unknown))}")
    shared: dict[str, Table] = table.get("like", {})
    cases = [
        _case(source.name, fields) for given in table.get("case", []) for fields in _members(source.name, given, shared)
    ]
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise BadCorpus(f"{source.name}: two cases are named {case.name!r}")
        seen.add(case.name)
    return cases


def _members(file: str, given: Table, shared: dict[str, Table]) -> Iterator[Table]:
    """The case itself, or each member of its family, with what it takes over from others."""
    own = dict(given)
    like, each = own.pop("like", None), own.pop("each", None)
    if like is not None and like not in shared:
        raise BadCorpus(f"{file}: {given.get('name')!r} is like {like!r}, which is not there")
    whole = {**shared.get(like, {}), **own}
    if each is None:
        yield _written_out({**whole, "family": whole.get("name")})
        return
    for key, differs in each.items():
        yield _written_out({**whole, **differs, "name": f"{whole.get('name')}: {key}", "family": whole.get("name")})


def _written_out(fields: Table) -> Table:
    before = fields.pop("before", "")
    spelled: Table = _spelled(fields)
    return {**spelled, "code": before + spelled["code"]} if before and "code" in spelled else spelled


def _spelled(value: Any) -> Any:
    """A value with its repeated texts written out."""
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if not isinstance(value, dict):
        return value
    if {"repeat", "times"} <= set(value) <= {"head", "repeat", "times", "tail"}:
        text: str = value.get("head", "") + value["repeat"] * value["times"] + value.get("tail", "")
        return text
    return {name: _spelled(item) for name, item in value.items()}


def _case(file: str, fields: Table) -> Case:
    try:
        return Case.model_validate({**fields, "theme": file.removesuffix(".toml")})
    except ValidationError as fault:
        told = "; ".join(f"{'.'.join(map(str, error['loc'])) or 'case'}: {error['msg']}" for error in fault.errors())
        raise BadCorpus(f"{file}: {fields.get('name')!r}: {told}") from None
